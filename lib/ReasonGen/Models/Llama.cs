// The decoder of Janus-Pro's language model, after Llama (transformers' modeling_llama.py), and, with biased q, k, v, of Qwen2.5-VL's:
//   h = x + Attention(RMSNorm(x));  y = h + down( silu(gate(n)) * up(n) ) with n = RMSNorm(h);  a last RMSNorm after all layers.
//   RMSNorm(x) = x / sqrt(mean(x²) + ε) in fp32, cast back, then times the weight.
//   RoPE: see Rotary.cs.
// Shapes: B batch, T tokens, S cached + new tokens, D width, H heads, K head width.
// Deviations: mean(x²) is taken from the vector norm, which is one pass over x instead of three and equal up to rounding.
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Models;

/// <summary>RMSNorm with a learned weight and no bias.</summary>
internal sealed class RmsNorm : Module<Tensor, Tensor>
{
    private readonly Parameter weight;
    private readonly double epsilon;
    private readonly int width;
    private readonly Scalar widthScalar, epsilonScalar; // made anew at each call, one may be collected while libtorch reads it

    internal RmsNorm(int width, double epsilon, Device device, ScalarType type) : base(nameof(RmsNorm))
    {
        weight = new Parameter(ones(width, type, device));
        RegisterComponents();
        (this.width, this.epsilon, widthScalar, epsilonScalar) = (width, epsilon, width, epsilon);
    }

    public override Tensor forward(Tensor x)
    {
        if (FewRows.Fit(x, width) && weight.dtype == ScalarType.BFloat16)
        {
            return FewRows.Norm(x, weight, epsilon);
        }

        using var scope = NewDisposeScope();
        var x32 = x.to(ScalarType.Float32);
        var norm = linalg.vector_norm(x32, 2, [-1], true); // [B, T, 1]
        var scale = norm.mul(norm).div(widthScalar).add(epsilonScalar).rsqrt();
        return x32.mul(scale).to(x.dtype).mul(weight).MoveToOuterDisposeScope();
    }
}

/// <summary>What all layers of one pass share: rotary angles, and which keys each query may see.</summary>
/// <param name="Cos">[B or 1, 1, T, K].</param>
/// <param name="Sin">[B or 1, 1, T, K], its first half negated, so that the rotation is two products and a sum.</param>
/// <param name="Mask">[B, 1, T, S] bool, true where a key may be seen; null when causality alone decides.</param>
/// <param name="Causal">Whether attention must hide later keys itself.</param>
internal readonly record struct PassContext(Tensor Cos, Tensor Sin, Tensor? Mask, bool Causal, KvCache? Cache);

internal sealed class LlamaAttention : Module
{
    private readonly Projection q_proj, k_proj, v_proj, o_proj;
    private readonly int heads, keyValueHeads, headWidth, layer;

    internal LlamaAttention(LlamaConfig config, int layer, Device device, ScalarType type) : base("self_attn")
    {
        var keyValueWidth = config.KeyValueHeads * config.HeadWidth;
        q_proj = new Projection(config.Width, config.Width, config.AttentionBias, device, type);
        k_proj = new Projection(config.Width, keyValueWidth, config.AttentionBias, device, type);
        v_proj = new Projection(config.Width, keyValueWidth, config.AttentionBias, device, type);
        o_proj = new Projection(config.Width, config.Width, false, device, type);
        RegisterComponents();
        (heads, keyValueHeads, headWidth, this.layer) = (config.Heads, config.KeyValueHeads, config.HeadWidth, layer);
    }

    internal Tensor Forward(Tensor x, PassContext pass)
    {
        using var scope = NewDisposeScope();
        var projected = Projection.Several(x, q_proj, k_proj, v_proj);
        var (q, k, v) = (projected[0], projected[1], projected[2]);
        var mixed = OneQuery.Fit(q, headWidth, pass, layer) ? OneQuery.Attend(q, k, v, headWidth, pass, layer) : Attend(q, k, v, pass);
        return o_proj.forward(mixed).MoveToOuterDisposeScope();
    }

