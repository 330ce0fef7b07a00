using System.CommandLine;
using ReasonGen.Checkpoints;
using ReasonGen.Evaluation;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using ReasonGen.World;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen score geneval.</summary>
internal static class ScoreGenEvalCommand
{
    private const double Seen = 0.3;
    private const double OfficialWork = 5.2e11; // the detector at 800 x 800, and colours where they are asked

    private const string Help = """
        Scores a folder in GenEval's layout by its rules. Writes results.jsonl as the official script does, its
        summary, score.json and a contact sheet with the reason of each verdict. Interrupted, the same command goes
        on; several processes may share a folder and its --out.

        Examples:
          reasongen score geneval geneval_output --judge file:detections.jsonl --judge-name "mmdetection 3"
          reasongen score geneval geneval_output --judge official --weights judges
          reasongen score geneval geneval_output --judge file:results.jsonl
          reasongen score geneval geneval_output --judge qwen:Qwen2.5-VL-7B-Instruct --training-reward \
              Qwen2.5-VL-7B-Instruct
          reasongen score geneval geneval_output --judge http://localhost:8000/v1 --judge-model \
              Qwen/Qwen2.5-VL-72B-Instruct --dry-run
        """;

    internal static Command Create()
    {
        var options = new ScoreOptions
        {
            Official = new(detects: true), Boxes = ScoreOptions.BoxesOption(),
        };
        var rules = new Option<string[]>("--options")
        {
            Description = "GenEval's own settings: threshold=0.3 counting_threshold=0.9 max_objects=16 "
                + "max_overlap=1.0 position_threshold=0.1; with --judge official, bgcolor=#999 and crop=1 for colours, "
                + "too. The label names those that differ from these.", AllowMultipleArgumentsPerToken = true,
        };
        var anyway = new Option<bool>("--no-alarm") { Description =
            "Scores even where hardly any single object is found, or hardly anything that is asked for." };
        var command = new Command("geneval", Help) { rules, anyway };
        options.AddTo(command);
        command.SetAction((parsed, cancel) => Task.FromResult(Run(options, parsed, parsed.GetValue(rules) ?? [],
            parsed.GetValue(anyway), cancel)));
        return command;
    }

