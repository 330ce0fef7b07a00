using ReasonGen.Host;
using ReasonGen.Host.Commands;
using ReasonGen.Files;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What users and file systems can cause is said in a paragraph, with an exit code that is not 0 and without a
/// stack trace.</summary>
public sealed class FailureTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void Every_kind_of_error_has_words_and_a_code()
    {
        Assert.Equal((2, "wrong"), Failure.Explain(new ArgumentException("wrong")));
        Assert.Equal((2, "wrong"), Failure.Explain(new AggregateException(new ArgumentException("wrong"))));
        Assert.Equal((2, "no torch"),
            Failure.Explain(new TypeInitializationException("T", new PlatformNotSupportedException("no torch"))));
        Assert.Equal((2, "There is none. It is 3"),
            Failure.Explain(new ArgumentException("There is none. It is 3", "from")));
        Assert.Equal((2, "row 3: too long"),
            Failure.Explain(new UsageException(new ArgumentException("row 3: too long", "record").Message)));
        Assert.Equal((1, "no 'a\\u001b[2J'"), Failure.Explain(new InvalidOperationException("no 'a\u001b[2J'")));
        Assert.Equal((130, "Interrupted."), Failure.Explain(new TaskCanceledException()));
        Assert.Equal((1, "always the same"), Failure.Explain(new InvalidOperationException("always the same")));
        Assert.Equal((2, "No space left. Free space there, or choose another folder."),
            Failure.Explain(new IOException("No space left", 28)));
        Assert.Equal((2, "Denied. Check who may read and write there, or choose another path."),
            Failure.Explain(new UnauthorizedAccessException("Denied.")));
        Assert.StartsWith("There is not enough memory: 9 GB.",
            Failure.Explain(new OutOfMemoryException("9 GB\nat c10")).Words);
        Assert.StartsWith("There is not enough memory: Full. Choose", Failure.Explain(new InvalidDataException(
            "failed to read column 'image'", new IOException("at a page", new OutOfMemoryException("Full")))).Words);
        Assert.StartsWith("Unexpected error, DivideByZeroException: ",
            Failure.Explain(new DivideByZeroException()).Words);
        Assert.Equal(1, Failure.Explain(new FileNotFoundException("lost", "Some.Assembly, Culture=neutral")).Code);
    }

    [Theory]
    [InlineData("study tokenizer --trial --out {0}/file", "nothing can be kept there")]
    [InlineData("study base --start {0}/none --out {0}/a", "--start ")]
    [InlineData("study base --start {0}/none --out {0}/a", "holds no finished stages; give a folder with checkpoints")]
    [InlineData("inspect ", "path is empty: A .safetensors")]
    [InlineData("verify ", "folder is empty: Folder with config.json")]
    [InlineData("train sft --model mini --out {0}/a --config ", "--config is empty: File of settings, json or YAML")]
    [InlineData("train sft --model mini --out {0}/a --data ", "--data is empty: Parquet files")]
    [InlineData("study tokenizer --start {data} --out {0}/a", "nothing would be taken")]
    [InlineData("study base --threads 0", "--threads is 0")]
    [InlineData("study base --threads 2000000", "at most 1024")]
    [InlineData("run {0}/loop.ipynb --out {0}/a", "loop.ipynb")]
    [InlineData("run {0}/a.ipynb --out {0}/file", "file")]
    [InlineData("inspect {0}/loop", "loop")]
    [InlineData("inspect {0}", "holds no checkpoint")]
    [InlineData("chat --model tiny --image {0}/loop hello", "loop")]
    [InlineData("generate --model tiny --prompt a --out {0}/file", "file")]
    [InlineData("caption --images {0} --out {0}/file/set.parquet --endpoint http://127.0.0.1:9/v1 --model m", "")]
    [InlineData("kernel {0}/none.json", "none.json")]
    [InlineData("kernel {0}/loop", "loop")]
    [InlineData("kernel install --prefix {0}/file", "file")]
    public async Task A_path_that_does_not_do_is_answered_in_a_paragraph(string arguments, string message)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a right there");
        File.WriteAllText(Path.Combine(folder, "file"), "mine");
        SmallNotebook.Write(Path.Combine(folder, "a.ipynb"), ("1", "code"));
        foreach (var link in new[] { "loop", "loop.ipynb" })
        {
            File.CreateSymbolicLink(Path.Combine(folder, link), link);
        }

        var (code, output, error) = await Reasongen.RunApartAsync(arguments.Replace("{0}", folder)
            .Replace("{data}", Study.DataFolder()).Split(' '));
        Assert.True(code == 2, $"exit code {code}\n{output}{error}");
        Assert.Contains(message, error);
        Assert.DoesNotContain("   at ", output + error);
        Assert.DoesNotContain("(Parameter", error);
        Assert.Equal("mine", File.ReadAllText(Path.Combine(folder, "file")));
    }

    [Theory]
    [InlineData("cd {0}", "study tokenizer --start data --out a", "nothing would be taken from the folder")]
    [InlineData("mkdir {0}/gone; cd {0}/gone; rmdir {0}/gone", "doctor", "started in is not there any more")]
    public async Task Whatever_folder_a_command_is_started_in_it_says_what_it_wants(string way, string command,
        string message)
    {
        Assert.SkipUnless(File.Exists("/bin/bash"), "there is no bash here");
        var (code, text) = await Bash($"{way.Replace("{0}", folder)}; exec dotnet '{Reasongen.Assembly}' {command}");
        Assert.True(code == 2, $"exit code {code}\n{text}");
        Assert.Contains(message, text);
        Assert.Single(text.Trim().Split('\n'));
    }

    [Fact]
    public async Task The_trace_is_there_for_those_who_ask()
    {
        var (code, _, error) = await Reasongen.RunApartAsync("study", "base", "--verbose", "--threads", "0");
        Assert.Equal(2, code);
        Assert.Contains("   at ReasonGen.Host.Commands.StudyCommand", error);
    }

    [Fact]
    public async Task A_full_disk_ends_with_a_paragraph_and_damages_nothing()
    {
        Assert.SkipUnless(File.Exists("/bin/bash"), "there is no bash here");
        var study = $"study base --trial --threads 1 --start {Study.DataFolder()} --out {folder}/a";
        // a state of the base model has 6 MB, its foundations less than 2
        var (code, text) = await Bash(
            $"trap '' XFSZ; ulimit -f 2048; DOTNET_EnableWriteXorExecute=0 exec dotnet '{Reasongen.Assembly}' {study}");
        Assert.True(code == 2, $"exit code {code}\n{text}");
        Assert.Contains("the run's state could not be saved", text);
        Assert.DoesNotContain("   at ", text);
        Assert.DoesNotContain(Directory.GetFiles(folder, "*", SearchOption.AllDirectories),
            file => file.EndsWith(".tmp") || file.EndsWith(".lock"));
        Assert.Equal(File.ReadAllBytes(Path.Combine(Study.DataFolder(), "checkpoints", "tokenizer.safetensors")),
            File.ReadAllBytes(Path.Combine(folder, "a", "checkpoints", "tokenizer.safetensors")));
        (code, text) = await Bash($"exec dotnet '{Reasongen.Assembly}' {study}");
        Assert.True(code == 0, text);
    }

    [Theory]
    [InlineData("plan --model janus-7b --bogus", "2>/dev/full", "")]
    [InlineData("completion bash", ">/dev/full", "standard output: it could not be written: No space left on device")]
    public async Task What_cannot_be_said_is_no_crash_and_not_done(string command, string where, string message)
    {
        Assert.SkipUnless(File.Exists("/bin/bash") && File.Exists("/dev/full"), "there is no full device here");
        var (code, text) = await Bash($"exec dotnet '{Reasongen.Assembly}' {command} {where}");
        Assert.True(code == 2, $"exit code {code}\n{text}");
        Assert.StartsWith(message, text);
    }

    [Fact]
    public async Task Two_processes_do_not_make_one_stage()
    {
        using var other = ProcessLock.TryTake(Path.Combine(folder, "partial", ".tokenizer.lock"));
        var (code, output) = await Reasongen.RunAsync("study", "tokenizer", "--trial", "--out", folder);
        Assert.True(code == 2, output);
        Assert.Contains("another process is making the stage 'tokenizer'", output);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static async Task<(int Code, string Text)> Bash(string command)
    {
        var (code, output, error) = await Child.RunAsync(new("/bin/bash", ["-c", command]));
        return (code, output + error);
    }
}
