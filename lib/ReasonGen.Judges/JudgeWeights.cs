using ReasonGen.Checkpoints;

namespace ReasonGen.Judges;

/// <summary>One of the published weight files that the official judges read.</summary>
/// <param name="Key">Short name.</param>
/// <param name="Model">What it is.</param>
/// <param name="For">Which scores ask it.</param>
/// <param name="Files">Names under which it is looked for, the published one first; a name without an ending is a
/// folder.</param>
/// <param name="Bytes">About how large it is.</param>
/// <param name="Licence">Of the weights.</param>
/// <param name="Source">Who publishes it, and where there.</param>
/// <param name="Sha256">First digits of its checksum; null where none is published.</param>
public sealed record JudgeWeights(string Key, string Model, string For, IReadOnlyList<string> Files, long Bytes,
    string Licence, string Source, string? Sha256)
{
    /// <summary>Variable of the environment that names the folder of the files.</summary>
    public const string Variable = "REASONGEN_WEIGHTS";

    /// <summary>GenEval's detector.</summary>
    public static JudgeWeights Detector { get; } = new("detector", "Mask2Former Swin-S", "GenEval: objects",
    [
        "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth",
        "mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco_20220504_001756-c9d0c4f2.pth",
        "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.pth",
    ], 275_000_000, "Apache-2.0", "OpenMMLab, model zoo of mmdetection, configuration mask2former",
        "743b7d99 (mmdetection 2.x) or c9d0c4f2 (3.x)");

    /// <summary>GenEval's judge of colours.</summary>
    public static JudgeWeights ClipL14 { get; } = new("clip-l14", "CLIP ViT-L/14", "GenEval: colours",
        ["ViT-L-14.pt"], 932_768_134, "MIT", "OpenAI, project CLIP, ViT-L/14 in the list of clip/clip.py", "b8cca3fd");

    /// <summary>T2I-CompBench's judge of non-spatial prompts.</summary>
    public static JudgeWeights ClipB32 { get; } = new("clip-b32", "CLIP ViT-B/32", "T2I-CompBench: non-spatial",
        ["ViT-B-32.pt"], 353_976_522, "MIT", "OpenAI, project CLIP, ViT-B/32 in the list of clip/clip.py", "40d36571");

    /// <summary>DPG-Bench's judge.</summary>
    public static JudgeWeights Mplug { get; } = new("mplug", "mPLUG-large VQA", "DPG-Bench",
        ["mplug_visual-question-answering_coco_large_en"], 2_400_000_000, "see its page",
        "modelscope, model damo/mplug_visual-question-answering_coco_large_en (its folder)", null);

    /// <summary>T2I-CompBench's judge of colour, shape and texture.</summary>
    public static JudgeWeights BlipVqa { get; } = new("blip-vqa", "BLIP-VQA at 480 pixels",
        "T2I-CompBench: color, shape, texture", ["model_base_vqa_capfilt_large.pth", "model_vqa.pth"], 1_446_000_000,
        "BSD-3-Clause", "Salesforce, project BLIP, fine-tuned checkpoints: VQA", null);

    /// <summary>T2I-CompBench's detector for positions in the plane.</summary>
    public static JudgeWeights UniDetRS200 { get; } = new("unidet-rs200", "UniDet RS200", "T2I-CompBench: spatial",
        ["Unified_learned_OCIM_RS200_6x+2x.pth"], 484_000_000, "Apache-2.0",
            "xingyizhou, project UniDet, its model zoo", null);

    /// <summary>T2I-CompBench's detector for numbers and depth.</summary>
    public static JudgeWeights UniDetR50 { get; } = new("unidet-r50", "UniDet R50", "T2I-CompBench: numeracy, 3d",
        ["Unified_learned_OCIM_R50_6x+2x.pth"], 288_000_000, "Apache-2.0", "xingyizhou, project UniDet, its model zoo",
            null);

    /// <summary>The names of their classes.</summary>
    public static JudgeWeights UniDetLabels { get; } = new("unidet-labels", "names of UniDet's classes",
        "T2I-CompBench: spatial, numeracy, 3d", ["detection_features.pt"], 200_000,
            "NVIDIA Source Code License-NC (Prismer)",
        "Karine-Huang, project T2I-CompBench, UniDet_eval/dataset", null);

    /// <summary>HPSv2.1.</summary>
    public static JudgeWeights Hps { get; } = new("hps", "HPSv2.1", "reward: preference",
        ["HPS_v2.1_compressed.pt"], 1_970_000_000, "Apache-2.0", "xswu, model HPSv2 on Hugging Face", null);

    /// <summary>PickScore.</summary>
    public static JudgeWeights PickScore { get; } = new("pickscore", "PickScore", "reward: preference",
        ["PickScore_v1"], 3_940_000_000, "see its page",
        "yuvalkirstain, model PickScore_v1 on Hugging Face (its folder)", null);

    /// <summary>ImageReward.</summary>
    public static JudgeWeights ImageReward { get; } = new("imagereward", "ImageReward", "reward: preference",
        ["ImageReward.pt"], 1_790_000_000, "Apache-2.0", "THUDM, model ImageReward on Hugging Face", null);

    /// <summary>All of them: the one list.</summary>
    public static IReadOnlyList<JudgeWeights> All { get; } = [Detector, ClipL14, ClipB32, Mplug, BlipVqa, UniDetRS200,
        UniDetR50, UniDetLabels, Hps, PickScore, ImageReward];

    /// <summary>Where they are looked for unless something else is said: what the environment names, or the folder
    /// "weights" where the command runs.</summary>
    public static string DefaultFolder => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } named ? named
        : "weights";

    /// <summary>Its file or folder; null where there is none.</summary>
    public string? Find(string folder) => Files.Select(name => Path.Combine(folder, name)).FirstOrDefault(Path.Exists);

    /// <summary>Its file or folder, which must be there.</summary>
    /// <param name="folder">Where it is looked for.</param>
    /// <param name="asker">What needs it, for the message.</param>
    /// <param name="option">How it is named otherwise, for the message.</param>
    /// <exception cref="UnusableFileException">It is not there.</exception>
    public string Require(string folder, string asker, string option) => Find(folder)
        ?? throw new UnusableFileException(
        folder, $"{(Directory.Exists(folder) ? "it holds no" : "there is no such folder to look in for")} {Files[0]}, "
        + $"which {asker} needs ({Model}, {For})", $"download it, or name it with {option}; 'reasongen score weights' "
        + "lists what is needed and where it is published");

    /// <summary>What a file or folder holds, in words; null where it is none of the judges.</summary>
    /// <exception cref="UnusableFileException">It is unsound.</exception>
    public static string? Describe(string path)
    {
        if (Path.GetFileName(path) == UniDetLabels.Files[0])
        {
            return $"the {UniDet.UniDetLabels.Read(path).Names.Count} names of T2I-CompBench's detector";
        }

        var (files, clip) = JudgeFiles.Open(path);
        return clip ?? Mask2Former.Mask2FormerFiles.Describe(path, files) ?? UniDet.UniDetFiles.Describe(files);
    }
}
