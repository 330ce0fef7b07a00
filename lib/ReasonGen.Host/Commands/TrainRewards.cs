using System.CommandLine;
using System.Globalization;
using System.Text.RegularExpressions;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Judges;
using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Judges.Preference;
using ReasonGen.Judging;
using ReasonGen.Native;
using ReasonGen.Notebook;
using ReasonGen.Qwen;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Scoring;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.Tokenizers;
using ReasonGen.World;
using TorchSharp;

namespace ReasonGen.Host.Commands;

/// <summary>One part of a reward, found but not loaded.</summary>
/// <param name="Spec">As it was given.</param>
/// <param name="Name">Tells it from other parts in logs and plots.</param>
/// <param name="Weight">Of the part.</param>
/// <param name="Fingerprint">Tells its weights from others'.</param>
/// <param name="Load">Loads it.</param>
/// <param name="Plan">What it takes on the device; null for nothing.</param>
/// <param name="NeedsInclude">Whether it scores prompts alone that say what is asked for, as GenEval's metadata
/// do.</param>
/// <param name="Mark">What in a prompt it would take for an image, and so cannot be asked about; null for
/// nothing.</param>
internal sealed record RewardPart(string Spec, string Name, double Weight, string Fingerprint,
    Func<ComputeTarget, IReward> Load, Func<ComputeTarget, PlannedJudge>? Plan = null, bool NeedsInclude = false,
    Func<string, string?>? Mark = null)
{
    /// <summary>What parts take on a device, for the plan of memory.</summary>
    internal static IReadOnlyList<PlannedJudge> Plans(IReadOnlyList<RewardPart> parts, ComputeTarget target) =>
        [.. parts.Select(part => part.Plan?.Invoke(target)).OfType<PlannedJudge>()];
}

/// <summary>The rewards of <c>train grpo</c>, alone or weighted together.</summary>
internal sealed partial class TrainRewards
{
    private const string Detector = "detector", Verdict = "geneval", Share = "geneval-share", Blip = "blip-vqa";

    private static readonly Dictionary<string, JudgeWeights[]> Official = new()
    {
        [Verdict] = [JudgeWeights.Detector, JudgeWeights.ClipL14],
        [Share] = [JudgeWeights.Detector, JudgeWeights.ClipL14], ["clipscore"] = [JudgeWeights.ClipB32],
        ["hps"] = [JudgeWeights.Hps], ["pickscore"] = [JudgeWeights.PickScore],
        ["imagereward"] = [JudgeWeights.ImageReward], [Blip] = [JudgeWeights.BlipVqa],
    };

    private readonly Option<string?> judge = new("--judge", "-j")
    {
        Description = "Who rewards: detector (the drawn world's), judge-large or judge-small (the miniature's), a "
            + "folder with a Qwen2.5-VL or a Janus, the address of an endpoint (https://…/v1), or a benchmark's own "
            + $"model: {string.Join(", ", Official.Keys)}. Several with commas are added up, each with a weight: "
            + "\"geneval-share,0.5*hps\". Default for the drawn world: detector.",
    };

    private readonly Option<string?> served = new("--judge-model")
    {
        Description = "Model as the endpoint names it. Start vLLM with --generation-config vllm: it takes a repetition "
            + "penalty from Qwen's files otherwise, which the paper's judge had not.",
    };

    private readonly Option<string> weights = OfficialOptions.WeightsOption();
    private readonly Option<bool> anyModel = new("--any-model")
    {
        Description = "Takes official models of other sizes too, for trials with small ones: geneval, geneval-share, "
            + "clipscore, pickscore, and blip-vqa in Hugging Face's layout. The files of hps and imagereward do not "
            + "say how many heads they have, and are taken in their published sizes alone.",
    };

    internal void AddTo(Command command)
    {
        command.Options.Add(judge.Suggesting([Detector, .. Study.Judges, .. Official.Keys]));
        command.Options.Add(served);
        command.Options.Add(weights);
        command.Options.Add(anyModel);
    }

