using ReasonGen.Tokenizers;

namespace ReasonGen.Rollouts;

/// <summary>
/// One prompt as the rollouts read it (rl_dataset.py): pads on the left, bos, then the tokens, in max + 1 columns. Too
/// long a prompt loses its right end by default, as in the reference, although that may be the turn marker.
/// </summary>
/// <param name="Ids">max + 1 ids.</param>
/// <param name="AttentionMask">1 from bos on.</param>
/// <param name="PositionIds">0 on pads, then counting from 0.</param>
public sealed record PromptRow(long[] Ids, long[] AttentionMask, long[] PositionIds)
{
    /// <param name="tokens">The filled template's tokens, without bos.</param>
    /// <param name="maxLength">Most tokens kept; at least 1.</param>
    /// <param name="special">Gives bos and pad.</param>
    /// <param name="keepRight">Drops the left end of too long a prompt instead.</param>
    public static PromptRow Build(IReadOnlyList<int> tokens, int maxLength, SpecialTokens special,
        bool keepRight = false)
    {
        var kept = tokens.Count <= maxLength ? tokens
            : keepRight ? [.. tokens.Skip(tokens.Count - maxLength)] : [.. tokens.Take(maxLength)];
        var pads = maxLength - kept.Count;
        long[] ids = [.. Enumerable.Repeat((long)special.Pad, pads), special.Bos, .. kept.Select(id => (long)id)];
        return new(ids, [.. ids.Select((_, i) => i < pads ? 0L : 1)],
            [.. ids.Select((_, i) => (long)Math.Max(0, i - pads))]);
    }
}
