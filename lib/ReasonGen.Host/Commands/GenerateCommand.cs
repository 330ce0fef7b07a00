using System.CommandLine;
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Evaluation;
using ReasonGen.Rollouts;
using ReasonGen.Studies;
using ReasonGen.Text;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen generate: pictures of one prompt, or of all prompts of a benchmark.</summary>
internal static class GenerateCommand
{
    private const string Help = """
        Draws pictures of a prompt, or of the prompts of a benchmark in the folders that its scripts expect. Interrupted, the same command goes on
        where it was; several processes may fill one folder.

        Examples:
          reasongen generate --model Janus-Pro-7B --prompt "a train left of a broccoli" --no-rationale --out pictures
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
            Description = "Instead: GenEval's evaluation_metadata.jsonl or a text file with a prompt a line (both into GenEval's folders), "
                + "or DPG-Bench's folder of text files (into its squares).",
        };
        var count = new Option<int>("--count", "-n") { Description = "Pictures of each prompt.", DefaultValueFactory = _ => 4 };
        var guidance = new Option<double>("--guidance") { Description = "Scale of guidance; 1 for none.", DefaultValueFactory = _ => 5 };
        var temperature = new Option<double>("--temperature") { Description = "Divides all logits.", DefaultValueFactory = _ => 1 };
        var seed = new Option<long>("--seed") { Description = "The same seed draws the same pictures.", DefaultValueFactory = _ => 1 };
        var budget = new Option<int>("--text-budget")
        {
            Description = "Most tokens of a rationale.", DefaultValueFactory = _ => RolloutConfig.Paper.TextBudget,
        };
        var plain = new Option<bool>("--no-rationale") { Description = "Draws at once, as plain Janus-Pro does." };
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder for pictures, rationales and generation.json, which holds every setting.", Required = true,
        };
        var command = new Command("generate", Help) { prompt, prompts, count, guidance, temperature, seed, budget, plain, output };
        model.AddTo(command);
        command.SetAction((parsed, cancel) => Task.FromResult(Run(parsed, cancel)));
        return command;

        int Run(ParseResult parsed, CancellationToken cancel)
        {
            var (one, many) = (parsed.GetValue(prompt), parsed.GetValue(prompts));
            var (folder, perPrompt) = (parsed.GetValue(output)!, parsed.GetValue(count));
            if (string.IsNullOrWhiteSpace(one) == string.IsNullOrWhiteSpace(many) || perPrompt < 1)
            {
                throw new UsageException("generate wants either --prompt with a text or --prompts with a file or folder, and a --count of 1 or more. "
                    + "See 'reasongen generate --help'.");
            }

            var suite = many is null ? PictureSuite.Single(parsed.GetValue(plain) ? one! : PromptTemplate.Subject(one!), folder, perPrompt)
                : Directory.Exists(many) ? PictureSuite.Dpg(many, folder, perPrompt) : PictureSuite.GenEval(many, folder, perPrompt);
            var config = new RolloutConfig
            {
                TextBudget = parsed.GetValue(plain) ? 0 : parsed.GetValue(budget),
                GuidanceScale = parsed.GetValue(guidance), Temperature = parsed.GetValue(temperature),
            };
            config.Validate();
            var template = config.TextBudget > 0 ? PromptTemplate.JanusRl : many is null ? PromptTemplate.JanusImage : PromptTemplate.JanusBaseline;
            suite.CheckWritable();
            using var pipeline = model.Open(parsed);
            foreach (var item in suite.Items)
            {
                pipeline.PromptTokens(item.Prompt, template, config);
            }

            var path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(model.Folder(parsed)));
            suite.Begin(new JObject
            {
                ["model"] = Path.GetFileName(path), ["prompts"] = one ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(many!)),
                ["text"] = template.Fill("{}"), ["count"] = perPrompt, ["guidance"] = config.GuidanceScale, ["temperature"] = config.Temperature,
                ["text_budget"] = config.TextBudget, ["image_tokens"] = pipeline.Model.Config.ImageTokens, ["seed"] = parsed.GetValue(seed),
                ["target"] = pipeline.Model.Target.ToString(),
            }, new JObject
            {
                ["commit"] = RunRecord.CurrentCommit,
                ["command"] = "reasongen " + string.Join(' ', Environment.GetCommandLineArgs().Skip(1).Select(SelfProcess.Quote)),
                ["model"] = Directory.Exists(path) ? path : model.Folder(parsed), ["started"] = DateTime.UtcNow.ToString("u"),
                ["torchsharp"] = typeof(TorchSharp.torch).Assembly.GetName().Version!.ToString(),
            });
            return Fill(suite, pipeline, template, config, parsed.GetValue(seed), cancel);
        }
    }

    private static int Fill(
        PictureSuite suite, JanusPipeline pipeline, PromptTemplate template, RolloutConfig config, long seed, CancellationToken cancel)
    {
        var outcomes = new List<SuiteOutcome>();
        var watch = Stopwatch.StartNew();
        var steps = suite.Fill((item, claim) =>
        {
            var drawings = pipeline.Draw(item.Prompt, suite.PerPrompt, template, config, Seeds.Mix(seed, item.Index), share =>
            {
                claim.Touch();
                var drawn = outcomes.Count(outcome => outcome == SuiteOutcome.Drawn) + share;
                var left = watch.Elapsed * ((suite.Items.Count - item.Index - share) / drawn);
                Progress($"{item.Index + 1}/{suite.Items.Count} {item.Name} {share:0%}, about {(int)left.TotalHours}:{left:mm\\:ss} left");
            }, cancel);
            return ([.. drawings.Select(drawing => drawing.Picture)], [.. drawings.Select(drawing => drawing.Rationale)]);
        });
        try
        {
            foreach (var step in steps)
            {
                outcomes.Add(step.Outcome);
                if (step.Outcome == SuiteOutcome.Drawn)
                {
                    Progress("");
                    var item = step.Item;
                    var text = item.Prompt.ReplaceLineEndings(" ");
                    Console.WriteLine($"{item.Index + 1}/{suite.Items.Count} {item.Name} {step.Seconds:0.0} s  {text}");
                }
            }
        }
        catch (OperationCanceledException)
        {
            Progress("");
            Console.Error.WriteLine($"Interrupted. {suite.Items.Count(suite.IsDone)} of {suite.Items.Count} prompts are in {suite.Folder}; "
                + "the same command goes on from there.");
            return 130;
        }

        int Of(SuiteOutcome outcome) => outcomes.Count(o => o == outcome);
        Console.WriteLine($"{suite.Items.Count} prompts: {Of(SuiteOutcome.Drawn)} drawn, {Of(SuiteOutcome.Found)} there already, "
            + $"{Of(SuiteOutcome.Taken)} being drawn by another process. Pictures are in {suite.Folder}.");
        return 0;
    }

    // one line that keeps changing, where someone is looking
    private static void Progress(string text)
    {
        if (!Console.IsErrorRedirected)
        {
            Console.Error.Write($"\r{text}\x1b[K");
        }
    }
}
