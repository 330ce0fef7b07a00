using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Checkpoints;
using ReasonGen.Scoring;

namespace ReasonGen.Judges;

/// <summary>What T2I-CompBench asks about non-spatial prompts: how close CLIP finds image and prompt.</summary>
/// <param name="clip">ViT-B/32 of OpenAI for the benchmark's own numbers.</param>
public sealed class ClipScoreJudge(ClipScorer clip) : IScoringJudge, IDisposable
{
    public string Name => clip.Identity.Name;

    public string Identity => $"{Name} | {Fingerprint}";

    public bool Official => clip.Identity is { IsOpenAis: true, Config: var config } && config == ClipConfig.VitB32;

    public IReadOnlyList<string> Limits { get; } = ["CLIP computes in fp32 here, in fp16 in the official script"];

    /// <summary>Tells weights of one name apart, so that answers are kept apart.</summary>
    public string Fingerprint { get; init; } = "";

    /// <summary>Cosine of the image in a file, with the mode and as it lies there, and a prompt.</summary>
    /// <exception cref="OfficialStopException">The image cannot be read, or the prompt is too long.</exception>
    public double Score(string path, string prompt, CancellationToken cancel)
    {
        try
        {
            return clip.Score([ImageReader.Read(path)], [prompt], cancel)[0];
        }
        catch (ArgumentException e)
        {
            throw new OfficialStopException("RuntimeError", e.Message);
        }
        catch (UnusableFileException e)
        {
            throw new OfficialStopException("UnidentifiedImageError", e.Message);
        }
    }

    public void Dispose() => clip.Dispose();
}
