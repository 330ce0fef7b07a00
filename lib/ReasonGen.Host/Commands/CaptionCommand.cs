using System.CommandLine;
using System.Globalization;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Rollouts;
using ReasonGen.Served;
using Spectre.Console;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen caption: a folder of images becomes SFT data in the published schema.</summary>
internal static class CaptionCommand
{
    internal static Command Create()
    {
        var images = Required("Folder of images (PNG, JPEG, WebP, BMP, GIF), with its subfolders.", "--images");
        var output = Required("The parquet file to make; answers are kept beside it in <file>.jsonl.", "--out", "-o");
        var endpoint =
            Required("OpenAI-compatible address up to its version, e.g. http://localhost:8000/v1.", "--endpoint");
        var model = Required("A vision-language model, as the endpoint names it.", "--model");
        var key = new Option<string?>("--key-variable")
        {
            Description = "Environment variable that holds the key. Default: OPENAI_API_KEY, where it is set.",
        };
        var prompt = new Option<string?>("--prompt")
        {
            Description = "File with another instruction; the answer must keep the members of the built-in one.",
        };
        var concurrent = Number<int>(4, "Calls under way at once.", "--concurrent");
        var rate = Number<int>(0, "Most calls started a minute; 0 sets no bound.", "--per-minute");
        var timeOut = Number<double>(120, "Seconds a call may take.", "--timeout");
        var tries = Number<int>(4, "Times an image is asked about, with growing waits between.", "--tries");
        var tokens = Number<int>(new CaptionerConfig { Model = "" }.MaxAnswerTokens, "Longest answer in tokens.",
            "--max-tokens");
        var longestWait =
            Number<double>(600, "Most seconds to wait when the server asks for it (Retry-After).", "--longest-wait");
        var giveUp = Number<int>(8, "Images refused in a row at which it ends; fewer are named and left out.",
            "--give-up-after");
        var priceIn = Number<double>(0, "Price of a million tokens read, for the estimate.", "--price-in");
        var priceOut = Number<double>(0, "Price of a million tokens written.", "--price-out");
        var noJsonMode = new Option<bool>("--no-json-mode")
        {
            Description = "Does not ask for response_format json_object, for servers that refuse it.",
        };
        var dryRun = new Option<bool>("--dry-run") { Description = "Shows what it would take, and asks nothing." };
        var command = new Command("caption",
            "Makes SFT data (parquet, published schema) from a folder of images: captions in several styles and a "
            + "chain of thought for each, written by a served model. Interrupted, or given more images, it asks only "
            + "about what is not finished. An image that the server refuses is named and left out; the same command "
            + "asks about those again.\n\nExamples:\n"
            + "  reasongen caption --images photos --out photos.parquet --endpoint http://localhost:8000/v1 \\\n"
            + "    --model Qwen/Qwen2.5-VL-7B-Instruct --dry-run\n"
            + "  reasongen caption --images photos --out photos.parquet --endpoint https://api.example.com/v1 --model "
            + "large \\\n"
            + "    --key-variable EXAMPLE_KEY --per-minute 60 --price-in 2.5 --price-out 10")
        {
            images, output, endpoint, model, key, prompt, concurrent, rate, timeOut, tries, tokens, longestWait, giveUp,
            priceIn, priceOut, noJsonMode, dryRun,
        };
        command.SetAction(async (parsed, cancel) =>
        {
            var (seconds, wait) = (parsed.GetValue(timeOut), parsed.GetValue(longestWait));
            var config = new CaptionerConfig
            {
                Model = parsed.GetValue(model)!, JsonMode = !parsed.GetValue(noJsonMode),
                MaxAnswerTokens = parsed.GetValue(tokens), FailuresInARow = parsed.GetValue(giveUp),
                PriceIn = parsed.GetValue(priceIn), PriceOut = parsed.GetValue(priceOut),
                Prompt = parsed.GetValue(prompt) is { } file ? TextFile.Read(file) : CaptionerConfig.Instruction,
                Calls = new()
                {
                    ConcurrentCalls = parsed.GetValue(concurrent), CallsPerMinute = parsed.GetValue(rate),
                    Tries = parsed.GetValue(tries),
                    TimeOut = seconds is > 0 and < 1e6 ? TimeSpan.FromSeconds(seconds)
                        : throw new UsageException($"--timeout is {seconds}; it must be above 0"),
                    LongestAskedWait = wait is >= 0 and < 1e6 ? TimeSpan.FromSeconds(wait)
                        : throw new UsageException($"--longest-wait is {wait}; it must be at least 0"),
                    Names = new()
                    {
                        ConcurrentCalls = concurrent.Name, CallsPerMinute = rate.Name, Tries = tries.Name,
                        TimeOut = timeOut.Name, LongestAskedWait = longestWait.Name, LongestOutage = null,
                    },
                },
            };
            using var client =
                ChatEndpoint.Connect(parsed.GetValue(endpoint)!, config.Model, Key(parsed.GetValue(key)));
            if (Directory.Exists(parsed.GetValue(output)))
            {
                throw new UsageException(
                    $"--out is the folder '{parsed.GetValue(output)}'; it wants the name of a parquet file to make");
            }

            var captioner = new Captioner(client, config, parsed.GetValue(output)!) { Upright = ImageFile.Upright };
            return await RunAsync(captioner, config, parsed.GetValue(images)!, parsed.GetValue(output)!,
                parsed.GetValue(dryRun), cancel);
        });
        return command;
    }

