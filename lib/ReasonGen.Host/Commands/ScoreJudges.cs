using System.CommandLine;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judges.UniDet;
using ReasonGen.Qwen;
using ReasonGen.Scoring;
using ReasonGen.World;

namespace ReasonGen.Host.Commands;

/// <summary>What every scoring command says: whose judgement, where to, and how the cost is told.</summary>
internal sealed class ScoreOptions
{
    internal readonly Argument<string> Folder = new("folder") { Description = "The images." };
    internal readonly Option<string> Judge = new("--judge", "-j")
    {
        Description = "Who looks: file:PATH (detections or answers of any model), qwen:FOLDER (a Qwen2.5-VL), "
            + "https://…/v1 (any served model), official (the benchmark's own models; 'score weights' lists their "
            + "files), or world (the exact detector, for the drawn world's images).", Required = true,
    };

    internal readonly Option<string?> Model = new("--judge-model") { Description = "Model as the endpoint names it." };
    internal readonly Option<string?> Name = new("--judge-name")
    {
        Description = "Who made the file, for the label: \"official\" for the benchmark's own model, or its name.",
    };

    internal readonly Option<string?> Reward = new("--training-reward")
    {
        Description = "Judge that the scored model was trained on, so that the label can say it is the same. Default: "
            + "what training.json of the model's folder says. It takes what 'train grpo --judge' takes.",
    };

    internal readonly Option<string?> Output = new("--out", "-o") { Description =
        "Folder for results, answers and the contact sheet. Default: <folder>-scores/<benchmark>. Scores of another "
        + "judge, benchmark or folder of images, or by other options or files (--questions, --nouns), that stand there "
        + "are moved beside it, into a folder with that judge's name." };
    internal readonly Option<int> Concurrent = new("--concurrent") { Description =
        "Calls of a served judge under way at once.", DefaultValueFactory = _ => 8 };
    internal readonly Option<bool> DryRun = new("--dry-run") { Description =
        "Tells the cost alone, and looks whether the judge can be used; the official models need not be there yet." };
    internal readonly Option<bool> Json = CommandLine.JsonOption();

    /// <summary>What a served judge counts boxes in, of the commands that ask for them.</summary>
    internal Option<string>? Boxes { get; init; }

    /// <summary>Where models that look compute.</summary>
    internal readonly Option<string?> Device = DeviceOption.Create();

    /// <summary>Where the official models lie, of the commands that know them.</summary>
    internal OfficialOptions? Official { get; init; }

    internal static Option<string> BoxesOption()
    {
        var boxes = new Option<string>("--boxes") { Description =
            "What a served judge counts its boxes in: pixels of the image as it is sent (Qwen2.5-VL), or thousandths "
            + "of its sides (0 to 1000, Qwen3-VL).", DefaultValueFactory = _ => "pixels" };
        boxes.AcceptOnlyFromAmong("pixels", "thousandths");
        return boxes;
    }

    /// <summary>What the boxes are counted in.</summary>
    internal BoxUnit Unit(ParseResult parsed) => Boxes is not null && parsed.GetValue(Boxes) == "thousandths"
        ? BoxUnit.Thousandths : BoxUnit.Pixels;

    /// <summary>Refuses options that are of another judge than the one that was asked for.</summary>
    /// <exception cref="UsageException">One was given.</exception>
    internal void Expect(ParseResult parsed)
    {
        var judge = parsed.GetValue(Judge)!;
        Option[] boxes = Unit(parsed) == BoxUnit.Pixels ? [] : [Boxes!]; // pixels are what every judge counts in
        CommandLine.RefuseIdle(parsed, $"--judge {judge}",
            (ChatEndpoint.IsAddress(judge), "a served judge (--judge https://…/v1)", [Model, Concurrent, .. boxes]),
            (judge.StartsWith("file:"), "--judge file:PATH", [Name]),
            (judge == "official", "--judge official", [.. Official?.All ?? []]));
    }

