// VQ-16, the image tokenizer (deepseek-ai/Janus: vq_model.py). Encoder E, codebook e (K x 8, rows normalised at every
// use), decoder G:
//   ẑ = normalise(quant_conv(E(x)));  code = argmin_k |ẑ − ê_k|² (the first of equals);  x' =
//     G(post_quant_conv(ê_code)).
//   Training: vq = mean((ê − sg ẑ)²), commit = β mean((sg ê − ẑ)²); the gradient of ê passes straight through to ẑ.
//   With p = softmax(−d / 0.01), d the distances: entropy = ρ (mean of the entropies of p − entropy of the mean of p);
//     ρ is 0 as published.
// Deviations: 1. The 2x enlargement does not go through bfloat16; it only copies, so values agree. 2. Distances are
// fp32 whatever the weights are.
using ReasonGen.Core;
using ReasonGen.Optimization;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Models;

/// <summary>The codebook and the nearest-code rule.</summary>
internal sealed class VectorQuantizer : Module
{
    private readonly Embedding embedding;
    private readonly Tensor codebook_used;

    internal VectorQuantizer(VqConfig config, ComputeTarget target, int usedLength) : base("quantize")
    {
        embedding = Embedding(config.CodebookSize, config.CodeWidth, device: target.Device, dtype: target.DType);
        codebook_used = zeros(usedLength, ScalarType.Float32, target.Device);
        register_buffer(nameof(codebook_used), codebook_used);
        RegisterComponents();
    }

    internal Parameter Weight => embedding.weight!;

    /// <summary>[K, 8], rows of length one.</summary>
    internal Tensor Codebook() => functional.normalize(embedding.weight!.to(ScalarType.Float32), 2, -1, 1e-12);

    /// <summary>[N, 8] normalised latents → [N, K] squared distances.</summary>
    internal Tensor Distances(Tensor latents)
    {
        using var scope = NewDisposeScope();
        var codebook = Codebook();
        var squares = latents.square().sum([-1L], keepdim: true).add(codebook.square().sum([-1L]));
        return squares.sub(latents.matmul(codebook.t()).mul(Held.Of(2L))).MoveToOuterDisposeScope();
    }
}

/// <summary>Images to discrete image tokens and back.</summary>
public sealed class VqTokenizer : Module
{
    private readonly VqPath encoder, decoder;
    private readonly VectorQuantizer quantize;
    private readonly Conv2d quant_conv, post_quant_conv;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and dtype of the weights.</param>
    /// <param name="usedLength">Length of the checkpoint's buffer of recently used codes, which nothing reads.</param>
    public VqTokenizer(VqConfig config, ComputeTarget target, int usedLength = 65536) : base(nameof(VqTokenizer))
    {
        config.Validate();
        var layers = new VqLayers(config, target);
        encoder = new VqPath(layers, encodes: true);
        decoder = new VqPath(layers, encodes: false);
        quantize = new VectorQuantizer(config, target, usedLength);
        quant_conv = layers.Conv(config.LatentChannels, config.CodeWidth, 1);
        post_quant_conv = layers.Conv(config.CodeWidth, config.LatentChannels, 1);
        RegisterComponents();
        Config = config;
    }

    public VqConfig Config { get; }

    /// <summary>Where its weights live.</summary>
    public Device Device => CodebookWeight.device;

    internal Parameter CodebookWeight => quantize.Weight;

    /// <summary>Fresh weights from a seed, scaled to keep the variance of what they read.</summary>
    public void Initialize(long seed) => Initializer.Apply(named_parameters().Select(p => (p.name, p.parameter)), seed,
        (name, shape) =>
            name.StartsWith("quantize") ? 1
                : 1 / Math.Sqrt(shape.Skip(1).Aggregate(1L, (product, size) => product * size)));

    /// <summary>Images [B, 3, H, W] in [-1, 1] → latents [B, 8, h, w], not normalised.</summary>
    public Tensor Latent(Tensor images) => quant_conv.forward(encoder.forward(Place(images)));

