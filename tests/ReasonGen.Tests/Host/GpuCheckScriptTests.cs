using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What environment/gpu-check.sh says before it does anything, and that its parts can be read.</summary>
public sealed class GpuCheckScriptTests
{
    private static readonly string Folder =
        Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "environment");

    public GpuCheckScriptTests() => Assert.SkipUnless(File.Exists("/bin/bash"), "the script is for bash");

    [Theory]
    [InlineData("usage", "gpu-check.sh pack [FILE]")]
    [InlineData("run", "give the file that 'gpu-check.sh pack' wrote", "run")]
    [InlineData("file", "there is no file nothing.tar.xz", "run", "nothing.tar.xz")]
    [InlineData("option", "there is no option --devise", "run", "--devise", "cpu")]
    [InlineData("device", "--device is cuda or cpu, not tpu", "run", "--device", "tpu")]
    [InlineData("value", "--device wants cuda or cpu", "run", "--device")]
    [InlineData("pack", "pack takes one file", "pack", "a", "b")]
    public async Task Script_that_is_asked_wrongly_says_so_and_does_nothing(string what, string sentence,
        params string[] words)
    {
        var (code, output) = await RunAsync("/bin/bash", [Path.Combine(Folder, "gpu-check.sh"), .. words]);

        Assert.True(code == 2, what);
        Assert.Contains(sentence, output);
    }

    [Fact]
    public async Task Script_explains_itself()
    {
        var (code, output) = await RunAsync("/bin/bash", [Path.Combine(Folder, "gpu-check.sh"), "--help"]);

        Assert.Equal(0, code);
        Assert.Contains("--small", output);
        Assert.DoesNotContain("set -euo", output);
    }

    [Fact]
    public async Task Peer_without_PyTorch_says_what_is_missing()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/python3"), "there is no Python");

        var (code, output) = await RunAsync("/usr/bin/python3",
            ["-I", Path.Combine(Folder, "gpu-peer.py"), "--only", "none"]);

        Assert.True(code == 2 ? output.Contains("this Python has no peer") || output.Contains("finds no GPU")
            : code == 1, output);
    }

    private static async Task<(int Code, string Output)> RunAsync(string program, string[] words)
    {
        var (code, output, error) =
            await Child.RunAsync(new(program, words) { WorkingDirectory = Path.GetTempPath() });
        return (code, output + error);
    }
}
