using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Tokenizers;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace ReasonGen.Tests.Models;

/// <summary>The tiny Janus of the fixtures, and what its tests share.</summary>
internal static class JanusFixture
{
    internal static ComputeTarget Target => TestDevice.Target;

    /// <summary>The checkpoint in the original layout, perhaps with a configuration changed in what is no
    /// size.</summary>
    internal static Janus Load(Func<JanusConfig, JanusConfig>? change = null, ComputeTarget? target = null)
    {
        var loaded = JanusFiles.Load(Golden.Path("janus/checkpoint"), target ?? Target);
        if (change is null)
        {
            return loaded;
        }

        var changed = new Janus(change(loaded.Config), loaded.Target);
        changed.load_state_dict(loaded.state_dict());
        loaded.Dispose();
        return changed;
    }

    internal static SpecialTokens Special { get; } = Golden.Json("janus/made_with")["shape"]!["ids"] is { } ids
        ? new((int)ids["bos"]!, (int)ids["eos"]!, (int)ids["pad"]!, (int)ids["begin_of_image"]!,
            (int)ids["end_of_image"]!, (int)ids["image_placeholder"]!) : null!;

    /// <summary>Bytes → [-1, 1].</summary>
    internal static Tensor Floats(Tensor bytes) => bytes.to(ScalarType.Float32).div(127.5f).sub(1);

    /// <summary>[N, H, W, 3] bytes; one in a thousand may be off by one.</summary>
    internal static void SamePixels(Tensor expected, IReadOnlyList<RgbImage> actual, string what)
    {
        var bytes = expected.Values<byte>();
        var differences = bytes.Zip(actual.SelectMany(image => image.Rgb), (a, b) => Math.Abs(a - b)).ToArray();
        Assert.Equal(bytes.Length, actual.Sum(image => image.Rgb.Length));
        Assert.True(differences.Max() <= 1 && differences.Count(d => d > 0) <= Math.Max(1, bytes.Length / 1000),
            $"{what}: {differences.Count(d => d > 0)} of {bytes.Length} pixels differ");
    }
}

/// <summary>Passes everything on, and keeps the logits of both heads.</summary>
internal sealed class RecordingModel(IImageTextModel model) : IImageTextModel
{
    internal List<Tensor> Text { get; } = [];

    internal List<Tensor> Image { get; } = [];

    public int VocabularySize => model.VocabularySize;

    public int CodebookSize => model.CodebookSize;

    public IEnumerable<(string Name, Parameter Parameter)> TrainableParameters() => model.TrainableParameters();

    public Tensor Embed(Tensor ids, Tensor? imageMask = null) => model.Embed(ids, imageMask);

    public Tensor EmbedImageCodes(Tensor codes) => model.EmbedImageCodes(codes);

    public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
        KvCache? cache = null) =>
        model.Hidden(embeddings, attentionMask, positionIds, cache);

    public Tensor TextLogits(Tensor hidden) => Keep(model.TextLogits(hidden), Text);

    public Tensor ImageLogits(Tensor hidden) => Keep(model.ImageLogits(hidden), Image);

    public KvCache? NewCache(int rows, int tokens) => model.NewCache(rows, tokens);

    public Tensor DecodeImage(Tensor codes) => model.DecodeImage(codes);

    private static Tensor Keep(Tensor logits, List<Tensor> kept)
    {
        kept.Add(logits.detach().clone().DetachFromDisposeScope());
        return logits;
    }
}
