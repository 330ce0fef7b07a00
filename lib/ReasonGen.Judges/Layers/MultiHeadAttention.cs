// o = W_o · concat_h softmax(q_h k_hᵀ / √K + mask) v_h.  Queries, keys and values of one input are one product; of two
// inputs (cross-attention), keys and values are. A checkpoint that stores them apart is read into the rows of the fused
// weight, in the order query, key, value. Several rows may look at one context: their queries then are one sequence.
using ReasonGen.Core;
using ReasonGen.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Layers;

/// <summary>Keys and values of a sequence that others look at, each [B, H, S, K].</summary>
internal readonly record struct KeysValues(Tensor Keys, Tensor Values);

/// <summary>Attention of a sequence over itself, or over another one of its own width. B batch, T tokens, S tokens of
/// the other, D width.</summary>
internal sealed class MultiHeadAttention : Module
{
    private readonly Linear? qkv, q, kv;
    private readonly Linear proj;
    private readonly int heads;

    /// <param name="width">D, a multiple of <paramref name="heads"/>.</param>
    /// <param name="heads">Heads.</param>
    /// <param name="target">Device and type.</param>
    /// <param name="contextWidth">Width of what is attended to; null for the sequence itself.</param>
    internal MultiHeadAttention(int width, int heads, ComputeTarget target, int? contextWidth = null)
        : base(nameof(MultiHeadAttention))
    {
        if (contextWidth is { } other)
        {
            q = Linear(width, width, true, target.Device, target.DType);
            kv = Linear(other, 2 * width, true, target.Device, target.DType);
        }
        else
        {
            qkv = Linear(width, 3 * width, true, target.Device, target.DType);
        }

        proj = Linear(width, width, true, target.Device, target.DType);
        RegisterComponents();
        this.heads = heads;
    }

    /// <summary>Keys and values of a context [B, S, …], for any number of calls.</summary>
    internal KeysValues Look(Tensor context)
    {
        using var scope = NewDisposeScope();
        var parts = Heads(kv!.forward(context), 2);
        return new(parts[0].MoveToOuterDisposeScope(), parts[1].MoveToOuterDisposeScope());
    }

    /// <param name="x">[B, T, D].</param>
    /// <param name="context">Of this layer's <see cref="Look"/>, for 1/n of the rows: n rows after another look at the
    /// same. Null for x itself.</param>
    /// <param name="mask">Added to the scores, or true where one may look: broadcast to [B, heads, T, S].</param>
    /// <param name="causal">A token sees itself and those before it.</param>
    /// <returns>[B, T, D].</returns>
    internal Tensor Forward(Tensor x, KeysValues? context = null, Tensor? mask = null, bool causal = false)
    {
        using var scope = NewDisposeScope();
        long rows = x.shape[0], tokens = x.shape[1], width = x.shape[2];
        Tensor[] inputs = context is not { } other ? Heads(qkv!.forward(x), 3)
            : [Heads(q!.forward(x).view(other.Keys.shape[0], -1, width), 1)[0], other.Keys, other.Values];
        var mixed = mask is null && !causal && BlockAttention.CanHandle(inputs[0], inputs[1])
            ? BlockAttention.Attend(inputs[0], inputs[1], inputs[2])
            : functional.scaled_dot_product_attention(inputs[0], inputs[1], inputs[2], attn_mask: mask,
                is_casual: causal).transpose(1, 2);
        return proj.forward(mixed.reshape(rows, tokens, width)).MoveToOuterDisposeScope();
    }

    // parts of [B, H, T, K]
    private Tensor[] Heads(Tensor joined, int parts)
    {
        long rows = joined.shape[0], tokens = joined.shape[1], width = joined.shape[2] / parts;
        return [.. joined.view(rows, tokens, parts, heads, width / heads).permute(2, 0, 3, 1, 4).unbind(0)];
    }
}
