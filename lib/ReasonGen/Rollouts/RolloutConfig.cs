using static ReasonGen.Core.SettingRange;

namespace ReasonGen.Rollouts;

/// <summary>Settings of two-phase generation.</summary>
public sealed record RolloutConfig
{
    private const int MostTokens = 1 << 20; // far beyond the positions of any model; counts of tokens are added up

    /// <summary>Most tokens of a rationale, begin-of-image included; 0 draws at once. Default 448 (1024 − 576); in
    /// 0…1048576.</summary>
    public int MaxTextTokens { get; init; } = 448;

    /// <summary>Image tokens of an image: a count, not a cap. Default 576; at least 1 and at most 1048576.</summary>
    public int ImageTokens { get; init; } = 576;

    /// <summary>Divides the logits of both phases. Default 1; above 0. The reference drops every other value on its way
    /// to the model.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>Takes the likeliest token instead of sampling. Default false.</summary>
    public bool Greedy { get; init; }

    /// <summary>Guidance scale w of the image phase: logits u + w (c − u). Default 1, which is none (RL); 5 in
    /// evaluation of the real model; at least 0. GRPO guides sampling alone: with another value than 1 its log-probs
    /// are not those of what was sampled, where the reference's cfg_weight guides log-probs and updates too.</summary>
    public double GuidanceScale { get; init; } = 1;

    /// <summary>
    /// Parts of the batch that are sampled side by side, each with a seed of its own; default 1, at least 1. More pays
    /// on a CPU, for small models.
    /// </summary>
    public int Parts { get; init; } = 1;

    /// <summary>Most rows sampled together; more are sampled one part after the other. Default: no limit; at least 1.
    /// The longest rationale sampled together has no eos behind its image. janus_rl.sh samples up to 16 prompts at a
    /// time on each GPU: its 32 on eight GPUs are four each, eight rollouts of each, and all GPUs end their text
    /// together, so that there it is at least one row of 256.</summary>
    public int RowsAtATime { get; init; } = int.MaxValue;

    /// <summary>janus_rl.sh.</summary>
    public static RolloutConfig Paper { get; } = new();

    /// <summary>The miniature.</summary>
    public static RolloutConfig Mini { get; } = new() { MaxTextTokens = 36, ImageTokens = 64, Parts = 2 };

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(this, MaxTextTokens, MaxTextTokens is >= 0 and <= MostTokens, $"at least 0 and at most {MostTokens}");
        Require(this, ImageTokens, ImageTokens is >= 1 and <= MostTokens, $"at least 1 and at most {MostTokens}");
        Require(this, Temperature, Temperature > 0, "above 0");
        Require(this, GuidanceScale, GuidanceScale >= 0, "at least 0");
        Require(this, Parts, Parts >= 1, "at least 1");
        Require(this, RowsAtATime, RowsAtATime >= 1, "at least 1");
    }

    /// <summary>Whether a prompt leaves room for a rationale and an image.</summary>
    /// <param name="prompt">The text, for the message.</param>
    /// <param name="tokens">Its tokens, bos included and begin-of-image not.</param>
    /// <param name="positions">Tokens of the longest sequence that the model was made for.</param>
    /// <exception cref="ArgumentException">It does not.</exception>
    public void CheckPrompt(string prompt, int tokens, int positions)
    {
        var room = positions - MaxTextTokens - ImageTokens - 1;
        if (tokens > room)
        {
            throw new ArgumentException(
                $"the prompt \"{(prompt.Length <= 60 ? prompt : prompt[..60] + "…")}\" has {tokens} tokens; "
                + $"{Math.Max(room, 0)} fit beside {MaxTextTokens} of a rationale and {ImageTokens} of an image. "
                + $"Shorten it.");
        }
    }
}