    private static int Run(ScoreOptions options, ParseResult parsed, string[] given, bool anyway,
        CancellationToken cancel)
    {
        GenEvalOptions rules;
        try
        {
            rules = GenEvalOptions.Parse(given);
        }
        catch (OfficialStopException stop)
        {
            throw new UsageException($"--options: {stop.Cause}. See 'reasongen score geneval --help'.");
        }

        Refuse(rules.Given.Keys, parsed.GetValue(options.Judge)!);
        var run = new ScoreRun(options, parsed, "geneval", cancel);
        var folder = GenEvalFolder.Open(run.Folder);
        run.Problems.AddRange(folder.Problems.Select(problem =>
            $"{problem.Where}: {problem.Cause} (the official script would stop: {problem.Official})"));
        if (folder.Images.Count == 0)
        {
            throw new UnusableFileException(run.Folder, folder.Problems.Count > 0
                ? $"it holds no image that can be scored; {run.Problems[0]}" : "it holds no image in GenEval's layout",
                "fill it with 'reasongen generate --prompts evaluation_metadata.jsonl --out …'");
        }

        if (!run.Announce("GenEval", folder.Images.Count, 0, officialWork: OfficialWork,
            look: JudgeTask.Boxes))
        {
            return CommandLine.Done;
        }

        var judge = ScoreJudges.Objects(options, parsed, run, rules);
        var classes = judge is WorldScoring ? WorldScoring.Classes : GenEvalOptions.CocoClasses;
        var rows = new Dictionary<string, GenEvalRow>();
        var (file, asked) = (judge as DetectionFile, new AskedBoxes(classes));
        var (single, found) = (0, 0);
        try
        {
            run.Each(folder.Images, image => image.FileName, judge is CachedObjects, image =>
            {
                OrderedDictionary<string, IReadOnlyList<Detection>> kept = [];
                try
                {
                    var boxes = Boxes(run, judge, image, out var pixels, cancel);
                    GenEvalVerdict Verdict() => GenEval.Evaluate(image.Metadata,
                        kept = GenEval.Keep(boxes, image.Tag, rules, classes), (objects, name) =>
                        judge.Colors(pixels, image.Path, objects, name, cancel), rules);
                    GenEvalVerdict verdict;
                    try
                    {
                        verdict = Verdict();
                    }
                    catch (KeptBoxException) when (judge is CachedObjects cached)
                    {
                        cached.Forget(pixels, image.Path);
                        boxes = ScoreJudges.Boxes(judge, pixels, image.Path, image.FileName,
                            Wanted(image, "include", "exclude"), run, cancel);
                        verdict = Verdict();
                    }

                    rows[image.FileName] = GenEvalRow.Of(image.FileName, image.Metadata, verdict, null, kept);
                    string[] seen = [.. boxes.Where(box => box.Score > Seen).Select(box => box.Class)];
                    asked.Add(Wanted(image, "include"), seen);
                    single += image.Tag == "single_object" ? 1 : 0;
                    found += image.Tag == "single_object" && seen.Any(name => file is null || classes.Contains(name))
                        ? 1 : 0;
                }
                catch (Exception e) when (e is OfficialStopException or ArgumentException)
                {
                    var cause = e is OfficialStopException stop ? stop.Cause : e.Message;
                    rows[image.FileName] = GenEvalRow.Of(image.FileName, image.Metadata, null, cause, kept);
                    run.Problems.Add($"{image.FileName} was not scored: {cause.TrimEnd('.')}");
                }
            });
        }
        catch (OperationCanceledException)
        {
            return run.Interrupted();
        }

        var results = new GenEvalResults([.. folder.Images.Select(image => rows[image.FileName])]);
        if (results.Unscored == results.Rows.Count)
        {
            var why = results.Rows[0].Reason;
            throw ScoreRun.NoneScored(results.Rows.Count, why[(why.IndexOf(':') + 2)..],
                " Check that judge and folder belong together.");
        }

        if (single > 0 && 2 * found < single && !anyway)
        {
            throw new InvalidOperationException($"ALARM: of {single} images of a single object only {found} hold any "
                + $"detection above {Seen} of a class that GenEval knows. Such a score is that of a detector that does "
                + "not work, not of the images: "
                + "a wrong configuration or checkpoint, class names that differ from GenEval's, boxes without scores, "
                + "or detections of other images. Look at a few detections; "
                + "with --no-alarm it is scored all the same. Nothing was written.");
        }

        if (file is not null)
        {
            asked.Check(run, anyway);
            Strange(run, file, classes);
        }

        var missing = Missing(run, folder);
        var report = new ScoreReport
        {
            Benchmark = "GenEval", Options = string.Join("; ", rules.Changed),
            Label = ScoreLabel.Of("GenEval", "boxes", judge, run.TrainingReward())
                + string.Concat(rules.Changed.Select(option => $"; with {option}")),
            Judge = judge.Name, Limits = judge.Limits, Missing = missing,
            Images = [.. results.Rows.Select(row => new ImageScore(row.Tag!, row.Prompt,
                Relative(run.Folder, row.FileName), row.Correct, row.Correct == 1 ? "" : row.Reason))],
        };
        return run.Finish(report, judge, run.Folder, new() { ["results.jsonl"] = results.Text(),
            ["summary.txt"] = $"{Terminal.Plain(report.Label)}\n\n{results.Summary(out _)}" });
    }

    // what would change nothing is no option
    private static void Refuse(IEnumerable<string> names, string judge)
    {
        foreach (var name in names)
        {
            var why = name switch
            {
                "model" => "the detector is chosen with --detector",
                "clip_model" => "CLIP is chosen with --clip",
                "bgcolor" or "crop" when judge != "official" =>
                    "it is about the colours that CLIP tells for --judge official; another judge tells its own",
                _ when GenEvalOptions.Names.Contains(name) => null,
                _ => $"there is no setting '{name}'; the official script passes it over in silence",
            };
            if (why is not null)
            {
                throw new UsageException($"--options {name}: {why}. See 'reasongen score geneval --help'.");
            }
        }
    }

