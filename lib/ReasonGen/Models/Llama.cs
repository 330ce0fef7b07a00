// The decoder of Janus-Pro's language model, after Llama (transformers' modeling_llama.py), and, with biased q, k, v,
// of Qwen2.5-VL's: token embedding, layers (LlamaLayer.cs), a last RMSNorm, text head. Shapes: B batch, T tokens, S
// cached + new tokens, D width.
using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Optimization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Models;

/// <summary>Token embedding, decoder layers and final norm.</summary>
internal sealed class LlamaModel : Module
{
    private readonly Embedding embed_tokens;
    private readonly ModuleList<LlamaLayer> layers;
    private readonly RmsNorm norm;
    private readonly LlamaConfig config;

    internal LlamaModel(LlamaConfig config, Device device, ScalarType type) : base("model")
    {
        config.Validate();
        embed_tokens = Table(config.VocabularySize, config.Width, device, type);
        layers = ModuleList(Enumerable.Range(0, config.Layers).Select(i => new LlamaLayer(config, i, device, type))
            .ToArray());
        norm = new RmsNorm(config.Width, config.RmsNormEpsilon, device, type);
        RegisterComponents();
        this.config = config;
    }

    /// <summary>Whether layers keep their input alone for the backward pass.</summary>
    internal bool CheckpointActivations { get; set; }

    internal Tensor Embed(Tensor ids) => embed_tokens.forward(ComputeTarget.Place(ids, embed_tokens.weight!));

    /// <summary>The embedding as a text head: […, D] → […, V].</summary>
    internal Tensor Unembed(Tensor hidden) => functional.linear(hidden, embed_tokens.weight!);

    // TorchSharp's layer draws its rows on the CPU in fp32 and keeps them, wherever it is to live: made with one row,
    // it gets its table afterwards.
    private static Embedding Table(int rows, int width, Device device, ScalarType type)
    {
        var table = Embedding(1, width, device: device, dtype: type);
        table.weight =
            (Parameter)new Parameter(init.normal_(empty(rows, width, type, device))).DetachFromDisposeScope();
        return table;
    }

    internal Tensor Forward(Tensor embeddings, Tensor? attentionMask, Tensor? positionIds, KvCache? cache)
    {
        using var scope = NewDisposeScope();
        long rows = embeddings.shape[0], tokens = embeddings.shape[1], cached = cache?.Length ?? 0;
        if (embeddings.shape is not [_, _, var width] || width != config.Width)
        {
            throw new ArgumentException(
                $"embeddings are [{string.Join(", ", embeddings.shape)}], not [B, T, {config.Width}]");
        }

        // [B, S] says which keys exist; [B, 1, T, S] says which key each query may see
        if (attentionMask is not null && !(attentionMask.shape[0] == rows
            && DeviceKernels.Covers(attentionMask, cached + tokens)))
        {
            throw new ArgumentException(
                $"the attention mask is "
                + $"[{string.Join(", ", attentionMask.shape)}], not [{rows}, {cached + tokens}] (cached and new "
                + $"tokens)");
        }

        using Scalar first = cached, next = cached + tokens;
        positionIds ??= arange(first, next, device: embeddings.device).unsqueeze(0);
        var (cos, sin) = Rotary.CosSin(Rotary.Angles(positionIds, config.HeadWidth, config.RopeTheta,
            config.RopeSections), embeddings.dtype);
        var mask = DeviceKernels.Additive(AttentionMask(attentionMask, tokens, cached, embeddings.device),
            embeddings.dtype);
        var causal = attentionMask is null && tokens > 1 && cached == 0;
        var pass = new PassContext(cos.unsqueeze(1), sin.unsqueeze(1), mask, causal, cache);
        var x = embeddings;
        foreach (var layer in layers)
        {
            var before = x;
            x = CheckpointActivations && cache is null ? Checkpointed(layer, x, pass) : layer.Forward(x, pass);
            if (!ReferenceEquals(before, embeddings))
            {
                before.Dispose(); // the graph, if there is one, keeps what it needs
            }
        }

        cache?.Advance((int)tokens);
        return norm.forward(x).MoveToOuterDisposeScope();
    }

    /// <summary>The pass over whole sequences in one kernel, with a graph or without; null where that is impossible or
    /// no faster.</summary>
    internal Tensor? Whole(Tensor embeddings, Tensor? attentionMask, Tensor? positionIds)
    {
        if (config.AttentionBias || config.RopeSections is not null || CheckpointActivations
            || !(positionIds is null || positionIds.shape is [var rows, var tokens]
                && (rows == 1 || rows == embeddings.shape[0]) && tokens == embeddings.shape[1])
            || layers.Any(layer => Array.Exists(layer.Linears, linear => linear.Adapter is not null)))
        {
            return null;
        }

        Tensor[] weights = [.. layers.SelectMany(layer => (Tensor[])[.. layer.Linears.Select(linear => linear.Weight),
            .. layer.Norms.Select(norm => norm.Weight)]), norm.Weight];
        if (!FusedTraining.CanHandle(Size, weights, embeddings, attentionMask))
        {
            return null;
        }

        using var scope = NewDisposeScope();
        positionIds ??= arange(Held.Of(embeddings.shape[1]), device: CPU).unsqueeze(0);
        var (cos, sin) = Rotary.CosSin(Rotary.Angles(positionIds, config.HeadWidth, config.RopeTheta, null),
            embeddings.dtype);
        return FusedTraining.Run(Size, weights, embeddings, attentionMask, cos, sin, FusedTraining.LanesFor(Size))
            .MoveToOuterDisposeScope();
    }

