using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Text;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace ReasonGen.Tests.Models;

/// <summary>The tiny Janus of the fixtures, and what its tests share.</summary>
internal static class JanusFixture
{
    internal static ComputeTarget Cpu { get; } = new(CPU, ScalarType.Float32);

    internal static Janus Load(Func<JanusConfig, JanusConfig>? change = null, ComputeTarget? target = null)
    {
        var json = Golden.Json("janus/checkpoint/config");
        var (v, g, l) = (json["vision_config"]!["params"]!, json["gen_vision_config"]!["params"]!, json["language_config"]!);
        var config = new JanusConfig
        {
            Language = new() { VocabularySize = (int)l["vocab_size"]!, Width = (int)l["hidden_size"]!, MlpWidth = (int)l["intermediate_size"]!, Layers = (int)l["num_hidden_layers"]!, Heads = (int)l["num_attention_heads"]! },
            ImageTokenizer = new() { CodebookSize = (int)g["image_token_size"]!, CodeWidth = (int)g["n_embed"]!, Channels = (int)g["ch"]!, Multipliers = g["encoder_ch_mult"]!.ToObject<int[]>()!, ResidualBlocks = (int)g["num_res_blocks"]!, LatentChannels = (int)g["z_channels"]! },
            Vision = new() { ImageSize = (int)v["image_size"]!, PatchSize = (int)v["patch_size"]!, Width = (int)v["width"]!, Layers = (int)v["layers"]!, Heads = (int)v["heads"]!, MlpRatio = (int)v["mlp_ratio"]! },
            ImageTokens = (int)Golden.Json("janus/made_with")["shape"]!["tokens"]!,
        };
        var model = new Janus(change?.Invoke(config) ?? config, target ?? Cpu);
        var t = Golden.Tensors("janus_hf/model/model");
        var names = Golden.Json("janus_hf/names");
        using var free = no_grad();
        foreach (var (name, parameter) in model.named_parameters())
        {
            var parts = names[name]!.Select(n => t[(string)n!]).ToArray();
            if (parts.Length > 0) parameter.copy_(cat(parts).view(parameter.shape));
        }

        return model;
    }

    internal static SpecialTokens Special { get; } = Golden.Json("janus/made_with")["shape"]!["ids"] is { } ids
        ? new((int)ids["bos"]!, (int)ids["eos"]!, (int)ids["pad"]!, (int)ids["begin_of_image"]!, (int)ids["end_of_image"]!, (int)ids["image_placeholder"]!) : null!;

    /// <summary>Bytes → [-1, 1].</summary>
    internal static Tensor Floats(Tensor bytes) => bytes.to(ScalarType.Float32).div(127.5f).sub(1);

    /// <summary>[N, H, W, 3] bytes; one in a thousand may be off by one.</summary>
    internal static void SamePixels(Tensor expected, IReadOnlyList<Picture> actual, string what)
    {
        var bytes = expected.Values<byte>();
        var differences = bytes.Zip(actual.SelectMany(picture => picture.Rgb), (a, b) => Math.Abs(a - b)).ToArray();
        Assert.Equal(bytes.Length, actual.Sum(picture => picture.Rgb.Length));
        Assert.True(differences.Max() <= 1 && differences.Count(d => d > 0) <= Math.Max(1, bytes.Length / 1000), $"{what}: {differences.Count(d => d > 0)} of {bytes.Length} pixels differ");
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

    public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null, KvCache? cache = null) =>
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
