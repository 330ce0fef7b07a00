// BERT (Devlin et al. 2019), norms last, exact GELU, ε 1e-12:
//   x = LN(words + positions (+ the first token type));  blocks;  with cross-attention between a block's two layers
//     where it looks at another sequence.   Head: logits = W LN(GELU(dense x)) + b.
// Deviation: padding is masked by true and false instead of adding −10000 to its scores, which is the same in fp32.
using ReasonGen.Judges.Layers;
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Bert;

/// <summary>Sizes of a BERT.</summary>
/// <param name="Vocabulary">Token ids.</param>
/// <param name="Width">Width of a token.</param>
/// <param name="Layers">Blocks.</param>
/// <param name="Heads">Heads; they divide the width.</param>
/// <param name="MlpWidth">Width inside a block's feed-forward layer.</param>
/// <param name="Positions">Most tokens of a text.</param>
public sealed record BertConfig(int Vocabulary, int Width, int Layers, int Heads, int MlpWidth, int Positions)
{
    internal const double Epsilon = 1e-12;

    /// <summary>bert-base-uncased with the two tokens that BLIP adds.</summary>
    public static BertConfig Blip { get; } = new(30524, 768, 12, 12, 3072, 512);

    internal BlockConfig Block(int? contextWidth) =>
        new(Width, Heads, MlpWidth, Activation.Gelu, Epsilon) { NormLast = true, ContextWidth = contextWidth };

    /// <summary>What the model is, in a part of a line.</summary>
    public override string ToString() => $"{Layers} blocks of width {Width} and {Heads} heads, {Vocabulary} ids";

    internal string? Contradiction() => new[] { Vocabulary, Width, Layers, Heads, MlpWidth, Positions }.Any(size =>
        size < 1) ? "one of its sizes of text is 0"
        : Width % Heads != 0 ? $"{Heads} heads do not divide the width {Width} of its text" : null;
}

/// <summary>The blocks of a BERT with its embeddings.</summary>
internal sealed class BertStack : Module
{
    private readonly Parameter words, positions;
    private readonly Parameter? types;
    private readonly LayerNorm norm;
    private readonly ModuleList<TransformerBlock> blocks;

    /// <param name="config">Sizes.</param>
    /// <param name="contextWidth">Width of what it looks at; null for nothing.</param>
    /// <param name="hasTypes">It knows two types of tokens, and every token is of the first.</param>
    /// <param name="target">Device and type.</param>
    internal BertStack(BertConfig config, int? contextWidth, bool hasTypes, ComputeTarget target)
        : base(nameof(BertStack))
    {
        words = new Parameter(empty(config.Vocabulary, config.Width, target.DType, target.Device));
        positions = new Parameter(empty(config.Positions, config.Width, target.DType, target.Device));
        types = hasTypes ? new Parameter(empty(2, config.Width, target.DType, target.Device)) : null;
        norm = LayerNorm(config.Width, BertConfig.Epsilon, device: target.Device, dtype: target.DType);
        blocks = Blocks(config.Layers, config.Block(contextWidth), target);
        RegisterComponents();
    }

    internal static ModuleList<TransformerBlock> Blocks(int count, BlockConfig config, ComputeTarget target) =>
        ModuleList(Enumerable.Range(0, count).Select(_ => new TransformerBlock(config, target)).ToArray());

    /// <summary>What each block makes of what it looks at, [B, S, …].</summary>
    internal KeysValues[] Look(Tensor context) => LookBy(block => block.Look(context));

    /// <summary>The same, made otherwise from each block.</summary>
    internal KeysValues[] LookBy(Func<TransformerBlock, KeysValues> look) => [.. blocks.Select(look)];

    /// <param name="ids">[B, T].</param>
    /// <param name="mask">[B, 1, 1, T], true where a token counts; null where all do.</param>
    /// <param name="causal">A token sees itself and those before it.</param>
    /// <param name="context">Of <see cref="Look"/>, for 1/n of the rows.</param>
    /// <param name="contextMask">Its mask.</param>
    /// <param name="side">Name of the stack for <paramref name="observe"/>.</param>
    /// <param name="observe">Is shown every state.</param>
    /// <returns>[B, T, D].</returns>
    internal Tensor Forward(Tensor ids, Tensor? mask, bool causal, KeysValues[]? context, Tensor? contextMask,
        string side, Action<string, Tensor>? observe)
    {
        using var scope = NewDisposeScope();
        var x = words.index_select(0, ids.flatten()).view(ids.shape[0], ids.shape[1], -1);
        x = x.add_(positions.narrow(0, 0, ids.shape[1]));
        x = norm.forward(types is null ? x : x.add_(types[0]));
        observe?.Invoke($"{side}.embeddings", x);
        foreach (var (i, block) in blocks.Index())
        {
            var next = block.Forward(x, mask, causal, context?[i], contextMask);
            x.Dispose(); // one state at a time
            x = next;
            observe?.Invoke($"{side}.layer.{i}", x);
        }

        return x.MoveToOuterDisposeScope();
    }
}

/// <summary>States to logits over the vocabulary.</summary>
internal sealed class BertHead : Module<Tensor, Tensor>
{
    private readonly Linear dense;
    private readonly LayerNorm norm;
    private readonly Parameter weight, bias;

    internal BertHead(BertConfig config, ComputeTarget target) : base(nameof(BertHead))
    {
        dense = Linear(config.Width, config.Width, true, target.Device, target.DType);
        norm = LayerNorm(config.Width, BertConfig.Epsilon, device: target.Device, dtype: target.DType);
        weight = new Parameter(empty(config.Vocabulary, config.Width, target.DType, target.Device));
        bias = new Parameter(empty(config.Vocabulary, target.DType, target.Device));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return functional.linear(norm.forward(functional.gelu(dense.forward(x))), weight, bias)
            .MoveToOuterDisposeScope();
    }
}
