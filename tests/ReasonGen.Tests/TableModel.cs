using ReasonGen.Kernels;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace ReasonGen.Tests;

/// <summary>The model of the training fixtures: hidden[t] is a row of a table, logits are products with another;
/// nothing mixes positions.</summary>
internal sealed class TableModel : IImageTextModel, IDisposable
{
    private static readonly string[] Names = ["text_embed", "text_head", "img_embed", "img_head"];
    private readonly Dictionary<string, Parameter> weights;

    internal TableModel(IReadOnlyDictionary<string, Tensor> tensors, string prefix) =>
        weights = Names.ToDictionary(name => name, name => new Parameter(tensors[prefix + name].clone()));

    internal Parameter this[string name] => weights[name];

    /// <summary>Called before each pass.</summary>
    internal Action Passing { get; set; } = () => { };

    /// <summary>Called before the parameters are handed out: a trainer asks for them to clip their gradients.</summary>
    internal Action Listing { get; set; } = () => { };

    public int VocabularySize => (int)weights["text_head"].shape[0];

    public int CodebookSize => (int)weights["img_head"].shape[0];

    internal static IEnumerable<string> WeightNames => Names;

    public IEnumerable<(string Name, Parameter Parameter)> TrainableParameters()
    {
        Listing();
        return weights.Select(pair => (pair.Key, pair.Value));
    }

    public Tensor Embed(Tensor ids, Tensor? imageMask = null)
    {
        Passing();
        var flat = ids.reshape(-1);
        var text = weights["text_embed"].index_select(0, flat.clamp(0, VocabularySize - 1));
        if (imageMask is not null)
        {
            text = where(imageMask.to(ScalarType.Bool).reshape(-1, 1),
                weights["img_embed"].index_select(0, flat.clamp(0, CodebookSize - 1)), text);
        }

        return text.view(ids.shape[0], ids.shape[1], -1);
    }

    public Tensor EmbedImageCodes(Tensor codes) => Embed(codes, ones_like(codes));

    public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
        KvCache? cache = null) => embeddings;

    public Tensor TextLogits(Tensor hidden) => hidden.matmul(weights["text_head"].t());

    public Tensor ImageLogits(Tensor hidden) => hidden.matmul(weights["img_head"].t());

    public KvCache? NewCache(int rows, int tokens) => null;

    public Tensor DecodeImage(Tensor codes) => zeros(codes.shape[0], 3, 1, 1);

    public void Dispose()
    {
        foreach (var weight in weights.Values)
        {
            weight.Dispose();
        }
    }
}
