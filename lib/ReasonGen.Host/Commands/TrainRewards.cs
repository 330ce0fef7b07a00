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
using ReasonGen.Notebook;
using ReasonGen.Qwen;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using ReasonGen.World;
using TorchSharp;

namespace ReasonGen.Host.Commands;

/// <summary>One part of a reward, found but not loaded.</summary>
/// <param name="Spec">As it was given.</param>
/// <param name="Weight">Of the part.</param>
/// <param name="Fingerprint">Tells its weights from others'.</param>
/// <param name="Load">Loads it.</param>
/// <param name="Qwen">Sizes of a Qwen2.5-VL, for the plan of memory.</param>
/// <param name="NeedsInclude">Whether it scores prompts alone that say what is asked for, as GenEval's metadata
/// do.</param>
/// <param name="Mark">What in a prompt it would take for an image, and so cannot be asked about; null for
/// nothing.</param>
internal sealed record RewardPart(string Spec, double Weight, string Fingerprint, Func<ComputeTarget, IReward> Load,
    QwenConfig? Qwen = null, bool NeedsInclude = false, Func<string, string?>? Mark = null);

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
        Description = "Takes official models of other sizes too, for trials with small ones.",
    };

    internal void AddTo(Command command)
    {
        command.Options.Add(judge.Suggesting([Detector, .. Study.Judges, .. Official.Keys]));
        command.Options.Add(served);
        command.Options.Add(weights);
        command.Options.Add(anyModel);
    }

    /// <summary>Finds every part, so that what is missing is told before a model is loaded.</summary>
    /// <exception cref="UsageException">Nothing is given, or a part is none.</exception>
    internal IReadOnlyList<RewardPart> Find(ParseResult parsed, RunConfig config, bool world)
    {
        var text = parsed.GetValue(judge) ?? (world ? Detector
            : throw new UsageException("train grpo needs a reward: --judge FOLDER, an endpoint's address, or a name; "
                + "see --help"));
        var parts = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        return parts.Length > 0 ? [.. parts.Select(part => Part(part, parsed, config))]
            : throw new UsageException("--judge is empty; see --help for what there is");
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
            return new(name, weight, name, _ => new DetectorReward(), NeedsInclude: true);
        }

        if (Study.Judges.Contains(name))
        {
            return new(name, weight, name, _ => new Study(StudyConfig.Quick).LoadJudge(name),
                Mark: JudgePrompt.Mini.MarkIn);
        }

        if (Official.TryGetValue(name, out var files))
        {
            var (folder, any) = (parsed.GetValue(weights)!, parsed.GetValue(anyModel));
            string[] paths = [.. files.Select(file => file.Require(folder, $"--judge {name}", "--weights FOLDER"))];
            if (name == Blip && !any && !BlipFiles.Open(paths[0]).HasOfficialForm)
            {
                throw new UnusableFileException(paths[0], $"it is {BlipFiles.Open(paths[0]).Name}, not the published "
                    + "one", "give the published file, or say --any-model, and the reward's name tells what it is");
            }

            return new(name, weight, $"{name} {string.Join(' ', paths.Select(ModelOptions.Fingerprint))}", target =>
                LoadOfficial(name, paths, target with { DType = torch.ScalarType.Float32 }, any),
                NeedsInclude: name is Verdict or Share);
        }

        if (name.StartsWith("http://") || name.StartsWith("https://"))
        {
            var model = parsed.GetValue(served) ?? throw new UsageException(
                $"the judge {name} is an endpoint; say --judge-model, as GET {name.TrimEnd('/')}/models lists it");
            var called = new RemoteJudgeConfig
            {
                Model = model, MaxAnswerTokens = config.Judge.MaxTokens,
                OnFailure = config.Judge.SkipFailed ? FailedCall.SkipGroup : FailedCall.Stop,
                Calls = new() { ConcurrentCalls = config.Judge.Concurrent },
            };
            return new(name, weight, $"endpoint {model}",
                _ => new RemoteJudge(ChatEndpoint.Connect(name, model), called), Mark: called.Prompt.MarkIn);
        }

        return Directory.Exists(name) ? Folder(name, weight, config) : throw new UsageException(
            $"--judge {spec}: there is no such reward and no such folder; there are {Detector}, "
            + $"{string.Join(", ", Study.Judges.Concat(Official.Keys))}, folders of a Qwen2.5-VL or a Janus, and "
            + "endpoints");
    }

    private static RewardPart Folder(string folder, double weight, RunConfig config)
    {
        var name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        if (JanusFiles.ModelType(folder) is "multi_modality" or "janus")
        {
            return new(folder, weight, ModelOptions.Fingerprint(folder),
                target => new JanusJudge(name, JanusPipeline.Open(folder, target), config.Judge.MaxTokens),
                Mark: prompt => prompt.Contains(JanusChat.ImagePlaceholder) ? JanusChat.ImagePlaceholder : null);
        }

        var sizes = QwenConfig.FromFolder(folder);
        var asked = JudgeConfig.Paper with
        {
            Processor = QwenProcessor.Read(folder, sizes.Vision), MaxTokens = config.Judge.MaxTokens,
            ImagesPerBatch = config.Judge.ImagesPerBatch,
        };
        return new(folder, weight, ModelOptions.Fingerprint(folder), target =>
        {
            var tokenizer = QwenVl.Tokenizer(folder); // first: it is read in no time, and may be wrong
            return new QwenJudge(name, QwenVl.Load(folder, target), tokenizer, asked);
        }, sizes, Mark: asked.Prompt.MarkIn);
    }

    private static IReward LoadOfficial(string name, string[] paths, ComputeTarget target, bool any) => name switch
    {
        "clipscore" => ClipScorer.ForClipScore(paths[0], target, any),
        "hps" => HpsScorer.Load(paths[0], target),
        "pickscore" => PickScorer.Load(paths[0], target, any),
        "imagereward" => ImageRewardScorer.Load(paths[0], target),
        Blip => BlipVqaJudge.Load(paths[0], target),
        _ => new GenEvalReward(new GenEvalJudge(Mask2FormerDetector.Load(paths[0], target, anyModel: any),
            new ColorClassifier(ClipScorer.ForColors(paths[1], target, any), new())),
            name == Verdict ? GenEvalRewardKind.Verdict : GenEvalRewardKind.Share),
    };

    [GeneratedRegex(@"^([^*/:]+?)\s*\*\s*(.+)$")]
    private static partial Regex Weighted();
}
