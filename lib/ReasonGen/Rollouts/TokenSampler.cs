using ReasonGen.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>Draws the next token of each row.</summary>
internal static class TokenSampler
{
    /// <summary>From softmax(logits / temperature), the way torch.multinomial draws: argmax of p over exponential
    /// noise.</summary>
    /// <param name="logits">[N, C].</param>
    /// <param name="temperature">Above 0.</param>
    /// <param name="greedy">Takes the likeliest instead; the first of equals.</param>
    /// <param name="noise">Gives exponential noise, [N, C] on the CPU.</param>
    /// <param name="topP">Keeps the likeliest tokens whose predecessors sum to less than this; 1 keeps all.</param>
    /// <returns>Ids and their log-probs under what was drawn from, [N, 1] each.</returns>
    internal static (Tensor Ids, Tensor LogProbs) Draw(
        Tensor logits, double temperature, bool greedy, Func<Tensor> noise, double topP = 1)
    {
        if (topP == 1 && FusedDraw.CanHandle(logits))
        {
            return FusedDraw.Draw(logits, temperature, greedy ? null : noise());
        }

        using var scope = NewDisposeScope();
        var p = nn.functional.softmax(logits.to(ScalarType.Float32).div(temperature), -1);
        if (topP < 1 && !greedy)
        {
            var (sorted, order) = p.sort(-1, descending: true);
            sorted = sorted.masked_fill(sorted.cumsum(-1).sub(sorted).ge(topP), 0);
            p = zeros_like(p).scatter(-1, order, sorted.div(sorted.sum([-1L], keepdim: true)));
        }

        var ids = greedy ? p.argmax(-1, keepdim: true)
            : p.div(noise().to(p.device)).argmax(-1, keepdim: true);
        return (ids.MoveToOuterDisposeScope(), p.gather(1, ids).log().MoveToOuterDisposeScope());
    }
}
