// A small decoder's forward pass and its gradients in one kernel, in fp32 on a CPU: what LlamaLayer computes,
//   h = x + W_o Attention(RMSNorm(x));  y = h + W_down( silu(W_gate n) · (W_up n) ) with n = RMSNorm(h),
// for whole rows, a few at a time, on the thread that asks, and backwards from what the forward pass kept. libtorch's
// operators spend half of such a model's time on passes over memory between the products. Padding is left out: a token
// that the mask hides gets zeros and gives no gradient, and no other token sees it.
// Everything lies in panels (Panels.cs). FusedDecoder.cs is the same model where tokens come one by one.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ReasonGen.Core;
using ReasonGen.Optimization;
using TorchSharp;
using static ReasonGen.Kernels.Bf16Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>One pass over a batch, and its gradients.</summary>
internal static class FusedTraining
{
    /// <summary>Weights of a layer: query, key, value, output, gate, up, down, and the norms before attention and
    /// before the MLP.</summary>
    internal const int WeightsOfLayer = 9;

    private const int FewestTokens = 256; // for fewer, packing the weights takes too long beside the pass
    private const long MostWeights = 1 << 21; // which each pass packs twice

    /// <summary>Whether a decoder without biases and a pass over such tokens are of the kind that this computes.
    /// </summary>
    /// <param name="size">Of the decoder.</param>
    /// <param name="weights">All of them.</param>
    /// <param name="x">[B, T, D].</param>
    /// <param name="mask">[B, T], or null.</param>
    internal static bool CanHandle(DecoderSize size, IReadOnlyList<Tensor> weights, Tensor x, Tensor? mask) =>
        x is { dtype: ScalarType.Float32, device_type: DeviceType.CPU, shape: [var rows, var tokens, var width] }
        && width == size.Width && rows * tokens >= FewestTokens
        && (mask is null || mask.shape is [var masks, var columns] && masks == rows && columns == tokens)
        && LanesFor(size) > 0 && FusedDecoder.Pays(weights, MostWeights);

    /// <summary>Values of the widest vector that this processor has and the sizes are made of; 0 where there is
    /// none.</summary>
    internal static int LanesFor(DecoderSize size) => Lanes.Widest(lanes => Fits(size, lanes));

    /// <summary>Whether heads are whole vectors of so many lanes, and every matrix is whole panels of two.</summary>
    internal static bool Fits(DecoderSize size, int lanes) => size.HeadWidth % lanes == 0 && new[]
    {
        size.Width, size.MlpWidth, size.Width + 2 * size.KeyValueHeads * size.HeadWidth,
    }.All(width => width % (2 * lanes) == 0);

    /// <summary>Hidden states after the last norm; where a graph is recorded, with one that can be gone through
    /// once.</summary>
    /// <param name="size">Of the decoder.</param>
    /// <param name="weights"><see cref="WeightsOfLayer"/> of each layer in order, and the last norm.</param>
    /// <param name="x">[B, T, D] embeddings.</param>
    /// <param name="mask">[B, T], not 0 where a token counts; null where all do.</param>
    /// <param name="cos">[B or 1, T, K].</param>
    /// <param name="sin">As <paramref name="cos"/>, its first half negated.</param>
    /// <param name="lanes">What <see cref="LanesFor"/> gives, or another number that <see cref="Fits"/>.</param>
    /// <returns>[B, T, D].</returns>
    internal static Tensor Run(DecoderSize size, Tensor[] weights, Tensor x, Tensor? mask, Tensor cos, Tensor sin,
        int lanes)
    {
        using var scope = NewDisposeScope();
        var tokens = new FusedTokens(x, mask, cos, sin);
        IFusedPass pass = lanes switch
        {
            16 => new FusedPass<Lanes16, Vector512<float>>(size, weights, tokens),
            8 => new FusedPass<Lanes8, Vector256<float>>(size, weights, tokens),
            _ => new FusedPass<Lanes4, Vector128<float>>(size, weights, tokens),
        };
        var recorded = is_grad_enabled() && (x.requires_grad || Array.Exists(weights, weight => weight.requires_grad));
        return (recorded ? Recorded.apply([pass, x, .. weights]) : pass.Forward(x, false)).MoveToOuterDisposeScope();
    }

