using System.CommandLine;
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Evaluation;
using ReasonGen.Files;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen generate: images of one prompt, or of all prompts of a benchmark.</summary>
internal static class GenerateCommand
{
    private const int MostImages = 10_000; // of one prompt: their names have four digits
    private static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(0.5);

    private const string Help = """
        Draws images of a prompt, or of the prompts of a benchmark in the folders that its scripts expect. Interrupted, the same command goes on
        where it was; several processes may fill one folder, and each ends when all is there.

        Examples:
          reasongen generate --model Janus-Pro-7B --prompt "a train left of a broccoli" --no-rationale --out images
          reasongen generate --model ReasonGen-R1 --prompt "a photo of three red apples" --count 4 --guidance 5 --temperature 1 --seed 7 --out apples
          reasongen generate --model ReasonGen-R1 --prompts geneval/prompts/evaluation_metadata.jsonl --out geneval_output_ReasonGen-R1
          reasongen generate --model ReasonGen-R1 --prompts ELLA/dpg_bench/prompts --out dpg_result/ReasonGen-R1
        """;

    internal static Command Create()
    {
        var model = new ModelOptions();
        var prompt = new Option<string?>("--prompt", "-p") { Description = "What to draw." };
        var prompts = new Option<string?>("--prompts")
        {
            Description = "Instead: GenEval's evaluation_metadata.jsonl or a text file with a prompt a line (both "
                + "into GenEval's folders), or DPG-Bench's folder of text files (into its squares).",
        };
        var count =
            new Option<int>("--count", "-n") { Description = "Images of each prompt.", DefaultValueFactory = _ => 4 };
        var guidance = new Option<double>("--guidance")
        {
            Description = "Scale of guidance; 1 for none.", DefaultValueFactory = _ => 5,
        };
        var temperature =
            new Option<double>("--temperature") { Description = "Divides all logits.", DefaultValueFactory = _ => 1 };
        var seed = new Option<long>("--seed")
        {
            Description = "The same seed draws the same images.", DefaultValueFactory = _ => 1,
        };
        var budget = new Option<int>("--text-budget")
        {
            Description = "Most tokens of a rationale; 0 is --no-rationale.",
            DefaultValueFactory = _ => RolloutConfig.Paper.MaxTextTokens,
        };
        var plain = new Option<bool>("--no-rationale") { Description = "Draws at once, as plain Janus-Pro does." };
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder for images, rationales and generation.json, which holds every setting.",
            Required = true,
        };
        var command = new Command("generate", Help)
        {
            prompt, prompts, count, guidance, temperature, seed, budget, plain, output,
        };
        model.AddTo(command);
        command.SetAction((parsed, cancel) => Task.FromResult(Run(parsed, cancel)));
        return command;

