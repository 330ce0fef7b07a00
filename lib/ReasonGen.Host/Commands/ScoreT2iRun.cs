using System.CommandLine;
using System.Globalization;
using ReasonGen.Checkpoints;
using ReasonGen.Judges.UniDet;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using ReasonGen.World;

namespace ReasonGen.Host.Commands;

/// <summary>One run of reasongen score t2i.</summary>
internal sealed class T2iRun(ScoreOptions options, ParseResult parsed, string category, CancellationToken cancel)
{
    internal static readonly string[] Attributes = ["color", "shape", "texture"];

    // UniDet's image: the short side 479, the long one at most 480
    private const double ShortSide = 479, LongSide = 480;
    private const float LeastScore = 0.1f; // UniDet gives none at or below it
    // ViT-B/32 on an image and a text; UniDet RS200, R50
    private double OfficialWork => category switch { "non-spatial" => 1.5e10, "spatial" => 9.4e11, _ => 1.4e11 };

    private readonly ScoreRun run = new(options, parsed, "t2i-" + category, cancel);
    private readonly AskedBoxes asked = new([])
    {
        Same = category == "spatial" ? (label, name) => label == name : (label, name) => label.Contains(name),
    };

    private int byRule;

    // how the rules call what a prompt asks for
    private Func<string, string> Label => category == "numeracy" ? T2iCompBench.LabelOf : T2iSpatial.LabelOf;

    internal string? Nouns { get; init; }
    internal string? Objects { get; init; }
    internal string? Depth { get; init; }
    internal string[] Parts { get; init; } = [];
    internal string? Lists { get; init; }
    internal int PerPrompt { get; init; }
    internal bool Anyway { get; init; }

    internal int Run()
    {
        var folder = Directory.Exists(Path.Combine(run.Folder, "samples")) ? Path.Combine(run.Folder, "samples")
            : run.Folder;
        var files = run.ImageFiles(folder).Select(path => Path.GetFileName(path)).ToArray();
        var named = files.Where(file => T2iCompBench.NumberOf(file) is not null).OrderBy(T2iCompBench.NumberOf)
            .ToArray();
        run.Problems.AddRange(files.Except(named).Select(file => $"{file} is not named \"prompt_number.png\""));
        if (named.Length == 0)
        {
            throw new UsageException($"no image of {folder} is named \"{{prompt}}_{{number}}.png\"; the first is "
                + $"{files[0]}.");
        }

        var nouns = Nouns is null ? PromptNouns.Rule : PromptNouns.Read(Nouns,
            Attributes.Contains(category) ? "chunks" : category is "spatial" or "3d" ? "nouns" : null);
        var score = Scorer(folder, nouns, out var judge, out var questions, named);
        var inputs = T2iParts.Inputs(category, judge, Nouns, Objects, Lists);
        if (!run.Announce($"T2I-CompBench {category}", named.Length, questions, officialWork: OfficialWork,
            look: category is "complex" or "non-spatial" ? null
                : Attributes.Contains(category) ? JudgeTask.Answers : JudgeTask.Boxes))
        {
            return CommandLine.Done;
        }

        var scores = new Dictionary<string, ImageScore>();
        try
        {
            var asks = judge() is not (AnswerFile or DetectionFile or T2iParts.Joined or WorldScoring);
            run.Each(named, file => file, asks, file =>
            {
                var prompt = T2iCompBench.PromptOf(file);
                try
                {
                    var (value, reason) = score(file, prompt);
                    scores[file] = new(category, prompt, file, value, reason);
                }
                catch (OfficialStopException stop)
                {
                    scores[file] = new(category, prompt, file, null, stop.Cause);
                    run.Problems.Add($"{file} was not scored: {stop.Cause.TrimEnd('.')}");
                }
            });
        }
        catch (OperationCanceledException)
        {
            return run.Interrupted();
        }

        if (scores.Values.All(image => image.Score is null))
        {
            throw ScoreRun.NoneScored(named.Length, scores[named[0]].Reason);
        }

        if (judge() is DetectionFile)
        {
            asked.Check(run, Anyway);
            if (asked.Others is { Count: > 0 } others)
            {
                run.Notes.Add($"{others.Sum(other => other.Boxes)} boxes are of labels that no prompt asks for and "
                    + $"count for nothing: {ScoreRun.Few([.. others.Select(other => other.Label)])}");
            }
        }

        if (byRule > 0)
        {
            run.Notes.Add($"the nouns of {byRule} images come from a rule for prompts of a fixed pattern, not "
                + $"from spaCy as in the official script");
        }

        var counts = named.CountBy(T2iCompBench.PromptOf).ToArray();
        var most = PerPrompt > 0 ? PerPrompt : counts.Max(pair => pair.Value);
        run.Problems.AddRange(counts.Where(pair => pair.Value < most)
            .Select(pair => $"the prompt '{pair.Key}' has {pair.Value} of {most} images"));
        var how = Attributes.Contains(category) ? "answers" : category == "non-spatial" ? "scores" : "boxes";
        return run.Finish(new()
        {
            Benchmark = $"T2I-CompBench {category}", Label = ScoreLabel.Of("T2I-CompBench", how, judge(),
                run.TrainingReward()) + $" [{category}]", Judge = judge().Name, Inputs = inputs,
            Limits = judge() is not DetectionFile && (how != "answers" || parsed.GetValue(options.Judge) == "official")
                ? judge().Limits : [],
                Images = [.. named.Select(file => scores[file])],
            Missing = counts.Sum(pair => Math.Max(0, most - pair.Value)),
        }, judge(), folder, otherFolders: Depth is null ? Parts : [Depth]);
    }