    /// <summary>Images [B, 3, H, W] in [-1, 1] → codes [B, h·w], row by row.</summary>
    public Tensor Encode(Tensor images)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        return Nearest(Latent(images)).MoveToOuterDisposeScope();
    }

    /// <summary>Latents [B, 8, h, w] → the codes nearest to them, [B, h·w].</summary>
    public Tensor Nearest(Tensor latents)
    {
        using var scope = NewDisposeScope();
        return quantize.Distances(Normalised(latents)).argmin(1).view(latents.shape[0], -1).MoveToOuterDisposeScope();
    }

    /// <summary>Codes [B, h·w] → what stands for them in the codebook, rows of length one, [B, 8, h, w] fp32.</summary>
    public Tensor Lookup(Tensor codes, long height, long width)
    {
        using var scope = NewDisposeScope();
        var rows = quantize.Codebook().index_select(0, Place(codes).reshape(-1)); // [B·h·w, 8]
        return rows.view(-1, height, width, Config.CodeWidth).permute(0, 3, 1, 2).MoveToOuterDisposeScope();
    }

    /// <summary>Codes [B, h·w] of a square image → images [B, 3, H, W], nominally in [-1, 1].</summary>
    public Tensor Decode(Tensor codes)
    {
        var side = (long)Math.Sqrt(codes.shape[^1]);
        return side * side == codes.shape[^1] ? Decode(codes, side, side)
            : throw new ArgumentException($"{codes.shape[^1]} codes an image are no square; give height and width",
                nameof(codes));
    }

    /// <summary>Codes [B, h·w] → images [B, 3, H, W], nominally in [-1, 1].</summary>
    public Tensor Decode(Tensor codes, long height, long width)
    {
        using var scope = NewDisposeScope();
        return DecodeLatent(Lookup(codes, height, width)).MoveToOuterDisposeScope();
    }

    /// <summary>One training pass, in pieces of a few images where that is faster; see <see cref="RowPieces"/>.
    /// </summary>
    /// <returns>Reconstruction [B, 3, H, W] fp32, codes [B·h·w], normalised latents [B·h·w, 8], and codebook,
    /// commitment and entropy loss.</returns>
    internal (Tensor Reconstruction, Tensor Codes, Tensor Latents, Tensor CodebookLoss, Tensor CommitmentLoss,
        Tensor EntropyLoss) Reconstruct(Tensor images)
    {
        using var scope = NewDisposeScope();
        long count = images.shape[0], pixels = images.numel() / count;
        var both = RowPieces.Run(parameters(), (int)count, (start, some) => Through(images.narrow(0, start, some)));
        var reconstruction = both.narrow(1, 0, pixels).view(images.shape);
        var z = both.narrow(1, pixels, both.shape[1] - pixels).reshape(-1, Config.CodeWidth);
        var distances = quantize.Distances(Config.EntropyRatio == 0 ? z.detach() : z);
        var codes = distances.detach().argmin(1);
        var e = quantize.Codebook().index_select(0, codes);
        var codebookLoss = functional.mse_loss(e, z.detach());
        var commitment = functional.mse_loss(z, e.detach()).mul(Held.Of(Config.Commitment));
        var entropy =
            Config.EntropyRatio == 0 ? zeros([], device: z.device) : EntropyLoss(distances).mul(Config.EntropyRatio);
        scope.MoveToOuter([reconstruction, codes, z, codebookLoss, commitment, entropy]);
        return (reconstruction, codes, z, codebookLoss, commitment, entropy);
    }

    // [n, 3, H, W] → what the decoder makes of the nearest codes, and the normalised latents: [n, 3·H·W + h·w·8]
    private Tensor Through(Tensor images)
    {
        var latent = Latent(images);
        var z = Normalised(latent);
        var e = quantize.Codebook().index_select(0, quantize.Distances(z.detach()).argmin(1));
        var through = z.add(e.sub(z).detach()).view(latent.shape[0], latent.shape[2], latent.shape[3], Config.CodeWidth)
            .permute(0, 3, 1, 2);
        return cat([DecodeLatent(through).to(ScalarType.Float32).flatten(1), z.view(latent.shape[0], -1)], 1);
    }

    // small where each latent is sure of its code and all codes are used; the two 1e-5 are the reference's
    private static Tensor EntropyLoss(Tensor distances)
    {
        var affinity = distances.div(-0.01);
        var shares = functional.softmax(affinity, -1); // [N, K]
        var mean = shares.mean([0L]);
        return mean.mul(mean.add(1e-5).log()).sum()
            .sub(shares.mul(functional.log_softmax(affinity.add(1e-5), -1)).sum([-1L]).mean());
    }

    private Tensor DecodeLatent(Tensor latent) =>
        decoder.forward(post_quant_conv.forward(Place(latent.contiguous())));

    private Tensor Place(Tensor values) => ComputeTarget.Place(values, CodebookWeight);

    // [B, 8, h, w] → [B·h·w, 8], rows of length one
    private Tensor Normalised(Tensor latent) =>
        functional.normalize(latent.to(ScalarType.Float32).permute(0, 2, 3, 1).reshape(-1, Config.CodeWidth), 2, -1,
            1e-12);
}
