using System.Diagnostics;
using System.Text.RegularExpressions;
using ReasonGen.Core;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Devices;

/// <summary>That nothing in the pipeline makes a tensor beside the model's device; without a GPU.</summary>
public sealed partial class MixedDevicesTests
{
    // where devices are mixed, some of TorchSharp's functions end the process; and what failed in one training stays
    // with the lazy device: processes of their own
    [Theory]
    [InlineData("Greedy_drawing*", "A_chat*", "A_judge*")]
    [InlineData("Fine_tuning*", "A_saved_run*", "The_study*")]
    [InlineData("The_image_tokenizer*")]
    [InlineData("Updates*")]
    [InlineData("A_step_of_sampling*")]
    public async Task The_pipeline_runs_on_a_device_that_is_not_the_CPUs(params string[] methods)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(),
            "libtorch's lazy device is opened by a name that only its Linux build has");
        var start = new ProcessStartInfo(Environment.ProcessPath!)
        {
            Environment = { [ComputeTarget.Variable] = TestDevice.Lazy, ["OMP_NUM_THREADS"] = "1" },
        };
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet")
        {
            start.ArgumentList.Add(typeof(MixedDevicesTests).Assembly.Location);
        }

        foreach (var argument in methods.SelectMany(method =>
            new[] { "-method", $"{typeof(DeviceTests).FullName}.{method}" }).Append("-noColor"))
        {
            start.ArgumentList.Add(argument);
        }

        var (code, output, error) = await Child.RunAsync(start);
        if (code > 128 && !output.Contains("[FAIL]"))
        {
            // by a signal, and no test had failed: seen once in a hundred runs, and not explained. What mixes devices
            // ends it every time.
            TestContext.Current.AddWarning($"exit code {code}, tried again: {output}\n{error}");
            (code, output, error) = await Child.RunAsync(start);
        }

        Assert.True(code == 0, $"exit code {code}\n{output}\n{error}");
        Assert.Contains("Skipped: 0", output);
        Assert.DoesNotContain("Total: 0", output);
    }

    [Theory]
    [InlineData("ReasonGen")]
    [InlineData("ReasonGen.Foundation")]
    [InlineData("ReasonGen.Pretrained")]
    [InlineData("ReasonGen.Miniature")]
    [InlineData("ReasonGen.Judges")]
    public void Whoever_makes_a_tensor_says_where(string assembly)
    {
        var folder = Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "lib", assembly);
        var nowhere = Directory.GetFiles(folder, "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}"))
            .SelectMany(file => Calls(File.ReadAllText(file)).Where(call => !Place().IsMatch(call))
                .Select(call => $"{Path.GetRelativePath(folder, file)}: {call}"));
        Assert.Empty(nowhere);
    }

    // calls of libtorch's factories, up to the bracket that closes each
    private static IEnumerable<string> Calls(string source)
    {
        foreach (Match match in Factory().Matches(source))
        {
            var (end, depth) = (match.Index + match.Length, 1);
            for (; depth > 0; end++)
            {
                depth += source[end] switch { '(' => 1, ')' => -1, _ => 0 };
            }

            yield return source[match.Index..end];
        }
    }

    [GeneratedRegex(@"(?<![\w.])(?:torch\.)?(?:tensor|zeros|ones|arange|empty|full|rand|randn|randint|eye|linspace|"
        + @"randperm|as_tensor|frombuffer)\((?!\))")]
    private static partial Regex Factory();

    [GeneratedRegex(@"(?i)\b(?:device|cpu|meta)\b|\.Device\b")]
    private static partial Regex Place();
}
