using System.Runtime.InteropServices;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Judging;
using ReasonGen.Models;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.Tests.Host;
using ReasonGen.Verification;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Verification;

public sealed class VerifyTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen-verify-test").FullName;

    public void Dispose() => Directory.Delete(folder, true);

    /// <summary>What is broken in a model, the check that should find it, and what it should suggest.</summary>
    public static TheoryData<string, string, string> Faults { get; } = new()
    {
        { "rotary layout", "text", "rotary layout" },
        { "pixels in [0, 1]", "image tokenizer", "normalisation of pixels" },
        { "red and blue", "image tokenizer", "channel order" },
        { "codebook", "image tokenizer", "the codebook" },
        { "codebook in another order", "image tokens", "a shuffled codebook" },
        { "image head", "image tokens", "gen_head" },
        { "template", "template", "template" },
        { "wrong shard", "text", "a wrong shard" },
        { "shard of another size", "weights", "a wrong shard: language_model.model.layers.1." },
        { "pixels of the judge", "judge", "ormalisation of pixels (the judge's preprocessor_config.json" },
        { "tokenizer", "tokenizer", "tokenizer.json" },
    };

    [Fact]
    public void Miniature_passes_every_check()
    {
        var (pipeline, suite, judge) = Miniature();
        using (pipeline)
        {
            VerifyCheck[] checks = [.. new ModelVerification(pipeline, suite, judge).Run()];

            Assert.All(checks, check =>
                Assert.True(check.Outcome != VerifyOutcome.Missed, $"{check.Name}: {check.Value}"));
            Assert.Equal(["sentence", "questions"],
                checks.Where(check => check.Outcome == VerifyOutcome.Skipped).Select(check => check.Name));
            Assert.Contains("all 10 checks passed", VerifyReport.Sentence("miniature", checks));
        }
    }

    [Theory]
    [MemberData(nameof(Faults))]
    public void Model_that_is_broken_fails_the_check_that_names_the_fault(string fault, string name, string suggestion)
    {
        var (pipeline, suite, judge) = Miniature();
        using (pipeline)
        {
            (suite, judge) = Break(fault, pipeline.Model, suite, judge);

            var check = new ModelVerification(pipeline, suite, judge).Run().First(check => check.Name == name);

            Assert.True(check.Outcome == VerifyOutcome.Missed, check.Value);
            Assert.Contains(suggestion, check.Suggestion);
        }
    }

    [Fact]
    public void Weights_that_are_no_numbers_are_a_missed_check_and_not_the_end()
    {
        var (pipeline, suite, judge) = Miniature();
        using (pipeline)
        {
            using (no_grad())
            {
                pipeline.Model.named_parameters().Single(p =>
                    p.name == "gen_head.vision_head.bias").parameter.fill_(double.NaN);
            }

            VerifyCheck[] checks = [.. new ModelVerification(pipeline, suite, judge).Run()];

            Assert.Equal(VerifyOutcome.Missed, checks.Single(check => check.Name == "image tokens").Outcome);
            Assert.Contains("NaN", checks.Single(check => check.Name == "drawing").Value);
        }
    }

    [Fact]
    public void Fault_of_libtorch_is_a_missed_check_and_the_others_go_on()
    {
        var (pipeline, suite, judge) = Miniature();
        using (pipeline)
        {
            suite = suite with { Chat = _ => throw new ExternalException("CUDA error: misaligned\nException raised") };

            VerifyCheck[] checks = [.. new ModelVerification(pipeline, suite, judge).Run()];

            var missed = Assert.Single(checks, check => check.Outcome == VerifyOutcome.Missed);
            Assert.Equal(("template", "CUDA error: misaligned"), (missed.Name, missed.Value));
            Assert.Contains("driver", missed.Suggestion);
            Assert.Contains(checks, check => check.Name == "drawing");
        }
    }

    [Fact]
    public async Task Model_and_judge_that_do_not_open_are_missed_checks_of_a_page()
    {
        var (model, page) = (TinyJanus.Write(Path.Combine(folder, "model")), Path.Combine(folder, "page.html"));
        var judge = Directory.CreateDirectory(Path.Combine(folder, "judge")).FullName;
        File.Delete(Path.Combine(model, "tokenizer.json"));

        var (code, output, _) = await Reasongen.RunApartAsync("verify", model, "--judge", judge, "--out", page);

        Assert.True(code == 1, output);
        Assert.All(new[] { "MISSED loading the judge", "MISSED loading   ", "model: 2 of 3 checks missed" },
            line => Assert.Contains(line, output));
        Assert.Contains("tokenizer.json", File.ReadAllText(page));
    }

    [Fact]
    public async Task Interrupted_while_it_loads_it_has_its_sentence_and_page()
    {
        if (OperatingSystem.IsWindows())
        {
            return; // no signal can be sent to another process there
        }

        var model = TinyJanus.Write(Path.Combine(folder, "model"));
        var (slow, page) = (Path.Combine(model, "tokenizer.json"), Path.Combine(folder, "new", "page.html"));
        await using (var padded = new FileStream(slow, FileMode.Append))
        {
            byte[] blanks = [.. Enumerable.Repeat((byte)' ', 1 << 20)];
            for (var i = 0; i < 240; i++)
            {
                padded.Write(blanks); // a while to read, and nothing to say
            }
        }

        using var verify = Child.Start(new("dotnet", [Reasongen.Assembly, "verify", model, "--out", page])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        });
        Assert.StartsWith("ok     files", await verify.StandardOutput.ReadLineAsync());
        verify.Signal("INT");
        var (code, output, error) = await verify.EndAsync();
        Assert.True(code == 130, output + error);
        Assert.Contains("model: interrupted after 1 checks", output);
        Assert.Contains("interrupted after 1 checks", File.ReadAllText(page));
    }

    [Theory]
    [InlineData("--out", "{0}/file/page.html", "cannot be written")]
    [InlineData("--out", "{0}/pipe", "pipe' is a pipe, not a file. Give another file with --out.")]
    [InlineData("--judge", "{0}/nothing-there", "no such folder")]
    public async Task What_is_not_there_is_named_before_any_check(string option, string value, string message)
    {
        File.WriteAllText(Path.Combine(folder, "file"), "");
        if (value.EndsWith("/pipe"))
        {
            Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows keeps its pipes elsewhere");
            Assert.Equal(0, (await Child.RunAsync(new("mkfifo", [string.Format(value, folder)]))).Code);
        }

        string[] page = option == "--out" ? [] : ["--out", Path.Combine(folder, "page.html")];
        var (code, output, error) =
            await Reasongen.RunApartAsync(["verify", folder, .. page, option, string.Format(value, folder)]);

        Assert.True((code, output) == (2, ""), output + error);
        Assert.Contains(message, error);
        Assert.False(File.Exists(Path.Combine(folder, "page.html")));
    }

    [Theory]
    [InlineData("tiny")]
    [InlineData("miniature")]
    public async Task Judge_that_would_not_be_asked_in_its_own_words_is_refused(string builtIn)
    {
        var page = Path.Combine(folder, "page.html");

        var (code, output, error) =
            await Reasongen.RunApartAsync("verify", builtIn, "--judge", folder, "--out", page);

        Assert.True((code, output) == (2, ""), output + error);
        Assert.Contains($"--judge goes with the folder of a model and has no effect with {builtIn}: leave it out.",
            error);
        Assert.False(File.Exists(page));
    }

    [Fact]
    public async Task Page_of_the_miniature_names_the_type_that_it_computes_in()
    {
        var page = Path.Combine(folder, "page.html");

        var (code, output, error) =
            await Reasongen.RunApartAsync("verify", "miniature", "--device", "cpu,bf16", "--out", page);

        Assert.True(code == 0, output + error);
        Assert.Contains("miniature: all 10 checks passed", output);
        Assert.Contains("cpu Float32", File.ReadAllText(page));
    }

    [Fact]
    public void Questions_about_drawn_images_are_as_often_yes_as_no()
    {
        var suite = VerifySuite.Published();

        Assert.Equal((12, 6), (suite.Questions.Count, suite.Questions.Count(question => question.Yes)));
        Assert.All(suite.Questions, question =>
            Assert.Equal((384, 384), (question.Image.Width, question.Image.Height)));
        Assert.Equal(6, suite.Questions.Select(question => Convert.ToHexString(question.Image.Rgb))
            .Distinct().Count());
    }

    [Theory]
    [InlineData("Yes.", "yes", 0)]
    [InlineData("No, the yes", "yes", 8)]
    [InlineData("Yesterday", "yes", -1)]
    [InlineData("two apples", "apple", -1)]
    [InlineData(@"red circle ; \boxed{1}", @"\boxed{1}", 13)]
    public void Word_is_found_where_it_stands_as_a_word(string text, string word, int place) =>
        Assert.Equal(place, TextMeasures.Place(text, word));

    [Fact]
    public void Page_takes_no_orders_from_what_a_model_wrote()
    {
        var check = new VerifyCheck("own answer", "<b>", VerifyOutcome.Missed, "<script>alert(1)</script>", "", "<img>")
        {
            Details = ["<i>"], Images = [("\" onerror=\"x", new RgbImage(1, 1, [1, 2, 3]))],
        };

        var page = VerifyReport.Html("<u>", [check], [("<s>", "&")]);

        Assert.DoesNotContain("<script", page);
        Assert.DoesNotContain("<img>", page);
        Assert.DoesNotContain("\" onerror", page);
        Assert.Contains("data:image/png;base64,", page);
    }

    [Fact]
    public async Task Verify_of_the_built_in_model_ends_with_a_sentence_and_a_page()
    {
        var page = Path.Combine(folder, "tiny.html");

        var (code, output, _) = await Reasongen.RunApartAsync("verify", "tiny", "--out", page);

        Assert.True(code == 0, output);
        Assert.Contains("tiny: all 7 checks passed", output);
        Assert.Contains("all 7 checks passed", File.ReadAllText(page));
    }

    [Fact]
    public async Task Verify_of_a_published_folder_with_random_weights_misses()
    {
        var (model, page) = (TinyJanus.Write(Path.Combine(folder, "noise")), Path.Combine(folder, "noise.html"));

        var (code, output, _) = await Reasongen.RunApartAsync("verify", model, "--out", page);

        Assert.True(code == 1, output);
        Assert.All(new[] { "ok     files", "MISSED text", "MISSED sentence", "MISSED questions", "MISSED own answer" },
            line => Assert.Contains(line, output));
        Assert.Contains("noise: ", output);
        Assert.Contains("missed", File.ReadAllText(page));
    }

    [Fact]
    public async Task Verify_of_files_that_do_not_fit_names_them_and_loads_nothing()
    {
        var model = TinyJanus.Write(Path.Combine(folder, "model"));
        var config = Path.Combine(model, "config.json");
        File.WriteAllText(config,
            File.ReadAllText(config).Replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"));

        var (code, output, _) = await Reasongen.RunApartAsync("verify", model, "--out",
            Path.Combine(folder, "page.html"));

        Assert.True(code == 1, output);
        Assert.Contains("layers.2.", output);
        Assert.Contains("a shard of another model", output);
        Assert.DoesNotContain("tokenizer  ", output);
    }

    [Theory]
    [InlineData("nothing-there")]
    [InlineData(".")]
    public async Task Verify_of_what_is_no_model_is_one_sentence(string given)
    {
        var page = Path.Combine(folder, "page.html");

        var (code, output, error) = await Reasongen.RunApartAsync("verify", Path.Combine(folder, given), "--out", page);

        Assert.Equal((2, ""), (code, output));
        Assert.Single(error.Trim().Split('\n'));
        Assert.False(File.Exists(page));
    }

    private static (JanusPipeline Pipeline, VerifySuite Suite, VerifyJudge Judge) Miniature() =>
        MiniatureVerification.Open(new Study(StudyConfig.Smoke));

    private static (VerifySuite Suite, VerifyJudge Judge) Break(string fault, Janus model, VerifySuite suite,
        VerifyJudge judge)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var weights = model.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        void Change(Func<string, bool> which, Func<Tensor, Tensor> how)
        {
            var some = weights.Where(pair => which(pair.Key)).ToArray();
            Assert.NotEmpty(some);
            foreach (var (_, weight) in some)
            {
                weight.copy_(how(weight.detach().clone()));
            }
        }

        switch (fault)
        {
            case "rotary layout": // pairs, as the files of some libraries have them, where halves are meant
                long heads = model.Config.Language.Heads, half = model.Config.Language.HeadWidth / 2;
                Change(name => name.EndsWith("q_proj.weight") || name.EndsWith("k_proj.weight"),
                    weight => weight.view(heads, 2, half, -1).transpose(1, 2).reshape(weight.shape));
                break;
            case "pixels in [0, 1]":
                Change(name => name.EndsWith("decoder.conv_out.weight"), weight => weight.mul(.5));
                Change(name => name.EndsWith("decoder.conv_out.bias"), bias => bias.mul(.5).add(.5));
                break;
            case "red and blue":
                Change(name => name.Contains("decoder.conv_out."), weight => weight.flip(0));
                break;
            case "codebook":
                using (var generator = ReasonGen.Core.Seeds.Torch(1))
                {
                    Change(name => name.EndsWith("quantize.embedding.weight"), weight =>
                        randn(weight.shape, generator: generator));
                }

                break;
            case "codebook in another order": // it comes back as it went in, but the decoder knows other numbers
                Change(name => name.EndsWith("quantize.embedding.weight"), weight => weight.roll(7, 0));
                break;
            case "image head":
                Change(name => name.StartsWith("gen_head.vision_head."), weight => weight.roll(7, 0));
                break;
            case "wrong shard":
                Change(name => name.Contains("layers.1.") && name.EndsWith("proj.weight"), weight => weight.flip(0));
                break;
            case "shard of another size":
                Change(name => name.Contains("layers.1.") && name.EndsWith("proj.weight"), weight => weight.mul(50));
                break;
            case "template":
                return (suite with { Chat = turn => turn }, judge);
            case "tokenizer":
                return (suite with { TokenVectors = [("a photo", [1, 2])] }, judge);
            case "pixels of the judge":
                var config = judge.Judge.Config;
                return (suite, judge with
                {
                    Judge = judge.Judge.With(config with { Processor =
                        config.Processor with { Mean = [1, 1, 1], Deviation = [.05f, .05f, .05f] } }),
                });
        }

        return (suite, judge);
    }
}