    // judge() opens a model only once the cost is told
    private Func<string, string, (double Score, string Reason)> Scorer(string folder, PromptNouns nouns,
        out Func<IScoringJudge> judge, out long questions, string[] named)
    {
        questions = Attributes.Contains(category) ? named.Sum(file => Chunks(nouns, T2iCompBench.PromptOf(file))) : 0;
        return category switch
        {
            "complex" => ThreeInOne(out judge),
            "non-spatial" => NonSpatial(folder, out judge),
            "spatial" or "3d" or "numeracy" => Positions(folder, nouns, out judge),
            _ => Questions(folder, nouns, out judge),
        };
    }

    private Func<string, string, (double Score, string Reason)> Questions(string folder, PromptNouns nouns,
        out Func<IScoringJudge> judge)
    {
        var source = new Lazy<IAnswerSource>(() => ScoreJudges.Answers(options, parsed, run,
            needsProbabilities: true));
        var official = parsed.GetValue(options.Judge) == "official"; // whose script passes EXIF's orientation over
        judge = () => source.Value.Judge;
        return (file, prompt) =>
        {
            var asked = T2iCompBench.Questions(Known(nouns, prompt).Chunks);
            var image = run.Read(Path.Combine(folder, file), file, upright: !official).Pixels;
            var answers = source.Value.Ask(file, 0, () => image, asked, cancel);
            var yes = answers.Select((answer, i) => answer?.Yes
                ?? throw new OfficialStopException("none",
                    $"{source.Value.WhyNone(file, 0, asked[i])} '{asked[i]}'")).ToArray();
            if (asked.Count == 0)
            {
                run.Problems.Add($"{file} scores 1 without a question, as in the official script: its prompt has no "
                    + "noun chunk to ask about");
            }

            return (double.Parse(T2iCompBench.AttributeScore(yes), CultureInfo.InvariantCulture),
                string.Join('\n', asked.Zip(yes, (q, p) => $"{q} {p:0.00}")));
        };
    }

    private Func<string, string, (double Score, string Reason)> ThreeInOne(out Func<IScoringJudge> judge)
    {
        var (one, two, three) = Parts is [var a, var b, var c] ? (T2iParts.Scores(a, "attribute", Attributes),
            T2iParts.Scores(b, "position", "spatial", "3d"), T2iParts.Scores(c, "action", "non-spatial"))
            : throw new UsageException(
                "complex wants --parts with three scored folders: attribute, position, action.");
        string[] List(string name) => Lists is not null && File.Exists(Path.Combine(Lists, name))
            ? TextFile.Read(Path.Combine(Lists, name)).TrimEnd('\n').Split('\n')
            : throw new UsageException($"complex wants --lists with the folder of {name}.");
        var (spatial, action) = (List(T2iParts.SpatialList), List(T2iParts.ActionList));
        var joined = new T2iParts.Joined(Parts);
        judge = () => joined;
        run.Notes.Add("the official scripts take parts of complex prompts otherwise where they run with --complex: "
            + "CLIP then compares the prompt without its adjectives, and positions are those of the nouns beside the "
            + "preposition; the parts here are of the whole prompt, and of its first and last noun");
        return (file, prompt) => (T2iCompBench.ThreeInOne(prompt, spatial, action, Of(one, file), Of(two, file),
            Of(three, file)), "");
        static double Of(Dictionary<string, double?> scores, string file) => scores.GetValueOrDefault(file)
            ?? throw new OfficialStopException("none", "one of the three parts has no score for it");
    }

    private Func<string, string, (double Score, string Reason)> NonSpatial(string folder, out Func<IScoringJudge> judge)
    {
        var text = parsed.GetValue(options.Judge)!;
        if (text == "official")
        {
            var clip = new Lazy<(IScoringJudge Judge, Func<string, string, double> Score)>(() =>
                ScoreJudges.ClipScore(options, parsed, run, cancel));
            judge = () => clip.Value.Judge;
            return (name, prompt) =>
            {
                run.Read(Path.Combine(folder, name), name, upright: false); // named where it is black or damaged
                return (clip.Value.Score(Path.Combine(folder, name), prompt), "");
            };
        }

        var file = text.StartsWith("file:") ? AnswerFile.Read(text[5..], parsed.GetValue(options.Name))
            : throw new UsageException("non-spatial wants --judge official, or file:PATH with a line {\"image\": …, "
                + "\"question\": \"clip\", \"probability\": 0.31} an image.");
        judge = () => file;
        return (name, _) =>
        {
            run.Measure(Path.Combine(folder, name), name);
            return (file.Ask(name, 0, null!, [AnswerFile.Clip], cancel)[0]?.Yes
                ?? throw new OfficialStopException("none", "the file has no score for it"), "");
        };
    }

