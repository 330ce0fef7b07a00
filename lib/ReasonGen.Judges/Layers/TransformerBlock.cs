// Norm first (CLIP, ViT):  x += attention(LN(x));  x += cross(LN(x), context);  x += fc2(act(fc1(LN(x)))).
// Norm last (BERT):        x = LN(x + attention(x));  x = LN(x + cross(x, context));  x = LN(x + fc2(act(fc1(x)))).
// The middle step is there only in a block that looks at another sequence.
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Layers;

/// <summary>Sizes and kind of a block.</summary>
/// <param name="Width">Width of the sequence.</param>
/// <param name="Heads">Heads; they divide the width.</param>
/// <param name="MlpWidth">Width between the two linear layers.</param>
/// <param name="Activation">What lies between them.</param>
/// <param name="Epsilon">Of the norms.</param>
internal sealed record BlockConfig(int Width, int Heads, int MlpWidth, Activation Activation, double Epsilon)
{
    /// <summary>Norms follow the sums instead of preceding the layers.</summary>
    internal bool NormLast { get; init; }

    /// <summary>Width of the sequence that the block looks at besides its own; null for none.</summary>
    internal int? ContextWidth { get; init; }
}

/// <summary>Two linear layers with an activation between them.</summary>
internal sealed class Mlp : Module<Tensor, Tensor>
{
    private readonly Linear fc1, fc2;
    private readonly Activation activation;

    internal Mlp(int width, int inner, Activation activation, ComputeTarget target) : base(nameof(Mlp))
    {
        fc1 = Linear(width, inner, true, target.Device, target.DType);
        fc2 = Linear(inner, width, true, target.Device, target.DType);
        RegisterComponents();
        this.activation = activation;
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return fc2.forward(activation.Apply(fc1.forward(x))).MoveToOuterDisposeScope();
    }
}

/// <summary>One block of a transformer, as the head of this file describes it.</summary>
internal sealed class TransformerBlock : Module
{
    private readonly MultiHeadAttention attn, cross = null!;
    private readonly LayerNorm norm1, norm2, norm_cross = null!;
    private readonly Mlp mlp;
    private readonly bool normLast;

    internal TransformerBlock(BlockConfig config, ComputeTarget target) : base(nameof(TransformerBlock))
    {
        LayerNorm Norm() => LayerNorm(config.Width, config.Epsilon, device: target.Device, dtype: target.DType);
        attn = new(config.Width, config.Heads, target);
        (norm1, norm2) = (Norm(), Norm());
        mlp = new(config.Width, config.MlpWidth, config.Activation, target);
        if (config.ContextWidth is { } other)
        {
            (cross, norm_cross) = (new(config.Width, config.Heads, target, other), Norm());
        }

        RegisterComponents();
        normLast = config.NormLast;
    }

    /// <summary>What a block with cross-attention makes of what it looks at, [B, S, …]; kept, it serves every
    /// call.</summary>
    internal KeysValues Look(Tensor context) => cross.Look(context);

    /// <param name="x">[B, T, D].</param>
    /// <param name="mask">For the block's own sequence, as <see cref="MultiHeadAttention.Forward"/> takes it.</param>
    /// <param name="causal">A token sees itself and those before it.</param>
    /// <param name="context">What a block with cross-attention looks at: <see cref="Look"/>. Without it the block has
    /// none in this call.</param>
    /// <param name="contextMask">Its mask.</param>
    internal Tensor Forward(Tensor x, Tensor? mask = null, bool causal = false, KeysValues? context = null,
        Tensor? contextMask = null)
    {
        using var scope = NewDisposeScope();
        Tensor Step(Tensor y, LayerNorm norm, Func<Tensor, Tensor> layer) =>
            normLast ? norm.forward(layer(y).add_(y)) : layer(norm.forward(y)).add_(y);
        x = Step(x, norm1, y => attn.Forward(y, null, mask, causal));
        x = context is { } seen ? Step(x, norm_cross, y => cross.Forward(y, seen, contextMask)) : x;
        return Step(x, norm2, mlp.forward).MoveToOuterDisposeScope();
    }
}
