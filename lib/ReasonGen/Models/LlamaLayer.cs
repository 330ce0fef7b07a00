// A layer of the decoder, after Llama (transformers' modeling_llama.py):
//   h = x + Attention(RMSNorm(x));  y = h + down( silu(gate(n)) · up(n) ) with n = RMSNorm(h).
// Operators.cs computes norm, gate and attention; Rotary.cs the positions. Shapes: B batch, T tokens, S cached + new
// tokens, D width, H heads, K head width.
using ReasonGen.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Models;

/// <summary>RMSNorm with a learned weight and no bias.</summary>
internal sealed class RmsNorm : Module<Tensor, Tensor>
{
    private readonly Parameter weight;
    // made anew at each call, one may be collected while libtorch reads it
    private readonly Scalar widthScalar, epsilonScalar;

    internal RmsNorm(int width, double epsilon, Device device, ScalarType type) : base(nameof(RmsNorm))
    {
        weight = new Parameter(ones(width, type, device));
        RegisterComponents();
        (widthScalar, epsilonScalar) = (width, epsilon);
    }

    internal Tensor Weight => weight;

    public override Tensor forward(Tensor x) => Operators.RmsNorm(x, weight, widthScalar, epsilonScalar);
}

/// <summary>What all layers of one pass share: rotary angles, and which keys each query may see.</summary>
/// <param name="Cos">[B or 1, 1, T, K].</param>
/// <param name="Sin">[B or 1, 1, T, K], its first half negated, so that the rotation is two products and a sum.</param>
/// <param name="Mask">[B, 1, T, S] bool, true where a key may be seen; null when causality alone decides.</param>
/// <param name="Causal">Whether attention must hide later keys itself.</param>
internal readonly record struct PassContext(Tensor Cos, Tensor Sin, Tensor? Mask, bool Causal, KvCache? Cache);

internal sealed class LlamaAttention : Module
{
    private readonly Linear q_proj, k_proj, v_proj, o_proj;
    private readonly int headWidth, layer;

    internal LlamaAttention(LlamaConfig config, int layer, Device device, ScalarType type) : base("self_attn")
    {
        var keyValueWidth = config.KeyValueHeads * config.HeadWidth;
        q_proj = new Linear(config.Width, config.Width, config.AttentionBias, device, type);
        k_proj = new Linear(config.Width, keyValueWidth, config.AttentionBias, device, type);
        v_proj = new Linear(config.Width, keyValueWidth, config.AttentionBias, device, type);
        o_proj = new Linear(config.Width, config.Width, false, device, type);
        RegisterComponents();
        (headWidth, this.layer) = (config.HeadWidth, layer);
    }

    internal Tensor Forward(Tensor x, PassContext pass)
    {
        using var scope = NewDisposeScope();
        var projected = Linear.ForwardMany(x, pass.Cache?.Weights, q_proj, k_proj, v_proj);
        var mixed = Operators.Attention(projected, q_proj.Outputs / headWidth, headWidth, pass, layer); // [B, T, H K]
        return Linear.ForwardMany(mixed, pass.Cache?.Weights, o_proj)[0].MoveToOuterDisposeScope();
    }
}

internal sealed class LlamaMlp : Module
{
    private readonly Linear gate_proj, up_proj, down_proj;

    internal LlamaMlp(LlamaConfig config, Device device, ScalarType type) : base("mlp")
    {
        gate_proj = new Linear(config.Width, config.MlpWidth, false, device, type);
        up_proj = new Linear(config.Width, config.MlpWidth, false, device, type);
        down_proj = new Linear(config.MlpWidth, config.Width, false, device, type);
        RegisterComponents();
    }

    internal Tensor Forward(Tensor x, SamplingWeights? sampling)
    {
        using var scope = NewDisposeScope();
        var inner = Linear.ForwardMany(x, sampling, gate_proj, up_proj);
        return Linear.ForwardMany(Operators.SiluGate(inner), sampling, down_proj)[0].MoveToOuterDisposeScope();
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
        (Linears, Norms) = ([.. modules().OfType<Linear>()], [input_layernorm, post_attention_layernorm]);
    }

    /// <summary>Query, key, value, output, gate, up and down.</summary>
    internal Linear[] Linears { get; }

    /// <summary>Before attention and before the MLP.</summary>
    internal RmsNorm[] Norms { get; }

    internal Tensor Forward(Tensor x, PassContext pass)
    {
        using var scope = NewDisposeScope();
        var h = Operators.Add(x, self_attn.Forward(input_layernorm.forward(x), pass));
        var inner = mlp.Forward(post_attention_layernorm.forward(h), pass.Cache?.Weights);
        return Operators.Add(h, inner).MoveToOuterDisposeScope();
    }
}
