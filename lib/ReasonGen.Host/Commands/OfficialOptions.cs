using System.CommandLine;
using ReasonGen.Judges;
using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Judges.Mplug;
using ReasonGen.Judges.UniDet;
using ReasonGen.Scoring;
using ReasonGen.World;

namespace ReasonGen.Host.Commands;

/// <summary>Where the official models lie and compute, for <c>--judge official</c>.</summary>
/// <param name="detects">GenEval asks, for boxes and colours.</param>
/// <param name="answers">DPG-Bench asks; neither, T2I-CompBench.</param>
internal sealed class OfficialOptions(bool detects = false, bool answers = false)
{
    private readonly Option<string> weights = WeightsOption();
    private readonly Option<string?> detector = new("--detector")
    {
        Description = "GenEval's detector: mmdetection's .pth of Mask2Former, or a folder of the transformers library.",
    };

    private readonly Option<string?> clip = new("--clip")
    {
        Description = $"{(detects ? "CLIP ViT-L/14 for the colours" : "CLIP ViT-B/32")}: OpenAI's .pt, or a folder of "
            + "open_clip or Hugging Face.",
    };

    private readonly Option<string?> mplug = new("--mplug")
    {
        Description = "mPLUG-large VQA: the folder as modelscope publishes it.",
    };

    private readonly Option<string?> blip = new("--blip")
    {
        Description = "BLIP-VQA for color, shape and texture: the .pth, or a folder of the transformers library.",
    };

    private readonly Option<string?> unidet = new("--unidet")
    {
        Description = "T2I-CompBench's detector: UniDet's .pth, RS200 for spatial, R50 for numeracy and 3d.",
    };

    private readonly Option<string?> labels = new("--unidet-labels")
    {
        Description = "Names of its classes: detection_features.pt of T2I-CompBench's UniDet_eval/dataset.",
    };

    private readonly Option<bool> anyModel = new("--any-model")
    {
        Description = "Takes models of other sizes than the official ones too; the label then says what they are.",
    };

    internal IReadOnlyList<Option> All => detects ? [weights, detector, clip, anyModel]
        : answers ? [weights, mplug, anyModel]
        : [weights, clip, blip, unidet, labels, anyModel];

    internal static Option<string> WeightsOption() => new("--weights")
    {
        Description = "Folder with the files of the official models. Default: what "
            + $"{JudgeWeights.Variable} names, or the folder weights.",
        DefaultValueFactory = _ => JudgeWeights.DefaultFolder,
    };

    /// <summary>Looks for what is named by itself; what is not is downloaded once the cost is known.</summary>
    /// <exception cref="UsageException">It is not there.</exception>
    internal void Look(ParseResult parsed)
    {
        foreach (var option in All.OfType<Option<string?>>().Where(option => option != weights))
        {
            if (parsed.GetValue(option) is { } path && !Path.Exists(path))
            {
                throw new UsageException($"{option.Name}: there is no {path}. 'reasongen score weights' lists what is "
                    + "needed and where it is published.");
            }
        }
    }

    /// <summary>GenEval's own judge, or what stands in its place by these options.</summary>
    internal GenEvalJudge GenEval(ParseResult parsed, GenEvalOptions rules)
    {
        // both are looked for before either is read
        var objects = Find(parsed, JudgeWeights.Detector, detector);
        var colors = Find(parsed, JudgeWeights.ClipL14, clip);
        var (target, any) = (Target(parsed), parsed.GetValue(anyModel));
        var classifier = new ColorClassifier(ClipScorer.ForColors(colors, target, any), rules);
        try
        {
            return new(Mask2FormerDetector.Load(objects, target, anyModel: any), classifier)
            {
                Fingerprint = $"{ModelOptions.Fingerprint(objects)} {ModelOptions.Fingerprint(colors)} "
                    + $"{rules.Background} {rules.Crop}",
            };
        }
        catch
        {
            classifier.Dispose();
            throw;
        }
    }

    /// <summary>T2I-CompBench's own judge of non-spatial prompts, or what stands in its place.</summary>
    internal ClipScoreJudge ClipScore(ParseResult parsed)
    {
        var path = Find(parsed, JudgeWeights.ClipB32, clip);
        return new(ClipScorer.ForClipScore(path, Target(parsed), parsed.GetValue(anyModel)))
        {
            Fingerprint = ModelOptions.Fingerprint(path),
        };
    }

    /// <summary>DPG-Bench's own judge, or T2I-CompBench's of attributes, or what stands in its place; null where
    /// another benchmark asks.</summary>
    internal IQuestionJudge? Questions(ParseResult parsed)
    {
        if (detects)
        {
            return null;
        }

        var (wanted, own) = answers ? (JudgeWeights.Mplug, mplug) : (JudgeWeights.BlipVqa, blip);
        var (path, target) = (Find(parsed, wanted, own), Target(parsed));
        if (!parsed.GetValue(anyModel) && !(answers ? MplugConfig.Read(path).IsLarge
            : BlipFiles.Open(path).HasOfficialForm))
        {
            throw new UnusableFileException(path,
                $"it is {(answers ? MplugConfig.Read(path) : BlipFiles.Open(path).Name)}; "
                + $"{wanted.For} needs {wanted.Model}",
                $"give {wanted.Files[0]} as it is published, or say --any-model, "
                + "and the label tells what it is");
        }

        return answers ? MplugJudge.Load(path, target, ModelOptions.Fingerprint(path))
            : BlipVqaJudge.Load(path, target, fingerprint: ModelOptions.Fingerprint(path));
    }

    /// <summary>T2I-CompBench's own judge of positions or numbers, or what stands in its place.</summary>
    internal UniDetJudge UniDet(ParseResult parsed, UniDetKind kind)
    {
        var file = kind == UniDetKind.RS200 ? JudgeWeights.UniDetRS200 : JudgeWeights.UniDetR50;
        var path = Find(parsed, file, unidet);
        var (names, any) = (Find(parsed, JudgeWeights.UniDetLabels, labels), parsed.GetValue(anyModel));
        var detector = UniDetDetector.Load(path, UniDetLabels.Read(names, any), Target(parsed), anyModel: any);
        if (detector.Config.Kind != kind && !any)
        {
            detector.Dispose();
            throw new UnusableFileException(path,
                $"it is UniDet {detector.Config.Kind}, where these scores are published with {kind}",
                $"give {file.Files[0]}, or say --any-model");
        }

        return new(detector, kind)
        {
            Fingerprint = $"{ModelOptions.Fingerprint(path)} {ModelOptions.Fingerprint(names)}",
        };
    }

    private string Find(ParseResult parsed, JudgeWeights wanted, Option<string?> own) =>
        parsed.GetValue(own) ?? wanted.Require(parsed.GetValue(weights)!, "--judge official", own.Name);

    // the official models were published in single precision
    private ComputeTarget Target(ParseResult parsed) => DeviceOption.Use(parsed).Exact;
}
