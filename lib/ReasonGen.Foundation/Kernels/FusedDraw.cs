// A token a row from softmax(logits / T), the way torch.multinomial draws: argmax of p over exponential noise. One pass
// over a row makes
// e^((l − largest) / T), the sum of these, and the largest of them over noise; log p of the winner is its logit less
// the log of the sum.
using System.Runtime.Intrinsics;
using TorchSharp;
using static ReasonGen.Kernels.Bf16Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Draws tokens from fp32 logits on a CPU.</summary>
internal static unsafe class FusedDraw
{
    [ThreadStatic]
    private static AlignedFloats? shares;

    /// <summary>Whether logits [N, C] are of that kind.</summary>
    internal static bool CanHandle(Tensor logits) => Vector128.IsHardwareAccelerated && !is_grad_enabled()
        && logits is { dtype: ScalarType.Float32, device_type: DeviceType.CPU } && logits.is_contiguous();

    /// <summary>A token of each row.</summary>
    /// <param name="logits">[N, C].</param>
    /// <param name="temperature">Above 0.</param>
    /// <param name="noise">[N, C], above 0; null takes the likeliest. Of equals the first is taken.</param>
    /// <returns>Ids and their log-probs, [N, 1] each; a row with a NaN has log-prob NaN.</returns>
    internal static (Tensor Ids, Tensor LogProbs) Draw(Tensor logits, double temperature, Tensor? noise)
    {
        int rows = (int)logits.shape[0], classes = (int)logits.shape[1];
        Tensor ids = empty([rows, 1], ScalarType.Int64, CPU), logProbs = empty([rows, 1], ScalarType.Float32, CPU);
        var from = (float*)Address(logits);
        var by = noise is null ? null : (float*)Address(noise);
        var (to, scores, scale) = ((nint)Address(ids), (nint)Address(logProbs), (float)(1 / temperature));
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
        var (sum, by, off) = (L.Of(0), L.Of(scale), L.Of(-largest * scale));
        for (var i = 0; i < classes; i += L.Count)
        {
            var share = Lanes<L, V>.Exp(L.MultiplyAdd(L.Load(shares.Address + i), by, off));
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