    private Tensor Attend(Tensor q, Tensor k, Tensor v, PassContext pass) // [B, T, H K]
    {
        long rows = q.shape[0], tokens = q.shape[1];
        Tensor Heads(Tensor y) => y.view(rows, tokens, -1, headWidth).transpose(1, 2); // [B, H, T, K]
        (q, k, v) = (Rotary.Turn(Heads(q), pass.Cos, pass.Sin), Rotary.Turn(Heads(k), pass.Cos, pass.Sin), Heads(v));
        if (pass.Cache is not null)
        {
            (k, v) = pass.Cache.Extend(layer, k, v); // [B, H, S, K]
        }

        if (keyValueHeads != heads)
        {
            k = k.repeat_interleave(heads / keyValueHeads, 1);
            v = v.repeat_interleave(heads / keyValueHeads, 1);
        }

        return functional.scaled_dot_product_attention(q, k, v, pass.Mask, 0, pass.Causal).transpose(1, 2).reshape(rows, tokens, -1);
    }
}

internal sealed class LlamaMlp : Module
{
    private readonly Projection gate_proj, up_proj, down_proj;

    internal LlamaMlp(LlamaConfig config, Device device, ScalarType type) : base("mlp")
    {
        gate_proj = new Projection(config.Width, config.MlpWidth, false, device, type);
        up_proj = new Projection(config.Width, config.MlpWidth, false, device, type);
        down_proj = new Projection(config.MlpWidth, config.Width, false, device, type);
        RegisterComponents();
    }

    internal Tensor Forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var inner = Projection.Several(x, gate_proj, up_proj);
        var gated = FewRows.Fit(inner[0], down_proj.Inputs) ? FewRows.Gated(inner[0], inner[1]) : functional.silu(inner[0]).mul(inner[1]);
        return down_proj.forward(gated).MoveToOuterDisposeScope();
    }
}

internal sealed class LlamaLayer : Module
{
    private readonly LlamaAttention self_attn;
    private readonly LlamaMlp mlp;
    private readonly RmsNorm input_layernorm, post_attention_layernorm;

    internal LlamaLayer(LlamaConfig config, int layer, Device device, ScalarType type) : base("layer")
    {
        self_attn = new LlamaAttention(config, layer, device, type);
        mlp = new LlamaMlp(config, device, type);
        input_layernorm = new RmsNorm(config.Width, config.RmsNormEpsilon, device, type);
        post_attention_layernorm = new RmsNorm(config.Width, config.RmsNormEpsilon, device, type);
        RegisterComponents();
    }

