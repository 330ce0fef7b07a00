using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judges.Mask2Former;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.UniDet;

/// <summary>The network: resized images → boxes. It owns its weights.</summary>
internal sealed class UniDetModel : IDisposable
{
    private readonly ResNet backbone;
    private readonly CascadeHeads heads;

    /// <summary>A network whose weights hold whatever their memory held; <see cref="UniDetFiles"/> fills
    /// them.</summary>
    internal UniDetModel(UniDetConfig config, ComputeTarget target)
    {
        (Config, Target) = (config, target);
        Tensors = UniDetNames.Shapes(config).ToDictionary(pair => pair.Key, pair =>
            empty(pair.Value, target.DType, target.Device).DetachFromDisposeScope());
        var all = new Weights(Tensors);
        (backbone, heads) = (new(all.At("backbone"), config), new(all, config, target));
    }

    internal UniDetConfig Config { get; }

    internal ComputeTarget Target { get; }

    /// <summary>All weights, under detectron2's names.</summary>
    internal IReadOnlyDictionary<string, Tensor> Tensors { get; }

    /// <summary>Told of every step by name; for tests.</summary>
    internal Action<string, Tensor>? Trace
    {
        set => backbone.Trace = heads.Trace = value;
    }

    /// <summary>What stands in each image.</summary>
    /// <param name="images">Resized images. Those of one call share one batch: where their sizes differ, the padding is
    /// seen by RS200's attention, and results depend on the neighbours, as in the reference.</param>
    internal FoundBox[][] Detect(IReadOnlyList<RgbImage> images)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        using var prepared = UniDetImage.Batch(images, Config);
        var maps = backbone.Forward(prepared.to(Target.DType, Target.Device));
        return
        [
            .. images.Select((image, i) => heads.Detect([.. maps.Select(map => map.narrow(0, i, 1))],
                (image.Height, image.Width))
                .Where(found => found.Box.HasArea).ToArray()),
        ];
    }

    public void Dispose()
    {
        foreach (var tensor in Tensors.Values)
        {
            tensor.Dispose();
        }
    }
}
