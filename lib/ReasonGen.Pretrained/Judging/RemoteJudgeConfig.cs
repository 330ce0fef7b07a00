using ReasonGen.Rollouts;
using ReasonGen.Served;

namespace ReasonGen.Judging;

/// <summary>What happens to an image that the judge was asked about in vain.</summary>
public enum FailedCall
{
    /// <summary>The iteration ends with an <see cref="EndpointException"/>; nothing was trained on it, and it can be
    /// made again.</summary>
    Stop,

    /// <summary>Its reward is NaN: unknown. GRPO drops the whole group, counts it, and rolls out another
    /// prompt.</summary>
    SkipGroup,
}

/// <summary>Settings of a judge that is served elsewhere. Sampling defaults are those of the paper's judge (reward
/// worker, janus_rl.sh); what is not asked for is the server's: vLLM takes a repetition penalty of 1.05 from the files
/// of Qwen2.5-VL, which the paper's judge had not, unless it is started with <c>--generation-config vllm</c>.</summary>
public sealed record RemoteJudgeConfig
{
    /// <summary>Model as the endpoint names it, e.g. "Qwen/Qwen2.5-VL-7B-Instruct". Not empty.</summary>
    public required string Model { get; init; }

    /// <summary>Name in logs and plots; the model's when null.</summary>
    public string? Name { get; init; }

    /// <summary>What it is asked; the server adds its own chat around the turn. Default: the paper's
    /// question.</summary>
    public JudgePrompt Prompt { get; init; } = JudgePrompt.Paper;

    /// <summary>The size in which images are sent. Default: the paper's, at least 512².</summary>
    public JudgeImage Image { get; init; } = new();

    /// <summary>What a failed call comes to. Default: the run stops. An image about which the endpoint says nothing is
    /// unknown in either case.</summary>
    public FailedCall OnFailure { get; init; } = FailedCall.Stop;

    /// <summary>Longest answer in tokens. Default 1024; at least 1. A longer one is cut, and counts as one without a
    /// box.</summary>
    public int MaxAnswerTokens { get; init; } = 1024;

    /// <summary>Folder that keeps the answers, so that a resumed run asks nothing twice; in memory alone when
    /// null.</summary>
    public string? CacheFolder { get; init; }

    /// <summary>Answers kept in memory, the oldest forgotten first. Default 4096; at least 0.</summary>
    public int CachedAnswers { get; init; } = 4096;

    /// <summary>Concurrency, retries, time-outs, rate.</summary>
    public ChatCallConfig Calls { get; init; } = new();

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        static void Require(bool holds, string name, object value, string range)
        {
            if (!holds)
            {
                throw new ArgumentException($"{nameof(RemoteJudgeConfig)}.{name} is '{value}'; it must be {range}");
            }
        }

        Require(!string.IsNullOrWhiteSpace(Model), nameof(Model), Model, "the model's name at the endpoint");
        Require(Enum.IsDefined(OnFailure), nameof(OnFailure), OnFailure, "Stop or SkipGroup");
        Require(MaxAnswerTokens >= 1, nameof(MaxAnswerTokens), MaxAnswerTokens, "at least 1");
        Require(CachedAnswers >= 0, nameof(CachedAnswers), CachedAnswers, "at least 0");
        Calls.Validate();
    }
}