    private static Option<string> Required(string description, params string[] names) =>
        new(names[0], names[1..]) { Description = description, Required = true };

    private static Option<T> Number<T>(T value, string description, string name) =>
        new(name) { Description = description, DefaultValueFactory = _ => value };

    private static async Task<int> RunAsync(
        Captioner captioner, CaptionerConfig config, string folder, string output, bool dryRun,
        CancellationToken cancel)
    {
        try
        {
            var found = CaptionImages.Find(folder, cancel);
            var (images, strangers) = (found.Images, found.Strangers);
            foreach (var (name, reason) in strangers)
            {
                Console.Error.WriteLine(
                    Terminal.Line($"{name} is no image that can be read: {reason}; it is left out."));
            }

            if (found.Others.Count > 0)
            {
                var shown = Terminal.Line(string.Join(", ", found.Others.Take(5)));
                Console.Error.WriteLine((found.Others.Count == 1 ? "1 other file is no image and left out: "
                    : $"{found.Others.Count} other files are no images and left out: ")
                    + $"{shown}{(found.Others.Count > 5 ? ", …" : "")}.");
            }

            Console.WriteLine(Describe(captioner.Estimate(images), images.Count,
                priced: config.PriceIn + config.PriceOut > 0));
            if (captioner.DamagedLines > 0)
            {
                Console.Error.WriteLine(
                    $"{captioner.DamagedLines} lines of {captioner.Journal} cannot be read; their images are asked "
                    + $"about again.");
            }

            if (dryRun)
            {
                return 0;
            }

            CaptionOutcome? outcome = null;
            await AnsiConsole.Progress().AutoClear(true)
                .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(),
                    new RemainingTimeColumn()).StartAsync(async context =>
                {
                    var bar = context.AddTask("captioning", maxValue: images.Count);
                    outcome = await captioner.RunAsync(images, (done, _) => bar.Value = done, cancel);
                });
            foreach (var (name, reason) in outcome!.Unusable)
            {
                Console.Error.WriteLine(Terminal.Line($"{name} is left out: {reason}"));
            }

            foreach (var (style, count) in outcome.MissingStyles)
            {
                Console.Error.WriteLine(
                    $"{count} rows have no {style}; training draws among the styles that they have.");
            }

            var asked = outcome.Answered;
            Console.WriteLine((outcome.Captioned == 0 ? "No row was made, and no set is written."
                : $"{outcome.Captioned} rows in {output}, {asked} {(asked == 1 ? "image" : "images")} answered just "
                    + $"now.")
                + (outcome.Unusable.Count > 0
                    ? $" {outcome.Unusable.Count} left out; the same command asks again about those." : ""));
            return outcome.Unusable.Count == 0 && strangers.Count == 0 ? 0 : 1;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine(
                $"Interrupted. What was answered is in {captioner.Journal}; the same command goes on from there.");
            return 130;
        }
        catch (EndpointException e)
        {
            throw new InvalidOperationException(
                $"{e.Message} What was answered is in {captioner.Journal}; the same command goes on from there.", e);
        }
    }

    private static string Describe(CaptionEstimate estimate, int images, bool priced) =>
        string.Create(CultureInfo.InvariantCulture,
        $"{images} images, {estimate.Finished} of them finished"
        + $"{(estimate.Duplicates > 0 ? $", {estimate.Duplicates} the same as another and asked about once" : "")}. To "
        + $"ask: {estimate.Images} calls, about {estimate.TokensIn:N0} tokens read and ")
        + string.Create(CultureInfo.InvariantCulture, $"{estimate.TokensOut:N0} written; ") + (priced
        ? string.Create(CultureInfo.InvariantCulture,
            $"about {estimate.Cost:0.00} at the prices given, more where answers are asked for again.")
        : "no price was given.");

    private static string? Key(string? variable) => variable is null ? null
        : Environment.GetEnvironmentVariable(variable) is { Length: > 0 } key ? key
        : throw new UsageException($"the environment variable '{variable}' is not set; it should hold the key");
}
