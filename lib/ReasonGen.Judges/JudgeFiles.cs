using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Mplug;
using ReasonGen.Judges.Preference;
using ReasonGen.Checkpoints;

namespace ReasonGen.Judges;

/// <summary>Which of the official judges a checkpoint is, without loading its weights.</summary>
internal static class JudgeFiles
{
    /// <summary>Opens what <see cref="CheckpointFiles.Open"/> does, and archives of TorchScript and folders of
    /// open_clip besides.</summary>
    /// <returns>The checkpoint, and what it is; null for none of the judges.</returns>
    /// <exception cref="UnusableFileException">It is unsound, or a judge that does not fit its own
    /// configuration.</exception>
    internal static (CheckpointFiles Files, string? Model) Open(string path)
    {
        var files = ClipFiles.OpenWeights(path);
        return (files, ClipNames.LayoutOf(files) is not null ? Name(path, files) : Other(path, files.Unwrapped()));
    }

    private static string? Other(string path, CheckpointFiles files) =>
        BlipFiles.LayoutOf(files) is not null ? BlipFiles.Describe(path, files)
        : ImageRewardScorer.Is(files) ? ImageRewardScorer.Describe(files)
        : !MplugJudge.Is(files) ? null
        : Directory.Exists(path) ? MplugJudge.Describe(path)
        : "the weights of an mPLUG; give its folder, whose configurations tell its sizes";

    private static string Name(string path, CheckpointFiles files)
    {
        if (HpsScorer.HasItsForm(path))
        {
            // the form has no configuration; the published sizes are the ones to compare with
            try
            {
                return HpsScorer.NameOf(path, ClipFiles.Open(path, ClipConfig.VitH14).Config)
                    + ", weights of a CLIP ViT-H/14 under \"state_dict\"";
            }
            catch (UnusableFileException)
            {
                return "a CLIP under \"state_dict\", as HPSv2 is published, but not of the sizes of ViT-H/14";
            }
        }

        if (ClipFiles.LacksConfiguration(path) is { } lacking)
        {
            return $"a CLIP without its {lacking}, which would tell its heads and activation";
        }

        var identity = ClipFiles.Open(path).Identity;
        return identity.Layout == ClipLayout.HuggingFace && identity.Config == ClipConfig.VitH14
            ? $"{identity.Name}; PickScore_v1 is published in this form" : identity.Name;
    }
}
