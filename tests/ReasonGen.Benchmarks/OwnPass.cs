using ReasonGen.Kernels;
using ReasonGen.Models;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>A Janus that decodes with the model's own pass, operator by operator.</summary>
internal sealed class OwnPass(Janus model) : IImageTextModel
{
    public int VocabularySize => model.VocabularySize;

    public int CodebookSize => model.CodebookSize;

    public int Positions => model.Positions;

    public IEnumerable<(string Name, Parameter Parameter)> TrainableParameters() => model.TrainableParameters();

    public Tensor Embed(Tensor ids, Tensor? imageMask = null) => model.Embed(ids, imageMask);

    public Tensor EmbedImageCodes(Tensor codes) => model.EmbedImageCodes(codes);

    public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
        KvCache? cache = null) => model.Hidden(embeddings, attentionMask, positionIds, cache);

    public Tensor TextLogits(Tensor hidden) => model.TextLogits(hidden);

    public Tensor ImageLogits(Tensor hidden) => model.ImageLogits(hidden);

    public KvCache? NewCache(int rows, int tokens) => model.NewCache(rows, tokens).With(null);

    public Tensor DecodeImage(Tensor codes) => model.DecodeImage(codes);
}
