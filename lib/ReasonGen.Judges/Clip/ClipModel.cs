// CLIP (Radford et al. 2021; openai/CLIP model.py, open_clip model.py).
//   image:  x = [class; patches] + positions;  LN;  blocks;  e = LN(x₀) W.
//   text:   x = tokens + positions;  causal blocks;  e = LN(x at the end token) W.   LayerNorm ε is 1e-5, patches
//   have no bias.
// The end token is the first of the largest id, which in every published vocabulary is the first end token.
// Deviation: a batch of texts is cut to its longest. What follows an end token is read by nothing before it.
using ReasonGen.Judges.Layers;
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Clip;

/// <summary>Images and texts to vectors of one space. E is the width of an embedding, D that of a tower.</summary>
public sealed class ClipModel : Module
{
    private readonly ClipVisionTower vision;
    private readonly ClipTextTower text;
    private readonly Parameter logit_scale;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and type of the weights, which are undefined until they are loaded.</param>
    public ClipModel(ClipConfig config, ComputeTarget target) : base(nameof(ClipModel))
    {
        vision = new(config.Vision, config.Embedding, config.Activation, target);
        text = new(config.Text, config.Embedding, config.Activation, target);
        logit_scale = new Parameter(empty([], target.DType, target.Device));
        RegisterComponents();
        eval();
        Config = config;
    }

    /// <summary>Sizes.</summary>
    public ClipConfig Config { get; }

    /// <summary>exp of the trained temperature, about 100 in published models.</summary>
    public double LogitScale
    {
        get
        {
            using var scope = NewDisposeScope();
            return Math.Exp(logit_scale.detach().to(ScalarType.Float64).cpu().ToDouble());
        }
    }

    internal Device Device => logit_scale.device;

    /// <summary>Prepared images [B, 3, S, S] → [B, E], fp32, not normalised.</summary>
    /// <exception cref="ArgumentException">The images have another size.</exception>
    public Tensor EncodeImages(Tensor pixels) => EncodeImages(pixels, null);

    /// <summary>Token ids [B, T], T at most the context, padded behind the end token → [B, E], fp32, not
    /// normalised.</summary>
    /// <exception cref="ArgumentException">A text is longer than the context, or an id is not of the
    /// vocabulary.</exception>
    public Tensor EncodeTexts(Tensor ids) => EncodeTexts(ids, null);

    internal Tensor EncodeImages(Tensor pixels, Action<string, Tensor>? observe)
    {
        if (pixels.dim() != 4 || !pixels.shape[1..].SequenceEqual([3L, Config.Vision.ImageSize,
            Config.Vision.ImageSize]))
        {
            throw new ArgumentException(
                $"images are [{string.Join(", ", pixels.shape)}], not [B, "
                + $"3, {Config.Vision.ImageSize}, {Config.Vision.ImageSize}]", nameof(pixels));
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        return vision.Forward(pixels.to(Device), observe).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    internal Tensor EncodeTexts(Tensor ids, Action<string, Tensor>? observe)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        if (ids.dim() != 2 || ids.shape[1] > Config.Text.Context || ids.shape[1] < 1)
        {
            throw new ArgumentException(
                $"token ids are [{string.Join(", ", ids.shape)}], not [B, 1 to {Config.Text.Context}]", nameof(ids));
        }

        var values = ids.to(ScalarType.Int64);
        if (values.numel() > 0 && (values.min().ToInt64() < 0 || values.max().ToInt64() >= Config.Text.Vocabulary))
        {
            throw new ArgumentException($"a token id lies outside the vocabulary of {Config.Text.Vocabulary}",
                nameof(ids));
        }

        return text.Forward(values.to(Device), FirstLargest(values), observe).to(ScalarType.Float32)
            .MoveToOuterDisposeScope();
    }

    private static Tensor FirstLargest(Tensor ids)
    {
        var (rows, width, flat) = ((int)ids.shape[0], (int)ids.shape[1], ids.Values<long>());
        return tensor(Enumerable.Range(0, rows).Select(row => (long)flat.AsSpan(row * width, width)
            .IndexOf(flat.AsSpan(row * width, width).ToArray().Max()))
            .ToArray(), device: CPU);
    }
}

internal sealed class ClipVisionTower : Module
{
    private readonly Parameter class_embedding, positions;
    private readonly Parameter? projection;
    private readonly PatchEmbedding patches;
    private readonly LayerNorm norm_pre, norm_post;
    private readonly ModuleList<TransformerBlock> blocks;