    /// <summary>Finds every part, so that what is missing is told before a model is loaded.</summary>
    /// <exception cref="UsageException">Nothing is given, a part is none, or an option goes with no part.</exception>
    /// <exception cref="UnusableFileException">A part lacks a file, or its weights do not fit its
    /// configuration.</exception>
    /// <exception cref="ArgumentException">The parts cannot be added up.</exception>
    internal IReadOnlyList<RewardPart> Find(ParseResult parsed, RunConfig config, bool world)
    {
        var text = parsed.GetValue(judge) ?? (world ? Detector
            : throw new UsageException("train grpo needs a reward: --judge FOLDER, an endpoint's address, or a name; "
                + "see --help"));
        var parts = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        RewardPart[] found = parts.Length > 0 ? [.. parts.Select(part => Part(part, parsed, config))]
            : throw new UsageException("--judge is empty; see --help for what there is");
        EnsembleReward.Expect([.. found.Select(part => (part.Name, part.Weight))]);
        CommandLine.RefuseIdle(parsed, $"--judge {text}",
            (found.Any(part => ChatEndpoint.IsAddress(part.Spec)), "an endpoint in --judge (https://…/v1)", [served]),
            (found.Any(part => Official.ContainsKey(part.Spec)),
                $"a benchmark's own model in --judge ({string.Join(", ", Official.Keys)})", [weights, anyModel]));
        return found;
    }

    /// <summary>Loads the parts.</summary>
    internal static IReward Load(IReadOnlyList<RewardPart> parts, ComputeTarget target)
    {
        (IReward, double)[] loaded = [.. parts.Select(part => (part.Load(target), part.Weight))];
        return loaded is [var (only, weight)] && weight == 1 ? only : new EnsembleReward(loaded);
    }

    private RewardPart Part(string spec, ParseResult parsed, RunConfig config)
    {
        var (weight, name) = (1.0, spec);
        if (Weighted().Match(spec) is { Success: true } match)
        {
            weight = NumberText.Fraction<double>(match.Groups[1].Value)
                ?? throw new UsageException($"--judge {spec}: '{match.Groups[1].Value}' is no weight; write a number "
                    + $"such as 0.5 before the *");
            name = match.Groups[2].Value;
        }

        if (name == Detector)
        {
            return new(name, name, weight, name, _ => new DetectorReward(), NeedsInclude: true);
        }

        if (Study.Judges.Contains(name))
        {
            return new(name, name, weight, name, _ => new Study(StudyConfig.Quick).LoadJudge(name),
                Mark: JudgePrompt.Mini.MarkIn);
        }

        if (Official.TryGetValue(name, out var files))
        {
            var (folder, any) = (parsed.GetValue(weights)!, parsed.GetValue(anyModel));
            string[] paths = [.. files.Select(file => file.Require(folder, $"--judge {name}", "--weights FOLDER"))];
            Expect(name, paths[0], any);
            double bytes = (double)sizeof(float) // whatever they are stored in
                * paths.Sum(path => ClipFiles.OpenWeights(path).Elements);
            return new(name, name, weight, $"{name} {string.Join(' ', paths.Select(ModelOptions.Fingerprint))}"
                + (name == Blip ? " by noun chunks" : ""), // earlier versions asked for the whole prompt
                target => LoadOfficial(name, paths, target with { DType = torch.ScalarType.Float32 }, any),
                _ => PlannedJudge.Of($"judge {name}", bytes), NeedsInclude: name is Verdict or Share);
        }

        if (ChatEndpoint.IsAddress(name))
        {
            var model = parsed.GetValue(served) ?? throw new UsageException(
                $"the judge {name} is an endpoint; say --judge-model, as GET {name.TrimEnd('/')}/models lists it");
            var called = new RemoteJudgeConfig
            {
                Model = model, MaxAnswerTokens = config.Judge.MaxTokens,
                OnFailure = config.Judge.SkipFailed ? FailedCall.SkipGroup : FailedCall.Stop,
                Calls = config.Judge.Calls,
            };
            return new(name, model, weight, $"endpoint {model}",
                _ => new RemoteJudge(ChatEndpoint.Connect(name, model), called, Say), Mark: called.Prompt.MarkIn);
        }

        return Directory.Exists(name) ? Folder(name, weight, config) : throw new UsageException(
            $"--judge {spec}: there is no such reward and no such folder; there are {Detector}, "
            + $"{string.Join(", ", Study.Judges.Concat(Official.Keys))}, folders of a Qwen2.5-VL or a Janus, and "
            + "endpoints");
    }

