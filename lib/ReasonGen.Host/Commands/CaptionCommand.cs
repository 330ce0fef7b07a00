using System.CommandLine;
using System.Globalization;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Data;
using ReasonGen.Notebook;
using Spectre.Console;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen caption: a folder of pictures becomes SFT data in the published schema.</summary>
internal static class CaptionCommand
{
    private static readonly string[] Endings = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"];

    internal static Command Create()
    {
        var images = Required("Folder of pictures (PNG, JPEG, WebP, BMP, GIF), with its subfolders.", "--images");
        var output = Required("The parquet file to make; answers are kept beside it in <file>.jsonl.", "--out", "-o");
        var endpoint = Required("OpenAI-compatible address up to its version, e.g. http://localhost:8000/v1.", "--endpoint");
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
        var tries = Number<int>(4, "Times a picture is asked about, with growing waits between.", "--tries");
        var priceIn = Number<double>(0, "Price of a million tokens read, for the estimate.", "--price-in");
        var priceOut = Number<double>(0, "Price of a million tokens written.", "--price-out");
        var noJsonMode = new Option<bool>("--no-json-mode")
        {
            Description = "Does not ask for response_format json_object, for servers that refuse it.",
        };
        var dryRun = new Option<bool>("--dry-run") { Description = "Shows what it would take, and asks nothing." };
        var command = new Command("caption", "Makes SFT data (parquet, published schema) from a folder of pictures: captions in several styles and a chain of "
            + "thought for each, written by a served model. Interrupted, or given more pictures, it asks only about what is not finished.\n\nExamples:\n"
            + "  reasongen caption --images photos --out photos.parquet --endpoint http://localhost:8000/v1 \\\n"
            + "    --model Qwen/Qwen2.5-VL-7B-Instruct --dry-run\n"
            + "  reasongen caption --images photos --out photos.parquet --endpoint https://api.example.com/v1 --model large \\\n"
            + "    --key-variable EXAMPLE_KEY --per-minute 60 --price-in 2.5 --price-out 10")
        {
            images, output, endpoint, model, key, prompt, concurrent, rate, timeOut, tries, priceIn, priceOut, noJsonMode, dryRun,
        };
        command.SetAction(async (parsed, cancel) =>
        {
            var seconds = parsed.GetValue(timeOut);
            var config = new CaptionerConfig
            {
                Model = parsed.GetValue(model)!, JsonMode = !parsed.GetValue(noJsonMode),
                PriceIn = parsed.GetValue(priceIn), PriceOut = parsed.GetValue(priceOut),
                Prompt = parsed.GetValue(prompt) is { } file ? ReadPrompt(file) : CaptionerConfig.Instruction,
                Calls = new()
                {
                    ConcurrentCalls = parsed.GetValue(concurrent), CallsPerMinute = parsed.GetValue(rate), Tries = parsed.GetValue(tries),
                    TimeOut = seconds is > 0 and < 1e6 ? TimeSpan.FromSeconds(seconds)
                        : throw new UsageException($"--timeout is {seconds}; it must be above 0"),
                },
            };
            using var client = ChatEndpoint.Connect(parsed.GetValue(endpoint)!, config.Model, Key(parsed.GetValue(key)));
            var captioner = new Captioner(client, config, parsed.GetValue(output)!);
            return await RunAsync(captioner, config, parsed.GetValue(images)!, parsed.GetValue(output)!, parsed.GetValue(dryRun), cancel);
        });
        return command;
    }

    private static Option<string> Required(string description, params string[] names) =>
        new(names[0], names[1..]) { Description = description, Required = true };

    private static Option<T> Number<T>(T value, string description, string name) => new(name) { Description = description, DefaultValueFactory = _ => value };

    private static async Task<int> RunAsync(
        Captioner captioner, CaptionerConfig config, string folder, string output, bool dryRun, CancellationToken cancel)
    {
        try
        {
            var (pictures, strangers) = Find(folder, cancel);
            strangers.ForEach(name => Console.Error.WriteLine($"{name} is no picture that can be read; it is left out."));
            Console.WriteLine(Describe(captioner.Estimate(pictures), pictures.Count, priced: config.PriceIn + config.PriceOut > 0));
            if (dryRun)
            {
                return 0;
            }

            CaptionOutcome? outcome = null;
            await AnsiConsole.Progress().AutoClear(true)
                .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).StartAsync(async context =>
                {
                    var bar = context.AddTask("captioning", maxValue: pictures.Count);
                    outcome = await captioner.RunAsync(pictures, (done, _) => bar.Value = done, cancel);
                });
            foreach (var (name, reason) in outcome!.Unusable)
            {
                Console.Error.WriteLine($"{name} is left out: {reason}");
            }

            Console.WriteLine($"{outcome.Captioned} rows in {output}, {outcome.Asked - outcome.Unusable.Count} of them new."
                + (outcome.Unusable.Count > 0 ? " The same command asks again about what is left out." : ""));
            return outcome.Unusable.Count == 0 && strangers.Count == 0 ? 0 : 1;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine($"Interrupted. What was answered is in {captioner.Journal}; the same command goes on from there.");
            return 130;
        }
        catch (EndpointException e)
        {
            throw new InvalidOperationException($"{e.Message} What was answered is in {captioner.Journal}; the same command goes on from there.", e);
        }
    }

    private static string Describe(CaptionEstimate estimate, int pictures, bool priced) => string.Create(CultureInfo.InvariantCulture,
        $"{pictures} pictures, {estimate.Finished} of them finished. To ask: {estimate.Pictures} calls, about {estimate.TokensIn:N0} tokens read and ")
        + string.Create(CultureInfo.InvariantCulture, $"{estimate.TokensOut:N0} written; ") + (priced
        ? string.Create(CultureInfo.InvariantCulture, $"about {estimate.Cost:0.00} at the prices given, more where answers are asked for again.")
        : "no price was given.");

    private static (List<CaptionPicture> Pictures, List<string> Strangers) Find(string folder, CancellationToken cancel)
    {
        if (!Directory.Exists(folder))
        {
            throw new UsageException($"there is no folder '{folder}'; --images wants a folder of pictures");
        }

        var files = Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Where(file => Endings.Contains(Path.GetExtension(file).ToLowerInvariant())).Order(StringComparer.Ordinal).ToArray();
        if (files.Length == 0)
        {
            throw new UsageException($"'{folder}' holds no picture; wanted are files ending in {string.Join(", ", Endings)}");
        }

        List<CaptionPicture> pictures = [];
        List<string> strangers = [];
        foreach (var file in files)
        {
            cancel.ThrowIfCancellationRequested();
            var (bytes, name) = (File.ReadAllBytes(file), Path.GetRelativePath(folder, file).Replace('\\', '/'));
            if (PictureFile.Measure(bytes) is var (width, height, type))
            {
                pictures.Add(new(name, file, CaptionPicture.HashOf(bytes), width, height, type));
            }
            else
            {
                strangers.Add(name);
            }
        }

        return (pictures, strangers);
    }

    private static string? Key(string? variable) => variable is null ? null
        : Environment.GetEnvironmentVariable(variable) is { Length: > 0 } key ? key
        : throw new UsageException($"the environment variable '{variable}' is not set; it should hold the key");

    private static string ReadPrompt(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(file, $"the instruction cannot be read: {e.Message}".TrimEnd('.'), "give a text file");
        }
    }
}