    /// <param name="config">Sizes.</param>
    /// <param name="embedding">Width that the class token is projected to; null gives all tokens, [B, 1 + patches,
    /// D].</param>
    /// <param name="activation">Between the two layers of a block.</param>
    /// <param name="target">Device and type.</param>
    internal ClipVisionTower(ClipVisionConfig config, int? embedding, Activation activation, ComputeTarget target)
        : base(nameof(ClipVisionTower))
    {
        class_embedding = new Parameter(empty(config.Width, target.DType, target.Device));
        positions = new Parameter(empty(config.Patches + 1, config.Width, target.DType, target.Device));
        patches = new(config.PatchSize, config.Width, hasBias: false, target);
        norm_pre = LayerNorm(config.Width, ClipBlocks.Epsilon, device: target.Device, dtype: target.DType);
        norm_post = LayerNorm(config.Width, ClipBlocks.Epsilon, device: target.Device, dtype: target.DType);
        blocks = ClipBlocks.Make(config.Layers, new(config.Width, config.Heads, config.MlpWidth, activation,
            ClipBlocks.Epsilon), target);
        projection = embedding is { } width ? new Parameter(empty(config.Width, width, target.DType, target.Device))
            : null;
        RegisterComponents();
    }

    internal Tensor Forward(Tensor pixels, Action<string, Tensor>? observe)
    {
        using var scope = NewDisposeScope();
        var x = patches.forward(pixels);
        observe?.Invoke("vision.patches", x);
        // [B, 1 + patches, D]
        x = cat([class_embedding.view(1, 1, -1).expand(x.shape[0], 1, -1), x], 1).add_(positions);
        observe?.Invoke("vision.embeddings", x);
        x = norm_pre.forward(x);
        observe?.Invoke("vision.ln_pre", x);
        x = ClipBlocks.Run(blocks, x, causal: false, "vision", observe);
        x = norm_post.forward(projection is null ? x : x.select(1, 0)); // [B, D] of the class token alone
        observe?.Invoke("vision.ln_post", x);
        return (projection is null ? x : x.matmul(projection)).MoveToOuterDisposeScope();
    }
}

internal sealed class ClipTextTower : Module
{
    private readonly Parameter tokens, positions, projection;
    private readonly LayerNorm norm_final;
    private readonly ModuleList<TransformerBlock> blocks;

    internal ClipTextTower(ClipTextConfig config, int embedding, Activation activation, ComputeTarget target)
        : base(nameof(ClipTextTower))
    {
        tokens = new Parameter(empty(config.Vocabulary, config.Width, target.DType, target.Device));
        positions = new Parameter(empty(config.Context, config.Width, target.DType, target.Device));
        norm_final = LayerNorm(config.Width, ClipBlocks.Epsilon, device: target.Device, dtype: target.DType);
        blocks = ClipBlocks.Make(config.Layers, new(config.Width, config.Heads, config.MlpWidth, activation,
            ClipBlocks.Epsilon), target);
        projection = new Parameter(empty(config.Width, embedding, target.DType, target.Device));
        RegisterComponents();
    }

    /// <param name="ids">[B, T].</param>
    /// <param name="ends">[B], the place of each text's end token.</param>
    internal Tensor Forward(Tensor ids, Tensor ends, Action<string, Tensor>? observe)
    {
        using var scope = NewDisposeScope();
        var x = tokens.index_select(0, ids.flatten()).view(ids.shape[0], ids.shape[1], -1); // [B, T, D]
        x = x.add_(positions.narrow(0, 0, ids.shape[1]));
        observe?.Invoke("text.embeddings", x);
        x = ClipBlocks.Run(blocks, x, causal: true, "text", observe);
        observe?.Invoke("text.ln_final", norm_final.forward(x));
        x = norm_final.forward(x[arange(x.shape[0], device: x.device), ends.to(x.device)]); // [B, D]
        return x.matmul(projection).MoveToOuterDisposeScope();
    }
}

internal static class ClipBlocks
{
    internal const double Epsilon = 1e-5;

    internal static ModuleList<TransformerBlock> Make(int count, BlockConfig config, ComputeTarget target) =>
        ModuleList(Enumerable.Range(0, count).Select(_ => new TransformerBlock(config, target)).ToArray());

    internal static Tensor Run(ModuleList<TransformerBlock> blocks, Tensor x, bool causal, string side, Action<string,
        Tensor>? observe)
    {
        var first = x;
        foreach (var (i, block) in blocks.Index())
        {
            var next = block.Forward(x, causal: causal);
            if (x.Handle != first.Handle)
            {
                x.Dispose(); // one state at a time
            }

            x = next;
            observe?.Invoke($"{side}.block.{i}", x);
        }

        return x;
    }
}
