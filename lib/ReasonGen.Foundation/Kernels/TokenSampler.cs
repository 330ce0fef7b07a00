// A token a row from softmax(logits / T), the way torch.multinomial draws: argmax of p over exponential noise. On a CPU
// one pass over a row makes e^((l − largest) / T), the sum of these, and the largest of them over noise; log p of the
// winner is its logit less the log of the sum.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using static ReasonGen.Kernels.Bf16Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Draws the next token of each row.</summary>
internal static unsafe class TokenSampler
{
    [ThreadStatic]
    private static AlignedFloats? shares;

    /// <summary>From softmax(logits / temperature).</summary>
    /// <param name="logits">[N, C].</param>
    /// <param name="temperature">Above 0; less than 1e-6 is taken for that, where but the likeliest is left.</param>
    /// <param name="greedy">Takes the likeliest instead; the first of equals.</param>
    /// <param name="noise">Gives exponential noise in the shape of what it is given, and where that is.</param>
    /// <param name="topP">Keeps the likeliest tokens whose predecessors sum to less than this; 1 keeps all.</param>
    /// <returns>Ids and their log-probs under what was drawn from, [N, 1] each; a row with a NaN has log-prob
    /// NaN.</returns>
    internal static (Tensor Ids, Tensor LogProbs) Draw(
        Tensor logits, double temperature, bool greedy, Func<Tensor, Tensor> noise, double topP = 1)
    {
        temperature = Math.Max(temperature, 1e-6); // what logits are divided by must leave numbers
        if (topP == 1 && logits is { dtype: ScalarType.Float32, device_type: DeviceType.CPU } && !is_grad_enabled()
            && logits.is_contiguous() && Vector128.IsHardwareAccelerated)
        {
            return Draw(logits, (float)(1 / temperature), greedy ? null : noise(logits));
        }

        using var scope = NewDisposeScope();
        var p = nn.functional.softmax(logits.to(ScalarType.Float32).div(temperature), -1);
        if (topP < 1 && !greedy)
        {
            var (sorted, order) = p.sort(-1, descending: true);
            sorted = sorted.masked_fill(sorted.cumsum(-1).sub(sorted).ge(topP), 0);
            p = zeros_like(p).scatter(-1, order, sorted.div(sorted.sum([-1L], keepdim: true)));
        }

        var ids = greedy ? p.argmax(-1, keepdim: true) : p.div(noise(p)).argmax(-1, keepdim: true);
        return (ids.MoveToOuterDisposeScope(), p.gather(1, ids).log().MoveToOuterDisposeScope());
    }

    private static (Tensor Ids, Tensor LogProbs) Draw(Tensor logits, float scale, Tensor? noise)
    {
        int rows = (int)logits.shape[0], classes = (int)logits.shape[1];
        Tensor ids = empty([rows, 1], ScalarType.Int64, CPU), logProbs = empty([rows, 1], ScalarType.Float32, CPU);
        float* from = (float*)Address(logits), by = noise is null ? null : (float*)Address(noise);
        var (to, scores) = (Address(ids), Address(logProbs));
        for (var row = 0; row < rows; row++, from += classes, by = by == null ? null : by + classes)
        {
            var (id, logProb) =
                Vector512.IsHardwareAccelerated ? Row<Lanes16, Vector512<float>>(from, by, classes, scale)
                : Vector256.IsHardwareAccelerated ? Row<Lanes8, Vector256<float>>(from, by, classes, scale)
                : Row<Lanes4, Vector128<float>>(from, by, classes, scale);
            ((long*)to)[row] = id;
            ((float*)scores)[row] = logProb;
        }

        return (ids, logProbs);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static (int Id, float LogProb) Row<L, V>(float* logits, float* noise, int classes, float scale)
        where L : ILanes<V> where V : struct
    {
        shares = shares is { } kept && kept.Count >= classes + L.Count ? kept : new(classes + L.Count);
        var p = new Span<float>(shares.Address, classes + L.Count);
        var largest = float.NegativeInfinity;
        for (var i = 0; i < classes; i++)
        {
            largest = logits[i] > largest ? logits[i] : largest;
            p[i] = logits[i];
        }

        p[classes..].Fill(-1e30f);
        var (sum, by, off) = (L.Of(0), L.Of(scale), L.Of(-largest));
        for (var i = 0; i < classes; i += L.Count)
        {
            var share = Lanes<L, V>.Exp(L.Multiply(L.Add(L.Load(shares.Address + i), off), by));
            sum = L.Add(sum, share);
            L.Store(share, shares.Address + i);
        }

        var (best, id) = (float.NegativeInfinity, 0);
        for (var i = 0; i < classes; i++)
        {
            var score = noise == null ? p[i] : p[i] / noise[i];
            (best, id) = score > best ? (score, i) : (best, id);
        }

        return (id, (logits[id] - largest) * scale - MathF.Log(L.Sum(sum)));
    }
}