    internal Tensor Forward(Tensor x, PassContext pass)
    {
        using var scope = NewDisposeScope();
        var h = x.add(self_attn.Forward(input_layernorm.forward(x), pass));
        return h.add(mlp.Forward(post_attention_layernorm.forward(h))).MoveToOuterDisposeScope();
    }
}

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
        layers = ModuleList(Enumerable.Range(0, config.Layers).Select(i => new LlamaLayer(config, i, device, type)).ToArray());
        norm = new RmsNorm(config.Width, config.RmsNormEpsilon, device, type);
        RegisterComponents();
        this.config = config;
    }

    /// <summary>Whether layers keep their input alone for the backward pass.</summary>
    internal bool CheckpointActivations { get; set; }

    internal Tensor Embed(Tensor ids) => embed_tokens.forward(ids);

    /// <summary>The embedding as a text head: […, D] → […, V].</summary>
    internal Tensor Unembed(Tensor hidden) => functional.linear(hidden, embed_tokens.weight!);

    // TorchSharp's layer draws its rows on the CPU in fp32 and keeps them, wherever it is to live: made with one row, it gets its table afterwards.
    private static Embedding Table(int rows, int width, Device device, ScalarType type)
    {
        var table = Embedding(1, width, device: device, dtype: type);
        table.weight = (Parameter)new Parameter(init.normal_(empty(rows, width, type, device))).DetachFromDisposeScope();
        return table;
    }

    internal Tensor Forward(Tensor embeddings, Tensor? attentionMask, Tensor? positionIds, KvCache? cache)
    {
        using var scope = NewDisposeScope();
        long rows = embeddings.shape[0], tokens = embeddings.shape[1], cached = cache?.Length ?? 0;
        if (embeddings.shape is not [_, _, var width] || width != config.Width)
        {
            throw new ArgumentException($"embeddings are [{string.Join(", ", embeddings.shape)}], not [B, T, {config.Width}]");
        }

        if (attentionMask is not null && (attentionMask.shape[0] != rows || attentionMask.shape[1] != cached + tokens))
        {
            throw new ArgumentException(
                $"the attention mask is [{string.Join(", ", attentionMask.shape)}], not [{rows}, {cached + tokens}] (cached and new tokens)");
        }

        using Scalar first = cached, next = cached + tokens;
        positionIds ??= arange(first, next, device: embeddings.device).unsqueeze(0);
        var (cos, sin) = Rotary.CosSin(Rotary.Angles(positionIds, config.HeadWidth, config.RopeTheta, config.RopeSections), embeddings.dtype);
        var pass = new PassContext(cos.unsqueeze(1), sin.unsqueeze(1), Visible(attentionMask, tokens, cached), attentionMask is null && tokens > 1 && cached == 0, cache);
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

    private static Tensor Checkpointed(LlamaLayer layer, Tensor x, PassContext pass)
    {
        Tensor[] shared = pass.Mask is null ? [pass.Cos, pass.Sin] : [pass.Cos, pass.Sin, pass.Mask];
        var (causal, masked) = (pass.Causal, pass.Mask is not null); // what the pass holds is gone when the backward pass comes
        return ActivationCheckpoint.Run(t => layer.Forward(t[0], new PassContext(t[1], t[2], masked ? t[3] : null, causal, null)), [x, .. shared]);
    }

    // Padding and causality together; a query that may see no key at all sees every key, so that no NaN arises on padding.
    private static Tensor? Visible(Tensor? attentionMask, long tokens, long cached)
    {
        if (attentionMask is null)
        {
            return tokens > 1 && cached > 0 ? CausalRows(tokens, cached, CPU) : null;
        }

        var visible = attentionMask.to(ScalarType.Bool).unsqueeze(1).unsqueeze(1); // [B, 1, 1, S]
        if (tokens > 1)
        {
            visible = visible.logical_and(CausalRows(tokens, cached, attentionMask.device)); // [B, 1, T, S]
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
    private readonly Projection lm_head;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and dtype of the weights.</param>
    public Llama(LlamaConfig config, ComputeTarget target) : base(nameof(Llama))
    {
        model = new LlamaModel(config, target.Device, target.DType);
        lm_head = new Projection(config.Width, config.VocabularySize, false, target.Device, target.DType);
        RegisterComponents();
        Config = config;
    }

    public LlamaConfig Config { get; }

    /// <summary>Whether layers keep their input alone for the backward pass, and are computed again there. Default false.</summary>
    public bool CheckpointActivations { get => model.CheckpointActivations; set => model.CheckpointActivations = value; }

    /// <summary>[B, T] token ids → [B, T, D].</summary>
    public Tensor Embed(Tensor ids) => model.Embed(ids);

    /// <summary>[B, T, D] embeddings → [B, T, D] hidden states after the final norm; see <see cref="IImageTextModel.Hidden"/>.</summary>
    public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null, KvCache? cache = null) =>
        model.Forward(embeddings, attentionMask, positionIds, cache);

    /// <summary>[…, D] → […, V].</summary>
    public Tensor Logits(Tensor hidden) => lm_head.forward(hidden);
}