    private static IReadOnlyList<Detection> Boxes(ScoreRun run, IObjectJudge judge, GenEvalImage image,
        out RgbImage pixels, CancellationToken cancel)
    {
        if (judge is DetectionFile file)
        {
            var (width, height) = run.Measure(image.Path, image.FileName);
            pixels = Nothing;
            var boxes = file.Of(image.FileName, width, height, image.Prompt);
            ScoreJudges.TellOutside(boxes, width, height, image.FileName, run, ScoreJudges.PixelsWanted);
            return boxes;
        }

        pixels = run.Read(image.Path, image.FileName, upright: true).Pixels;
        return ScoreJudges.Boxes(judge, pixels, image.Path, image.FileName, Wanted(image, "include", "exclude"), run,
            cancel);
    }

    // classes that the clauses of a prompt name
    private static string[] Wanted(GenEvalImage image, params string[] keys) =>
        [.. keys.Where(key => image.Metadata.TryGetProperty(key, out var list)
            && list.ValueKind == System.Text.Json.JsonValueKind.Array)
            .SelectMany(key => image.Metadata.GetProperty(key).EnumerateArray())
            .Where(clause => clause.ValueKind == System.Text.Json.JsonValueKind.Object
                && clause.TryGetProperty("class", out _))
            .Select(clause => clause.GetProperty("class").ToString()).Distinct()];

    // a file's detections need no pixels
    private static readonly RgbImage Nothing = new(1, 1, new byte[3]);

    private static void Strange(ScoreRun run, DetectionFile file, IReadOnlyList<string> classes)
    {
        if (file.Unused > 0)
        {
            run.Problems.Add($"{file.Unused} lines of {file.Identity} are of images that the folder does not hold");
        }

        var unknown = file.UnknownClasses(classes);
        if (unknown.Count > 0)
        {
            run.Problems.Add($"{unknown.Values.Sum()} boxes are of classes that GenEval does not know and count for "
                + $"nothing: {ScoreRun.Few([.. unknown.Keys])}");
        }

        var others = file.UnknownColors(GenEvalOptions.Colors);
        if (others.Count > 0)
        {
            run.Problems.Add($"{others.Values.Sum()} boxes have colours that GenEval does not know, and are of none of "
                + $"its own: {ScoreRun.Few([.. others.Keys])}");
        }
    }

    // Each prompt has as many images as generation.json says, or as the fullest prompt has.
    private static int Missing(ScoreRun run, GenEvalFolder folder)
    {
        static string NameOf(string path) => Path.GetFileName(path);
        var counts = folder.Images.CountBy(image =>
            NameOf(Path.GetDirectoryName(Path.GetDirectoryName(image.Path))!)).ToDictionary();
        var prompts = Directory.GetDirectories(run.Folder).Where(path => PythonNumber.IsDigits(NameOf(path)))
            .Order(StringComparer.Ordinal).ToArray();
        var said = run.Made("how many images a prompt has", "count");
        var all = run.Made("how many prompts there are", ImageSuite.PromptCount) ?? prompts.Length;
        var most = said ?? counts.Values.DefaultIfEmpty(0).Max();
        var missing = most * Math.Max(0, all - prompts.Length);
        if (missing > 0)
        {
            run.Problems.Add($"{prompts.Length} of {all} prompts have a folder: the drawing did not come to its end; "
                + "the same 'reasongen generate' goes on from there");
        }

        foreach (var prompt in prompts)
        {
            var has = counts.GetValueOrDefault(NameOf(prompt));
            if (has < most)
            {
                missing += most - has;
                run.Problems.Add($"{prompt} has {has} of {most} images");
            }
        }

        return missing;
    }

    internal static string Relative(string folder, string file) =>
        file[(folder.EndsWith('/') ? folder.Length : folder.Length + 1)..];
}