    internal void AddTo(Command command)
    {
        command.Arguments.Add(Folder);
        foreach (var option in (Option[])[Judge, Model, Name, Reward, Output, .. Official?.All ?? [],
            .. Boxes is null ? (Option[])[] : [Boxes], Device, Concurrent, DryRun, Json])
        {
            command.Options.Add(option);
        }
    }
}

/// <summary>What a judge is wanted for.</summary>
internal enum JudgeTask
{
    /// <summary>Boxes of objects.</summary>
    Boxes,

    /// <summary>Answers to questions.</summary>
    Answers,
}

/// <summary>Opens judges.</summary>
internal static class ScoreJudges
{
    /// <summary>Looks at a judge without loading a model: what a run would refuse is refused.</summary>
    internal static void Look(ScoreOptions options, ParseResult parsed, JudgeTask task)
    {
        var text = parsed.GetValue(options.Judge)!;
        if (text.StartsWith("file:"))
        {
            var (path, name) = (text[5..], parsed.GetValue(options.Name));
            _ = task == JudgeTask.Boxes ? (IScoringJudge)DetectionFile.Read(path, name) : AnswerFile.Read(path, name);
        }
        else if (text.StartsWith("qwen:"))
        {
            _ = QwenProcessor.Read(text[5..], QwenVl.Check(text[5..]).Vision);
            _ = QwenVl.Tokenizer(text[5..]);
        }
        else if (text == "official" && options.Official is { } official)
        {
            official.Look(parsed);
        }
        else if (text != "world" || task != JudgeTask.Boxes)
        {
            Model(text, options, parsed);
        }
    }

    /// <summary>The judge of a benchmark of objects; a model's answers are kept.</summary>
    /// <param name="options">What was asked.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="run">Where answers are kept.</param>
    /// <param name="rules">GenEval's settings, where it is GenEval that asks.</param>
    internal static IObjectJudge Objects(ScoreOptions options, ParseResult parsed, ScoreRun run,
        GenEvalOptions? rules = null) => parsed.GetValue(options.Judge)! switch
    {
        "world" => new WorldScoring(),
        "official" when rules is not null && options.Official is { } official && official.GenEval(parsed, rules)
            is var judge => new CachedObjects(judge, run.Keep(judge)),
        var text when text.StartsWith("file:") => DetectionFile.Read(text[5..], parsed.GetValue(options.Name)),
        var text when Model(text, options, parsed) is var judge => new CachedObjects(judge, run.Keep(judge)),
        var text => throw Unknown(text),
    };

    /// <summary>A model's boxes of an image; those that lie outside it are told, since they may be counted in another
    /// unit.</summary>
    internal static IReadOnlyList<Detection> Boxes(IObjectJudge judge, RgbImage image, string path, string name,
        IReadOnlyList<string> classes, ScoreRun run, CancellationToken cancel)
    {
        var boxes = judge.Detect(image, path, classes, cancel);
        TellOutside(boxes, image.Width, image.Height, name, run,
            "say with --boxes what a served judge counts in (Qwen3-VL: thousandths)");
        return boxes;
    }

    /// <summary>What to do about boxes of a file that lie outside their image.</summary>
    internal const string PixelsWanted = "a file's boxes are counted in pixels of the image as it lies in the folder";

    /// <summary>Tells boxes that lie outside their image.</summary>
    internal static void TellOutside(IReadOnlyList<Detection> boxes, int width, int height, string name, ScoreRun run,
        string remedy)
    {
        if (BoxQuestions.Outside(boxes, width, height) is > 0 and var outside)
        {
            run.Problems.Add($"{name}: {outside} of {boxes.Count} boxes lie outside the image; {remedy}");
        }
    }

