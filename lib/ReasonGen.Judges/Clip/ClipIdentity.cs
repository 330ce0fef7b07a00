using System.Security.Cryptography;
using ReasonGen.Checkpoints;

namespace ReasonGen.Judges.Clip;

/// <summary>Which model a checkpoint is, so that no other is taken for it in silence.</summary>
/// <param name="Config">Sizes and activation.</param>
/// <param name="Layout">How the file names its weights.</param>
/// <param name="Sha256">Of OpenAI's archive, the one layout with known checksums; null for the others.</param>
public sealed record ClipIdentity(ClipConfig Config, ClipLayout Layout, string? Sha256)
{
    private const string Untold = "whose weights they are cannot be told, no checksum is known";

    // the part of each published address that openai/CLIP compares the file with (clip.py)
    private static readonly Dictionary<string, string> Published = new()
    {
        ["ViT-B/32"] = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        ["ViT-L/14"] = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    };

    /// <summary>The very file that OpenAI published for this architecture.</summary>
    public bool IsOpenAis => Layout == ClipLayout.OpenAi && Sha256 is not null && Config.Architecture is { } name
        && Published.GetValueOrDefault(name) == Sha256;

    /// <summary>The model as results name it: "CLIP ViT-L/14 (OpenAI)" for the published file alone.</summary>
    public string Name => IsOpenAis ? $"CLIP {Config.Architecture} (OpenAI)" : Layout switch
    {
        ClipLayout.OpenAi => $"{What} in OpenAI's layout, not OpenAI's file (sha256 {Sha256})",
        ClipLayout.OpenClip => $"{What} in open_clip's layout; {Untold}",
        _ => $"{What} in Hugging Face's layout; {Untold}",
    };

    private string What =>
        Config.Architecture is { } known ? $"CLIP {known} with {Layers.Activations.Name(Config.Activation)}"
        : Config.ToString();

    /// <summary>Refuses a model other than the one that is wanted.</summary>
    /// <param name="wanted">Sizes and activation.</param>
    /// <param name="purpose">What it is wanted for: "GenEval's colours".</param>
    /// <param name="path">Where the model was read from.</param>
    /// <exception cref="UnusableFileException">It is another one; the message says which, and what was
    /// expected.</exception>
    public void Require(ClipConfig wanted, string purpose, string path)
    {
        if (Config != wanted)
        {
            throw new UnusableFileException(path, $"it is {Config}; {purpose} need {wanted}",
                Config with { Activation = wanted.Activation } == wanted
                    ? "the sizes are right, the activation is not: these are the weights or the configuration of "
                        + "another training"
                    : "give the published file of that model");
        }
    }

    internal static string ChecksumOf(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            return Convert.ToHexStringLower(SHA256.HashData(file));
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }
}