    /// <summary>The same pass in one kernel, with the weights of now; null where it is impossible or no
    /// faster.</summary>
    /// <param name="positions">Most tokens of a sequence.</param>
    /// <param name="lanes">Values of a vector; null for the processor's widest.</param>
    internal FusedDecoder? Fuse(int positions, int? lanes = null)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        lanes ??= FusedDecoder.LanesFor(config.HeadWidth);
        if (lanes == 0 || !FusedDecoder.Pays(layers.parameters()))
        {
            return null;
        }

        var at = arange(positions, device: CPU).unsqueeze(0);
        var angles = Rotary.Angles(at, config.HeadWidth, config.RopeTheta, null);
        return new(Size, layers.Select(layer => new LayerValues(
                [.. layer.Linears.Select(linear => linear.Values())],
                [.. layer.Norms.Select(norm => norm.Weight.Values<float>())])),
            norm.Weight.Values<float>(), angles.cos().Values<float>(), angles.sin().Values<float>(), lanes.Value);
    }

    private DecoderSize Size => new(config.Width, config.MlpWidth, config.Heads, config.KeyValueHeads, config.HeadWidth,
        (float)config.RmsNormEpsilon);

    private static Tensor Checkpointed(LlamaLayer layer, Tensor x, PassContext pass)
    {
        Tensor[] shared = pass.Mask is null ? [pass.Cos, pass.Sin] : [pass.Cos, pass.Sin, pass.Mask];
        // what the pass holds is gone when the backward pass comes
        var (causal, masked) = (pass.Causal, pass.Mask is not null);
        return ActivationCheckpoint.Run(t =>
            layer.Forward(t[0], new PassContext(t[1], t[2], masked ? t[3] : null, causal, null)), [x, .. shared]);
    }

    // Padding and causality together; a query that may see no key at all sees every key, so that no NaN arises on
    // padding.
    private static Tensor? AttentionMask(Tensor? attentionMask, long tokens, long cached, Device device)
    {
        if (attentionMask is null)
        {
            return tokens > 1 && cached > 0 ? CausalRows(tokens, cached, device) : null;
        }

        if (attentionMask.dim() == 4)
        {
            return attentionMask;
        }

        var visible = attentionMask.to(ScalarType.Bool).unsqueeze(1).unsqueeze(1); // [B, 1, 1, S]
        if (tokens > 1)
        {
            visible = visible.logical_and(CausalRows(tokens, cached, device)); // [B, 1, T, S]
        }

        return visible.logical_or(visible.any(-1, keepdim: true).logical_not());
    }

    private static Tensor CausalRows(long tokens, long cached, Device device) =>
        ones(tokens, cached + tokens, ScalarType.Bool, device).tril(cached).view(1, 1, tokens, cached + tokens);
}

/// <summary>The language model of Janus: decoder and text head, under the checkpoint's names.</summary>
public sealed class Llama : Module
{
    private readonly LlamaModel model;
    private readonly Linear lm_head;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and dtype of the weights.</param>
    public Llama(LlamaConfig config, ComputeTarget target) : base(nameof(Llama))
    {
        model = new LlamaModel(config, target.Device, target.DType);
        lm_head = new Linear(config.Width, config.VocabularySize, false, target.Device, target.DType);
        RegisterComponents();
        Config = config;
    }

    public LlamaConfig Config { get; }

    /// <summary>Whether layers keep their input alone for the backward pass, and are computed again there. Default
    /// false.</summary>
    public bool CheckpointActivations { get => model.CheckpointActivations; set =>
        model.CheckpointActivations = value; }

    /// <summary>[B, T] token ids → [B, T, D].</summary>
    public Tensor Embed(Tensor ids) => model.Embed(ids);

    /// <summary>[B, T, D] embeddings → [B, T, D] hidden states after the final norm, by the fastest way there is; see
    /// <see cref="IImageTextModel.Hidden"/>.</summary>
    public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
        KvCache? cache = null) =>
        (cache is not null ? cache.Hidden(embeddings, attentionMask, positionIds)
            : RowPieces.IsPart ? Whole(embeddings, attentionMask, positionIds) : null)
        ?? model.Forward(embeddings, attentionMask, positionIds, cache);

    /// <summary><see cref="Hidden"/> by the model's own operators.</summary>
    internal Tensor Pass(Tensor embeddings, Tensor? attentionMask, Tensor? positionIds, KvCache? cache) =>
        model.Forward(embeddings, attentionMask, positionIds, cache);

    /// <summary><see cref="Hidden"/> of whole sequences in one kernel, as the pieces of a training step take it; null
    /// where it cannot be. What the mask hides is 0.</summary>
    internal Tensor? Whole(Tensor embeddings, Tensor? attentionMask, Tensor? positionIds) =>
        model.Whole(embeddings, attentionMask, positionIds);

    /// <summary>A faster pass for a cache of so many tokens.</summary>
    internal FusedDecoder? Fuse(int positions, int? lanes = null) => model.Fuse(positions, lanes);

    /// <summary>[…, D] → […, V].</summary>
    public Tensor Logits(Tensor hidden) => lm_head.forward(hidden);
}