    /// <summary>The judge of a benchmark of yes-or-no questions.</summary>
    internal static IAnswerSource Answers(ScoreOptions options, ParseResult parsed, ScoreRun run,
        bool needsProbabilities = false) => parsed.GetValue(options.Judge)! switch
    {
        var text when text.StartsWith("file:") => AnswerFile.Read(text[5..], parsed.GetValue(options.Name)),
        "official" when options.Official?.Questions(parsed) is { } judge =>
            new JudgeAnswers(new CachedQuestions(judge, run.Keep(judge))),
        var text => new JudgeAnswers(Questions(text, options, parsed, run, needsProbabilities)),
    };

    /// <summary>T2I-CompBench's score of non-spatial prompts, of an image's path and its prompt; kept.</summary>
    internal static (IScoringJudge Judge, Func<string, string, double> Score) ClipScore(ScoreOptions options,
        ParseResult parsed, ScoreRun run, CancellationToken cancel)
    {
        var judge = options.Official!.ClipScore(parsed);
        var cache = run.Keep(judge);
        return (judge, (path, prompt) => cache.Of<double>(AnswerCache.KeyOf(path), [$"clip {prompt}"],
            _ => [judge.Score(path, prompt, cancel)])[0]);
    }

    /// <summary>T2I-CompBench's own boxes of an image's path, in pixels of the resized image; kept.</summary>
    internal static (IScoringJudge Judge, Func<string, IReadOnlyList<Detection>> Detect) UniDet(ScoreOptions options,
        ParseResult parsed, ScoreRun run, UniDetKind kind, CancellationToken cancel)
    {
        var judge = options.Official!.UniDet(parsed, kind);
        var cache = run.Keep(judge);
        return (judge, path => cache.Of<Detection[]>(AnswerCache.KeyOf(path), ["boxes"],
            _ => [[.. judge.Detect(path, cancel)]])[0]);
    }

    /// <summary>A judge that answers any question.</summary>
    internal static IQuestionJudge Questions(string text, ScoreOptions options, ParseResult parsed, ScoreRun run,
        bool needsProbabilities) => Model(text, options, parsed, needsProbabilities) is var judge
            ? new CachedQuestions(judge, run.Keep(judge)) : throw Unknown(text);

    private static IVisionJudge Model(string text, ScoreOptions options, ParseResult parsed,
        bool needsProbabilities = false)
    {
        if (text.StartsWith("qwen:"))
        {
            var folder = text[5..];
            var tokenizer = QwenVl.Tokenizer(folder);
            var model = QwenVl.Load(folder, DeviceOption.Use(parsed));
            return new QwenScorer(Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))), model,
                tokenizer, QwenProcessor.Read(folder, model.Config.Vision))
            {
                Fingerprint = ModelOptions.Fingerprint(folder),
            };
        }

        if (!ChatEndpoint.IsAddress(text))
        {
            throw Unknown(text);
        }

        var name = parsed.GetValue(options.Model)
            ?? throw new UsageException($"the judge {text} is an endpoint; say --judge-model, as GET "
                + $"{text.TrimEnd('/')}/models lists it");
        return new ServedScorer(new FirstTokens(ChatEndpoint.Connect(text, name)), name,
            new()
            {
                ConcurrentCalls = parsed.GetValue(options.Concurrent),
                Names = new()
                {
                    ConcurrentCalls = options.Concurrent.Name, CallsPerMinute = null, Tries = null, TimeOut = null,
                    LongestAskedWait = null, LongestOutage = null,
                },
            })
        {
            Address = ChatEndpoint.Plain(text), NeedsProbabilities = needsProbabilities,
            Boxes = options.Unit(parsed),
        };
    }

    private static UsageException Unknown(string text) => text == "official"
        ? new("--judge official looks at GenEval (score geneval), DPG-Bench (score dpg) and T2I-CompBench (score t2i "
            + "--category color, shape, texture, spatial, 3d, numeracy or non-spatial); give another judge here") :
        new($"'{text}' is no judge for this; give file:PATH, qwen:FOLDER or the address of an endpoint (https://…/v1), "
        + "or world where images of the drawn world are scored");
}