    private Func<string, string, (double Score, string Reason)> Positions(string folder, PromptNouns nouns,
        out Func<IScoringJudge> judge)
    {
        var objects = category != "numeracy" ? [] : Objects is null
            ? throw new UsageException("numeracy wants --objects new_objects.txt, which T2I-CompBench ships under "
                + "examples/dataset.") : T2iParts.ReadObjects(Objects);
        if (category == "3d" && (Depth is null || !Directory.Exists(Depth)))
        {
            throw new UsageException("3d wants --depth with a folder of depth images, named like the images.");
        }

        var official = parsed.GetValue(options.Judge) == "official";
        var detector = new Lazy<IObjectJudge>(() => ScoreJudges.Objects(options, parsed, run));
        var unidet = new Lazy<(IScoringJudge Judge, Func<string, IReadOnlyList<Detection>> Detect)>(() =>
            ScoreJudges.UniDet(
            options, parsed, run, category == "spatial" ? UniDetKind.RS200 : UniDetKind.R50, cancel));
        judge = () => official ? unidet.Value.Judge : detector.Value;
        return (file, prompt) =>
        {
            IReadOnlyList<string> wanted = category == "numeracy"
                ? [.. T2iCompBench.Counted(prompt, objects).Select(c => c.Object)] : Known(nouns, prompt).Nouns;
            var scale = 1f; // its boxes are of the resized image
            if (official)
            {
                run.Read(Path.Combine(folder, file), file, upright: false); // named where it is black or damaged
            }

            var boxes = official ? unidet.Value.Detect(Path.Combine(folder, file))
                : Boxes(detector.Value, folder, file, prompt, wanted, out scale);
            asked.Add([.. wanted.Select(Label)], [.. boxes.Select(box => box.Class)]);
            var scaled = boxes.Select(box => box with { X1 = box.X1 * scale, Y1 = box.Y1 * scale,
                X2 = box.X2 * scale, Y2 = box.Y2 * scale }).ToArray();
            var score = category switch
            {
                "spatial" => T2iSpatial.Score2D(prompt, wanted, scaled),
                "numeracy" => T2iCompBench.Numeracy(prompt, scaled, objects),
                _ => T2iSpatial.Score3D(prompt, wanted, scaled, T2iParts.ReadDepth(Path.Combine(Depth!, file))),
            };
            var found = boxes.CountBy(box => box.Class).Select(pair => $"{pair.Value} {pair.Key}");
            return (score, $"found {string.Join(", ", found.DefaultIfEmpty("nothing"))}");
        };
    }

    private IReadOnlyList<Detection> Boxes(IObjectJudge judge, string folder, string file, string prompt,
        IReadOnlyList<string> wanted, out float scale)
    {
        int width, height;
        IReadOnlyList<Detection> boxes;
        if (judge is DetectionFile known)
        {
            (width, height) = run.Measure(Path.Combine(folder, file), file);
            // other detectors spell otherwise, and know a man
            boxes = [.. known.Of(file, width, height, prompt).Where(box => box.Score > LeastScore)
                .OrderByDescending(box => box.Score).Select(box => known.Official ? box
                : box with { Class = Label(box.Class.Trim().ToLowerInvariant()) })];
            ScoreJudges.TellOutside(boxes, width, height, file, run, ScoreJudges.PixelsWanted);
        }
        else
        {
            var image = run.Read(Path.Combine(folder, file), file, upright: true).Pixels;
            (width, height) = (image.Width, image.Height);
            // a model is asked for the prompt's own words; the rules look for the official detector's
            boxes = [.. ScoreJudges.Boxes(judge, image, file, file, wanted, run, cancel)
                .Select(box => box with { Class = Label(box.Class) })];
        }

        scale = (float)Math.Min(ShortSide / Math.Min(width, height), LongSide / Math.Max(width, height));
        return boxes;
    }

    private (IReadOnlyList<string> Nouns, IReadOnlyList<string> Chunks) Known(PromptNouns nouns, string prompt)
    {
        var (found, chunks, rule) = nouns.Of(prompt);
        byRule += rule ? 1 : 0;
        return (found, chunks);
    }

    // chunks of a prompt, each of which is asked about; none where its nouns are not known
    private static int Chunks(PromptNouns nouns, string prompt)
    {
        try
        {
            return nouns.Of(prompt).Chunks.Count;
        }
        catch (OfficialStopException)
        {
            return 0;
        }
    }
}
