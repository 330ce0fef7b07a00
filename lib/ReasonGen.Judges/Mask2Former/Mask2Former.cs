// Mask2Former (Cheng et al. 2022; mmdetection 2.28) with a Swin backbone: backbone → pixel decoder → transformer
// decoder, one image at a time.
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>The network: a prepared image → logits of classes and masks. It owns its weights.</summary>
public sealed class Mask2FormerModel : IDisposable
{
    private readonly Swin backbone;
    private readonly PixelDecoder pixelDecoder;
    private readonly MaskedDecoder decoder;

    /// <summary>A network whose weights hold whatever their memory held; <see cref="Mask2FormerFiles"/> fills
    /// them.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and dtype. The published scores are computed in fp32.</param>
    internal Mask2FormerModel(Mask2FormerConfig config, ComputeTarget target)
    {
        (Config, Target) = (config, target);
        Tensors = Mask2FormerNames.Shapes(config).ToDictionary(pair => pair.Name, pair =>
            empty(pair.Shape, target.DType, target.Device).DetachFromDisposeScope());
        var all = new Weights(Tensors);
        backbone = new(all.At("backbone"), config);
        pixelDecoder = new(all.At("panoptic_head.pixel_decoder"), config);
        decoder = new(all.At("panoptic_head"), config);
    }

    /// <summary>Sizes.</summary>
    public Mask2FormerConfig Config { get; }

    /// <summary>Device and dtype.</summary>
    public ComputeTarget Target { get; }

    /// <summary>All weights, under mmdetection's names.</summary>
    internal IReadOnlyDictionary<string, Tensor> Tensors { get; }

    /// <summary>Told of every step by name; for tests.</summary>
    internal Action<string, Tensor>? Trace
    {
        set => backbone.Trace = pixelDecoder.Trace = decoder.Trace = value;
    }

    /// <summary>Logits for one image.</summary>
    /// <param name="image">[1, 3, H, W], normalised; H and W multiples of 32.</param>
    /// <returns>Class logits [queries, classes + 1], the last for no object, and mask logits [queries, H/4,
    /// W/4].</returns>
    /// <exception cref="ArgumentException">The image has another shape.</exception>
    public (Tensor ClassLogits, Tensor MaskLogits) Forward(Tensor image)
    {
        if (image.shape is not [1, 3, var height, var width] || height % Mask2FormerConfig.SizeDivisor != 0
            || width % Mask2FormerConfig.SizeDivisor != 0)
        {
            throw new ArgumentException($"the image is [{string.Join(", ", image.shape)}] where "
                + "[1, 3, H, W] with multiples of 32 was expected", nameof(image));
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        var maps = backbone.Forward(image.to(Target.DType, Target.Device));
        var (memories, shapes, features) = pixelDecoder.Forward(maps);
        Array.ForEach(maps, map => map.Dispose());
        foreach (var (level, memory) in memories.Index())
        {
            decoder.Trace?.Invoke($"memory{level}", memory.view(shapes[level].Height, shapes[level].Width, -1));
        }

        decoder.Trace?.Invoke("mask_features", features);
        var (classes, masks) = decoder.Forward(memories, shapes, features);
        return (classes.MoveToOuterDisposeScope(), masks.MoveToOuterDisposeScope());
    }

    public void Dispose()
    {
        foreach (var tensor in Tensors.Values)
        {
            tensor.Dispose();
        }
    }
}