    private sealed class Recorded : autograd.SingleTensorFunction<Recorded>
    {
        public override string Name => nameof(FusedTraining);

        public override Tensor forward(autograd.AutogradContext context, params object[] arguments)
        {
            context.save_data("pass", arguments[0]);
            context.save_data("wanted", arguments.Select(one => one is Tensor { requires_grad: true } input
                ? input.shape : null).ToArray());
            return ((IFusedPass)arguments[0]).Forward((Tensor)arguments[1], true);
        }

        public override List<Tensor> backward(autograd.AutogradContext context, Tensor gradient)
        {
            List<Tensor> answer = [];
            try
            {
            }
            finally // nothing is broken off in here: libtorch waits for an answer
            {
                answer = Gradients(context, gradient);
            }

            return answer;
        }

        private static List<Tensor> Gradients(autograd.AutogradContext context, Tensor gradient)
        {
            var wanted = (long[]?[])context.get_data("wanted");
            try
            {
                using var free = no_grad();
                Tensor[] all = ((IFusedPass)context.get_data("pass")).Backward(gradient);
                gradient.Dispose();
                return [null!, .. ActivationCheckpoint.HandOut(
                    [.. all.Select((one, i) => wanted[i + 1] is null ? null : one)])];
            }
            catch (Exception e)
            {
                return ActivationCheckpoint.Failed(e, wanted, DeviceType.CPU);
            }
        }
    }
}

/// <summary>A pass with its vectors' width.</summary>
internal interface IFusedPass
{
    /// <summary>[B, T, D] → [B, T, D].</summary>
    /// <param name="x">Embeddings.</param>
    /// <param name="keep">Whether <see cref="Backward"/> will follow, which needs what is computed on the way.</param>
    Tensor Forward(Tensor x, bool keep);

    /// <summary>Gradients of the embeddings and of each weight, given that of the hidden states. Once.</summary>
    Tensor[] Backward(Tensor gradient);
}

/// <summary>Which tokens of a batch count, and the angles of their positions.</summary>
internal sealed unsafe class FusedTokens
{
    private const int Together = 320; // tokens of a block, unless a row is longer

    private readonly float[] cos, sin;
    private readonly int angleRows;

    internal FusedTokens(Tensor x, Tensor? mask, Tensor cos, Tensor sin)
    {
        (Columns, angleRows) = ((int)x.shape[1], (int)cos.shape[0]);
        (this.cos, this.sin) = (cos.Values<float>(), sin.Values<float>());
        bool[]? seen = mask?.to(ScalarType.Bool).Values<bool>();
        for (var row = 0; row < (int)x.shape[0]; row++)
        {
            int[] places = [.. Enumerable.Range(row * Columns, Columns).Where(at => seen is null || seen[at])];
            if (places.Length == 0)
            {
                continue;
            }

            if (Blocks.Count == 0 || Blocks[^1].Sum(one => one.Length) + places.Length > Together)
            {
                Blocks.Add([]);
            }

            Blocks[^1].Add(places);
        }
    }

    internal int Columns { get; }

    /// <summary>Blocks of rows, of each its tokens that count, by their place in [B, T].</summary>
    internal List<List<int[]>> Blocks { get; } = [];

    /// <summary>Copies a token's cos and sin, K/2 of each.</summary>
    internal void Angles(int place, float* to, int half)
    {
        var at = (angleRows == 1 ? place % Columns : place) * 2 * half;
        cos.AsSpan(at, half).CopyTo(new(to, half));
        sin.AsSpan(at + half, half).CopyTo(new(to + half, half));
    }
}