        int Run(ParseResult parsed, CancellationToken cancel)
        {
            var (one, many) = (parsed.GetValue(prompt), parsed.GetValue(prompts));
            var (folder, perPrompt) = (parsed.GetValue(output)!, parsed.GetValue(count));
            if (string.IsNullOrWhiteSpace(one) == string.IsNullOrWhiteSpace(many) || perPrompt is < 1 or > MostImages)
            {
                throw new UsageException(
                    "generate wants either --prompt with a text or --prompts with a file or folder, and a --count of "
                    + "1 to 10000. See 'reasongen generate --help'.");
            }

            if (parsed.GetValue(plain) && CommandLine.Given(parsed, budget) && parsed.GetValue(budget) > 0)
            {
                throw new UsageException("--no-rationale draws without a text, and --text-budget allows one: leave one "
                    + "of the two out");
            }

            var bare = parsed.GetValue(plain) || parsed.GetValue(budget) == 0; // draws at once, the prompt as it is
            var subject = bare ? one : PromptTemplate.Subject(one ?? "");
            if (many is null && string.IsNullOrWhiteSpace(subject))
            {
                throw new UsageException("--prompt says \"a photo of\" and nothing more: say what the photo is of");
            }

            var suite = many is null ? ImageSuite.Single(subject!, folder, perPrompt)
                : Directory.Exists(many) ? ImageSuite.Dpg(many, folder, perPrompt)
                    : ImageSuite.GenEval(many, folder, perPrompt);
            var config = new RolloutConfig
            {
                MaxTextTokens = bare ? 0 : parsed.GetValue(budget),
                GuidanceScale = parsed.GetValue(guidance), Temperature = parsed.GetValue(temperature),
            };
            config.Validate();
            foreach (var name in suite.LeftOut)
            {
                Console.Error.WriteLine($"{Plain(name)} is no text file (*.txt) and not drawn.");
            }

            _ = model.Target(parsed); // before any work
            suite.CheckWritable();
            using var pipeline = model.Open(parsed);
            var style = pipeline.Style;
            var template = config.MaxTextTokens > 0 ? style.Rationale : many is null ? style.Image : style.Baseline;
            config = CommandLine.Given(parsed, budget) ? config
                : config with { MaxTextTokens = Math.Min(config.MaxTextTokens, style.MaxTextTokens) };
            foreach (var item in suite.Items)
            {
                pipeline.PromptTokens(item.Prompt, template, config);
            }

            var path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(model.Folder(parsed)));
            var side =
                (int)Math.Sqrt(pipeline.Model.Config.ImageTokens) * pipeline.Model.Config.ImageTokenizer.PixelsPerCode;
            (suite.ImageSize, suite.WithRationales) = ((side, side), config.MaxTextTokens > 0);
            var about = Provenance.Now();
            about["model"] = Directory.Exists(path) ? path : model.Folder(parsed);
            suite.Begin(new JObject
            {
                ["model"] = Path.GetFileName(path), ["weights_sha256"] = model.Fingerprint(parsed),
                ["prompts"] = one ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(many!)),
                ["text"] = template.Fill("{}"), ["count"] = perPrompt, ["guidance"] = config.GuidanceScale,
                ["temperature"] = config.Temperature,
                ["text_budget"] = config.MaxTextTokens, ["image_tokens"] = pipeline.Model.Config.ImageTokens,
                ["seed"] = parsed.GetValue(seed),
                [ImageSuite.Target] = pipeline.Model.Target.ToString(),
            }, about);
            return Fill(suite, pipeline, template, config, parsed.GetValue(seed), cancel);
        }
    }

    private static int Fill(
        ImageSuite suite, JanusPipeline pipeline, PromptTemplate template, RolloutConfig config, long seed,
        CancellationToken cancel)
    {
        var outcomes = new Dictionary<int, SuiteOutcome>();
        var watch = Stopwatch.StartNew();
        (IReadOnlyList<RgbImage>, IReadOnlyList<string>) Draw(SuiteItem item, FileLease claim)
        {
            var drawings =
                pipeline.Draw(item.Prompt, suite.PerPrompt, template, config, Seeds.Mix(seed, item.Index), share =>
            {
                claim.Touch();
                var drawn = outcomes.Values.Count(outcome => outcome == SuiteOutcome.Drawn) + share;
                var left = watch.Elapsed * (Math.Max(0, suite.Items.Count - outcomes.Count - share) / drawn);
                Terminal.Passing(
                    $"{item.Index + 1}/{suite.Items.Count} {Plain(item.Name)} {share:0%}, about "
                    + $"{(int)left.TotalHours}:{left:mm\\:ss} left");
            }, cancel);
            return ([.. drawings.Select(drawing => drawing.Image)], [.. drawings.Select(drawing => drawing.Rationale)]);
        }

        try
        {
            var open = suite.Items;
            for (var told = false; open.Count > 0;)
            {
                foreach (var step in suite.Fill(Draw, open))
                {
                    outcomes[step.Item.Index] = step.Outcome;
                    Report(suite, step);
                }

                open = [.. suite.Items.Where(item => outcomes[item.Index] == SuiteOutcome.Taken)];
                if (open.Count > 0)
                {
                    Console.Error.Write(told ? ""
                        : $"Waiting for {open.Count} prompts that another process draws.{Environment.NewLine}");
                    told = true;
                    cancel.WaitHandle.WaitOne(LookAgain);
                    cancel.ThrowIfCancellationRequested();
                }
            }
        }
        catch (OperationCanceledException)
        {
            Terminal.Passing("");
            Console.Error.WriteLine(
                $"Interrupted. {suite.Items.Count(suite.IsDone)} of {suite.Items.Count} prompts are in {suite.Folder}; "
                + "the same command goes on from there.");
            return CommandLine.Interrupted;
        }

        suite.Tidy();
        SuiteItem[] missing = [.. suite.Missing];
        int Of(SuiteOutcome outcome) => outcomes.Values.Count(o => o == outcome);
        Console.WriteLine(
            $"{suite.Items.Count} prompts: {Of(SuiteOutcome.Drawn)} drawn, {Of(SuiteOutcome.Found)} there already. "
            + $"Images are in {suite.Folder}.");
        if (missing.Length > 0)
        {
            Console.Error.WriteLine(
                $"Images of {missing.Length} prompts were removed meanwhile, the first of '{Plain(missing[0].Name)}'; "
                + "the same command draws them again.");
        }

        return missing.Length == 0 ? CommandLine.Done : CommandLine.Failed;
    }

    private static void Report(ImageSuite suite, SuiteStep step)
    {
        if (step.Outcome == SuiteOutcome.Drawn)
        {
            Terminal.Passing("");
            Console.WriteLine(
                $"{step.Item.Index + 1}/{suite.Items.Count} {Plain(step.Item.Name)} {step.Seconds:0.0} s  "
                + $"{Plain(step.Item.Prompt)}");
        }
    }

    // a prompt or a file's name is shown, not obeyed: terminals take orders from control characters
    private static string Plain(string text) => string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c));
}
