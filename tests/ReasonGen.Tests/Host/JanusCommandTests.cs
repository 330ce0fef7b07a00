using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.Tokenizers;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Host;

/// <summary>generate and chat as a user meets them: processes of their own on a tiny model, judged by files, output and
/// exit code.</summary>
[Collection(typeof(NothingBeside))]
public sealed class JanusCommandTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public async Task Generate_writes_images_rationales_and_settings()
    {
        TinyJanus.Write(At("model"));
        string[] command = ["generate", "--model", At("model"), "--prompt", "A photo of a red cube", "--count", "3",
            "--guidance", "4", "--temperature", "0.9", "--seed", "7",
            "--text-budget", "12", "--dtype", "fp32", "--out", At("out")];
        var (code, output) = await Reasongen(command);
        Assert.True(code == 0, output);
        using var pipeline = JanusPipeline.Open(At("model"), new ComputeTarget(CPU, ScalarType.Float32));
        var drawings = pipeline.Draw("a red cube", 3, PromptTemplate.JanusRl,
            new RolloutConfig { MaxTextTokens = 12, GuidanceScale = 4, Temperature = 0.9 }, Seeds.Mix(7, 0));
        foreach (var (i, drawing) in drawings.Index())
        {
            Assert.Equal(drawing.Image.Rgb, ImageFile.Read(At($"out/000{i}.png")).Rgb);
            Assert.Equal(drawing.Rationale,
                File.Exists(At($"out/000{i}.txt")) ? File.ReadAllText(At($"out/000{i}.txt")) : "");
        }

        var json = JObject.Parse(File.ReadAllText(At("out/generation.json")));
        Assert.Equal((7, 4.0, 0.9, 12, 3),
            ((int)json["settings"]!["seed"]!, (double)json["settings"]!["guidance"]!,
                (double)json["settings"]!["temperature"]!,
            (int)json["settings"]!["text_budget"]!, (int)json["settings"]!["count"]!));
        Assert.Equal(RunRecord.CurrentCommit, (string?)json["about"]!["commit"]);
        Assert.Contains("--seed 7", (string?)json["about"]!["command"]);

        Assert.Contains("0 drawn, 1 there already", (await Reasongen(command)).Output);
        command[Array.IndexOf(command, "7")] = "8";
        var before = File.ReadAllBytes(At("out/0000.png"));
        (code, output) = await Reasongen(command);
        Assert.Equal(2, code);
        Assert.Contains("seed is 8 and was 7", output);
        Assert.Equal(before, File.ReadAllBytes(At("out/0000.png")));
    }

    [Theory]
    [InlineData("a photo of", false)]
    [InlineData(" A photo of ", false)]
    [InlineData("A photo of a red cube", true)]
    public async Task A_prompt_is_drawn_as_it_is_without_a_rationale_and_never_empty(string prompt, bool draws)
    {
        string[] Command(string output, params string[] bare) =>
            ["generate", "--model", "tiny", "--prompt", prompt, "--count", "1", "--out", At(output), .. bare];
        var (code, text) = await Reasongen(Command("out", draws ? ["--text-budget", "0"] : []));
        Assert.Equal(draws ? 0 : 2, code);
        if (draws)
        {
            Assert.Equal(0, (await Reasongen(Command("plain", "--no-rationale"))).Code);
            Assert.Equal(File.ReadAllBytes(At("plain/0000.png")), File.ReadAllBytes(At("out/0000.png")));
        }
        else
        {
            Assert.Contains("say what the photo is of", text);
            Assert.False(Directory.Exists(At("out")));
        }
    }

    [Fact]
    public async Task Two_processes_fill_one_folder_and_an_interrupted_one_goes_on()
    {
        const int prompts = 40; // more than are drawn until an interrupt is taken
        File.WriteAllLines(At("prompts.txt"), Enumerable.Range(0, prompts).Select(i => $"A photo of {i} cubes"));
        string[] command = ["generate", "--model", "tiny", "--prompts", At("prompts.txt"), "--count", "2",
            "--text-budget", "60", "--out", At("out")];
        if (!OperatingSystem.IsWindows())
        {
            using var interrupted = Start(command);
            Assert.Contains($"1/{prompts} 00000", await interrupted.StandardOutput.ReadLineAsync());
            interrupted.Signal("INT");
            var (code, rest, error) = await interrupted.EndAsync();
            Assert.True(code == 130, rest + error);
            Assert.Contains("the same command goes on from there", error);
            Assert.Empty(Directory.Exists(At("out/.claims")) ? Directory.GetFiles(At("out/.claims")) : []);
            Assert.False(File.Exists(At($"out/{prompts - 1:00000}/samples/0001.png")));
        }

        var both = await Task.WhenAll(Reasongen(command), Reasongen(command));
        Assert.All(both, run => Assert.True(run.Code == 0, run.Output));
        using var pipeline = TinyJanus.Open(new ComputeTarget(CPU, ScalarType.Float32));
        for (var i = 0; i < prompts; i++)
        {
            Assert.Equal(2, Directory.GetFiles(At($"out/{i:00000}/samples")).Length);
            Assert.True(File.Exists(At($"out/{i:00000}/metadata.jsonl")));
        }

        var last = pipeline.Draw($"{prompts - 1} cubes", 2, PromptTemplate.JanusRl,
            new RolloutConfig { MaxTextTokens = 60, GuidanceScale = 5 }, Seeds.Mix(1, prompts - 1));
        Assert.Equal(last[1].Image.Rgb, ImageFile.Read(At($"out/{prompts - 1:00000}/samples/0001.png")).Rgb);
    }

    [Fact]
    public async Task Killed_at_any_moment_it_draws_the_same_images_in_the_end_and_leaves_nothing_else()
    {
        File.WriteAllLines(At("prompts.txt"), Enumerable.Range(0, 8).Select(i => $"A photo of {i} cubes"));
        string[] Command(string output) =>
            ["generate", "--model", "tiny", "--prompts", At("prompts.txt"), "--count", "2", "--text-budget", "40",
                "--out", At(output)];
        var (code, text) = await Reasongen(Command("whole"));
        Assert.True(code == 0, text);
        for (var kill = 0; kill < 3; kill++)
        {
            using var process = Start(Command("killed"));
            for (var line = 0; line < 2 && await process.StandardOutput.ReadLineAsync() is not null; line++)
            {
            }

            await Task.Delay(kill * 7);
            process.Kill(); // SIGKILL
            await process.WaitForExitAsync();
        }

        (code, text) = await Reasongen(Command("killed"));
        Assert.True(code == 0, text);
        Assert.DoesNotContain("Waiting", text);
        Assert.Equal(Files("whole"), Files("killed"));
    }

    [Fact]
    public async Task Images_of_another_model_of_the_same_name_are_not_mixed_in()
    {
        TinyJanus.Write(At("a/model"));
        TinyJanus.Write(At("b/model"), seed: 2);
        string[] Command(string model) =>
            ["generate", "--model", At(model), "--prompt", "x", "--count", "1", "--no-rationale", "--out", At("out")];
        Assert.Equal(0, (await Reasongen(Command("a/model"))).Code);
        var (code, output) = await Reasongen(Command("b/model"));
        Assert.True(code == 2, output);
        Assert.Contains("weights_sha256 is", output);
    }

    [Fact]
    public async Task Dpg_prompts_become_squares_of_plain_Janus()
    {
        Directory.CreateDirectory(At("prompts"));
        File.WriteAllText(At("prompts/partiprompts1.txt"), "A photo of a cat, seen from above.\n");
        var (code, output) = await Reasongen("generate", "--model", "tiny", "--prompts", At("prompts"),
            "--no-rationale", "--out", At("out"));
        Assert.True(code == 0, output);
        var square = ImageFile.Read(At("out/generated_images/partiprompts1.png"));
        Assert.Equal((64, 64), (square.Width, square.Height));
        Assert.False(Directory.Exists(At("out/cots")));
        Assert.Contains("A photo of {}.",
            (string?)JObject.Parse(File.ReadAllText(At("out/generation.json")))["settings"]!["text"]);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public async Task Chat_answers_about_an_image_and_holds_a_conversation()
    {
        // a model of the native layout, for a tokenizer that merges and splits as the published one does
        File.Copy(Golden.Path("tokenizer/janus_style.tokenizer.json"),
            Directory.CreateDirectory(At("model")).FullName + "/tokenizer.json");
        var tokenizer = HuggingFaceTokenizer.Load(At("model"), JanusChat.SpecialNames);
        var special = tokenizer.Special;
        using (var model = new Janus(TinyJanus.Config with
        {
            Language = TinyJanus.Config.Language with { VocabularySize = tokenizer.VocabularySize },
        }, new ComputeTarget(CPU, ScalarType.Float32)))
        {
            model.Initialize(3);
            JanusFiles.Save(model, At("model"), JanusLayout.Native,
                ids: new(special.Bos, special.Eos, special.Pad, special.BeginOfImage, special.ImagePlaceholder));
        }

        File.WriteAllBytes(At("image.png"),
            Png.Encode(new RgbImage(20, 10, [.. Enumerable.Range(0, 600).Select(i => (byte)i)])));
        using var pipeline = JanusPipeline.Open(At("model"), new ComputeTarget(CPU, ScalarType.Float32));
        var expected = string.Concat(pipeline.Ask(ImageFile.Read(At("image.png")), "What is this?",
            new TextConfig { MaxTokens = 8 }));
        var (code, output) = await Reasongen("chat", "--model", At("model"), "--dtype", "fp32", "--image",
            At("image.png"), "--max-tokens", "8", "What is this?");
        Assert.True(code == 0, output);
        Assert.Equal(expected.Trim(), output.Replace(Cut, "").Trim());

        using var talking = Start(["chat", "--model", At("model"), "--dtype", "fp32", "--max-tokens", "8"]);
        await talking.StandardInput.WriteAsync($"/image {At("image.png")}\nWhat is this?\n/new\n/exit\nnever read\n");
        talking.StandardInput.Close();
        var (ended, said, error) = await talking.EndAsync();
        Assert.True(ended == 0, error);
        Assert.Equal(expected.Trim(), said.Trim());
        Assert.Equal(Cut, error.Trim());

        // what cannot be followed ends it: the question after it would be answered without the image
        using var blind = Start(["chat", "--model", At("model"), "--dtype", "fp32", "--max-tokens", "8"]);
        await blind.StandardInput.WriteAsync($"/image {At("none.png")}\nWhat is this?\n");
        blind.StandardInput.Close();
        (ended, said, error) = await blind.EndAsync();
        Assert.Equal((2, ""), (ended, said));
        Assert.Contains("none.png", error);
    }

    [Theory]
    [InlineData("generate --model {0}/none --prompt x --out {0}/out", "{0}/none")]
    [InlineData("generate --model {0}/foreign --prompt x --out {0}/out", "tokenizer of another model")]
    [InlineData("generate --model tiny --prompt x --out {0}/file/out", "cannot be written")]
    [InlineData("generate --model tiny --prompts {0}/long.txt --out {0}/out", "fit beside")]
    [InlineData("generate --model tiny --prompts {0}/none.jsonl --out {0}/out", "none.jsonl")]
    [InlineData("generate --model tiny --out {0}/out", "either --prompt")]
    [InlineData("generate --model tiny --prompt x --temperature 0 --out {0}/out", "Temperature")]
    [InlineData("generate --model tiny --prompt x --guidance -1 --out {0}/out", "GuidanceScale")]
    [InlineData("generate --model tiny --prompt x --guidance Infinity --out {0}/out", "--guidance is 'Infinity'")]
    [InlineData("generate --model tiny --prompt x --count 10001 --out {0}/out", "--count of 1 to 10000")]
    [InlineData("generate --prompt x --out {0}/out", "--model")]
    [InlineData("generate --model tiny --prompt x --no-rationale --text-budget 9 --out {0}/out", "leave one of")]
    [InlineData("chat --model tiny --top-p 0.5 what", "give a --temperature above 0, or leave --top-p out")]
    [InlineData("chat --model tiny --image {0}/none.png what", "none.png")]
    [InlineData("chat --model tiny --image {0}/file what", "no image")]
    [InlineData("chat --model {0}/none what", "{0}/none")]
    [InlineData("chat --model mini what", "mini cannot chat: a miniature knows only the words of its drawn world")]
    public async Task Bad_input_is_answered_in_a_paragraph(string arguments, string message)
    {
        File.WriteAllText(At("file"), "a file");
        File.WriteAllText(At("long.txt"), "a cat\n" + new string('x', 5000));
        File.WriteAllText(Path.Combine(TinyJanus.Write(At("foreign")), "tokenizer.json"),
            TinyJanus.Tokenizer().ToString().Replace("<begin_of_image>", "<start_of_image>"));
        var (code, output) =
            await Reasongen([.. arguments.Split(' ').Select(argument => string.Format(argument, folder))]);
        Assert.True(code == 2, output);
        Assert.Contains(string.Format(message, folder), output);
        Assert.DoesNotContain("   at ", output);
        Assert.Empty(Directory.Exists(At("out")) ? Directory.GetFiles(At("out")) : []);
    }

    private const string Cut = "(cut at the most tokens of an answer; --max-tokens allows more)";

    private string[] Files(string output) =>
        [.. Directory.GetFiles(At(output), "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
        .Select(file =>
            Path.GetRelativePath(At(output), file)
                + (file.EndsWith("generation.json") ? "" : " " + Convert.ToHexString(File.ReadAllBytes(file))))];

    public void Dispose() => Directory.Delete(folder, true);

    private string At(string path) => Path.Combine(folder, path);

    private static Child Start(string[] arguments) =>
        Child.Start(new ProcessStartInfo("dotnet",
            [typeof(ReasonGen.Host.Engine.CSharpSession).Assembly.Location, .. arguments])
    {
        RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
    });

    private static async Task<(int Code, string Output)> Reasongen(params string[] arguments)
    {
        using var process = Start(arguments);
        process.StandardInput.Close();
        var (code, output, error) = await process.EndAsync();
        return (code, output + error);
    }
}
