using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Text;
using ReasonGen.World;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>A policy as people use it: prompts in, rationales and pictures out.</summary>
public sealed class PolicySampler(IImageTextModel model, ITokenizer tokenizer, PromptTemplate template, RolloutConfig config, Device device) : IRolloutSource
{
    private readonly RolloutSampler sampler = new(model, tokenizer.Special, config);

    public RolloutConfig Config => sampler.Config;

    public RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed)
    {
        using var scope = NewDisposeScope();
        var (ids, mask) = PromptRows(prompts.Select(prompt => prompt.Text), rolloutsPerPrompt);
        return sampler.Generate(ids, mask, seed);
    }

    /// <summary>Prompts as the sampler reads them: bos, the filled template, left-padded to the longest. [N·G, P] each.</summary>
    public (Tensor Ids, Tensor Mask) PromptRows(IEnumerable<string> prompts, int copies = 1)
    {
        int[][] rows = prompts.Select(prompt => (int[])[tokenizer.Special.Bos, .. tokenizer.Encode(template.Fill(prompt))]).ToArray();
        var columns = rows.Max(row => row.Length);
        long[] ids = Enumerable.Repeat((long)tokenizer.Special.Pad, rows.Length * columns).ToArray(), mask = new long[ids.Length];
        for (var r = 0; r < rows.Length; r++)
        {
            for (var i = 0; i < rows[r].Length; i++)
            {
                var at = (r + 1) * columns - rows[r].Length + i;
                (ids[at], mask[at]) = (rows[r][i], 1);
            }
        }

        return (tensor(ids, [rows.Length, columns], device: device).repeat_interleave(copies, 0),
            tensor(mask, [rows.Length, columns], device: device).repeat_interleave(copies, 0));
    }

    /// <summary>The tokens of each rationale, begin-of-image included.</summary>
    public int[][] RationaleTokens(RolloutBatch rollouts)
    {
        using var scope = NewDisposeScope();
        int columns = rollouts.ResponseColumns, start = rollouts.PromptColumns;
        var ids = rollouts.Ids.narrow(1, start, columns).Values<long>();
        return Enumerable.Range(0, rollouts.Count).Select(row => ids.AsSpan(row * columns, columns).ToArray()
            .TakeUntil(id => id == tokenizer.Special.BeginOfImage).Select(id => (int)id).ToArray()).ToArray();
    }

    public string[] Rationales(RolloutBatch rollouts) => RationaleTokens(rollouts).Select(tokens => tokenizer.Decode(tokens)).ToArray();

    public Picture[] Pictures(RolloutBatch rollouts)
    {
        using var scope = NewDisposeScope();
        return Core.Pictures.FromTensor(model.DecodeImage(rollouts.ImageCodes));
    }
}

internal static class Sequences
{
    /// <summary>Items up to and including the first that satisfies the condition.</summary>
    internal static IEnumerable<T> TakeUntil<T>(this IEnumerable<T> items, Func<T, bool> last)
    {
        foreach (var item in items)
        {
            yield return item;
            if (last(item))
            {
                yield break;
            }
        }
    }
}