    private static RewardPart Folder(string folder, double weight, RunConfig config)
    {
        NativeRuntime.EnsureLoaded();
        var name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        if (JanusFiles.ModelType(folder) is "multi_modality" or "janus")
        {
            _ = (JanusFiles.Check(folder), HuggingFaceTokenizer.Load(folder, JanusChat.SpecialNames));
            double weights = CheckpointFiles.Open(folder).Elements;
            return new(folder, name, weight, ModelOptions.Fingerprint(folder),
                target => new JanusJudge(name, JanusPipeline.Open(folder, target), config.Judge.MaxTokens),
                target => PlannedJudge.Of($"judge {name}", weights * ElementTypes.SizeOf(target.DType)),
                Mark: prompt => prompt.Contains(JanusChat.ImagePlaceholder) ? JanusChat.ImagePlaceholder : null);
        }

        var (sizes, tokenizer) = (QwenVl.Check(folder), QwenVl.Tokenizer(folder));
        var asked = JudgeConfig.Paper with
        {
            Processor = QwenProcessor.Read(folder, sizes.Vision), MaxTokens = config.Judge.MaxTokens,
            ImagesPerBatch = config.Judge.ImagesPerBatch,
        };
        return new(folder, name, weight, ModelOptions.Fingerprint(folder),
            target => new QwenJudge(name, QwenVl.Load(folder, target), tokenizer, asked),
            target => PlannedJudge.Of($"judge {name}", sizes, target.DType, asked.ImagesPerBatch, asked.MaxTokens),
            Mark: asked.Prompt.MarkIn);
    }

    // a line that keeps changing may stand there
    private static void Say(string text)
    {
        Terminal.Passing("");
        Console.Error.WriteLine(Terminal.Line(text));
    }

    // what names and shapes tell of files that no option makes usable
    private static void Expect(string name, string path, bool any)
    {
        if (name == Blip && BlipFiles.Open(path) is { HasOfficialForm: false } other && !any)
        {
            throw new UnusableFileException(path, $"it is {other.Name}, not the published one",
                "give the published file, or say --any-model, and the reward's name tells what it is");
        }

        try
        {
            _ = name switch
            {
                "hps" => HpsScorer.Check(path).Path,
                "imagereward" => ImageRewardScorer.Check(path).Files.Path,
                _ => path,
            };
        }
        catch (UnusableFileException e) when (any)
        {
            throw new UsageException($"--any-model does not hold for --judge {name}, whose file does not say how many "
                + $"heads it has: {e.Message}");
        }
    }

    private static IReward LoadOfficial(string name, string[] paths, ComputeTarget target, bool any) => name switch
    {
        "clipscore" => ClipScorer.ForClipScore(paths[0], target, any),
        "hps" => HpsScorer.Load(paths[0], target),
        "pickscore" => PickScorer.Load(paths[0], target, any),
        "imagereward" => ImageRewardScorer.Load(paths[0], target),
        Blip => BlipVqaJudge.Load(paths[0], target, nouns: PromptNouns.Rule, orWhole: true),
        _ => new GenEvalReward(new GenEvalJudge(Mask2FormerDetector.Load(paths[0], target, anyModel: any),
            new ColorClassifier(ClipScorer.ForColors(paths[1], target, any), new())),
            name == Verdict ? GenEvalRewardKind.Verdict : GenEvalRewardKind.Share),
    };

    [GeneratedRegex(@"^([^*/:]+?)\s*\*\s*(.+)$")]
    private static partial Regex Weighted();
}
