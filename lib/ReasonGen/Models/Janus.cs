// Janus-Pro (deepseek-ai/Janus: modeling_vlm.py): one decoder, two vocabularies.
//   text token  t: h ← language_model(embed_tokens[t]),          next text token  ~ softmax(lm_head(h))
//   image token c: h ← language_model(gen_aligner(gen_embed[c])), next image token ~ softmax(gen_head(h))
// Deviation: the understanding path is built when the config asks for it, so that the miniature does without.
using ReasonGen.Core;
using ReasonGen.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Models;

/// <summary>Linear, GELU, Linear: what maps image codes or image features to the decoder's width.</summary>
internal sealed class Aligner : Module<Tensor, Tensor>
{
    private readonly ModuleList<Module<Tensor, Tensor>> layers;

    internal Aligner(int from, int to, ComputeTarget target) : base("aligner")
    {
        layers = ModuleList<Module<Tensor, Tensor>>(
            new Linear(from, to, true, target.Device, target.DType), GELU(),
            new Linear(to, to, true, target.Device, target.DType));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return layers.Aggregate(x, (y, layer) => layer.forward(y)).MoveToOuterDisposeScope();
    }
}

internal sealed class ImageHead : Module<Tensor, Tensor>
{
    private readonly Linear output_mlp_projector, vision_head;

    internal ImageHead(int width, int codes, ComputeTarget target) : base("gen_head")
    {
        output_mlp_projector = new Linear(width, width, true, target.Device, target.DType);
        vision_head = new Linear(width, codes, true, target.Device, target.DType);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return vision_head.forward(functional.gelu(output_mlp_projector.forward(x))).MoveToOuterDisposeScope();
    }
}

/// <summary>Janus: reads text and images, writes text and draws images.</summary>
public sealed class Janus : Module, IImageTextModel
{
    private readonly SigLip? vision_model;
    private readonly Aligner? aligner;
    private readonly VqTokenizer gen_vision_model;
    private readonly Aligner gen_aligner;
    private readonly ImageHead gen_head;
    private readonly Embedding gen_embed;
    private readonly Llama language_model;

    /// <summary>Builds the model; weights are those of the modules' own initialisers until loaded or
    /// <see cref="Initialize"/>d.</summary>
    /// <exception cref="ArgumentException">A size of the configuration is out of range.</exception>
    public Janus(JanusConfig config, ComputeTarget target) : base(nameof(Janus))
    {
        config.Validate();
        var width = config.Language.Width;
        vision_model = config.Vision is null ? null : new SigLip(config.Vision, target);
        aligner = config.Vision is null ? null : new Aligner(config.Vision.Width, width, target);
        gen_vision_model = new VqTokenizer(config.ImageTokenizer, target, config.ImageTokenizer.UsedCodes);
        gen_aligner = new Aligner(config.ImageTokenizer.CodeWidth, width, target);
        gen_head = new ImageHead(width, config.ImageTokenizer.CodebookSize, target);
        gen_embed = Embedding(config.ImageTokenizer.CodebookSize, config.ImageTokenizer.CodeWidth,
            device: target.Device, dtype: target.DType);
        language_model = new Llama(config.Language, target);
        RegisterComponents();
        (Config, Target) = (config, target);
    }

    public JanusConfig Config { get; }

    public ComputeTarget Target { get; internal set; }

    public Device Device => Target.Device;

    /// <summary>Whether decoder layers keep their input alone for the backward pass, and are computed again there.
    /// Default false.</summary>
    public bool CheckpointActivations { get => language_model.CheckpointActivations; set =>
        language_model.CheckpointActivations = value; }

    public int VocabularySize => Config.Language.VocabularySize;

    public int Positions => Config.Language.Positions;

    public int CodebookSize => Config.ImageTokenizer.CodebookSize;

    /// <summary>The frozen image tokenizer.</summary>
    public VqTokenizer ImageTokenizer => gen_vision_model;

    /// <summary>Language model, image-token embedding, its aligner and both heads; the tokenizer and the understanding
    /// path stay frozen.</summary>
    public IEnumerable<(string Name, Parameter Parameter)> TrainableParameters() => named_parameters()
        .Where(p =>
            p.name.StartsWith("language_model.") || p.name.StartsWith("gen_aligner.") || p.name.StartsWith("gen_head.")
                || p.name.StartsWith("gen_embed."))
        .Select(p => (p.name, p.parameter));

    public Tensor Embed(Tensor ids, Tensor? imageMask = null)
    {
        using var scope = NewDisposeScope();
        if (imageMask is null)
        {
            return language_model.Embed(ids).MoveToOuterDisposeScope();
        }

        // Each table is asked only for ids it has: text positions ask the image table for code 0, and the other way
        // round.
        (ids, var image) = (ids.to(Device), imageMask.to(ScalarType.Bool, Device));
        var text = language_model.Embed(ids.masked_fill(image, Held.Of(0L)));
        return where(image.unsqueeze(-1), EmbedImageCodes(ids.masked_fill(image.logical_not(), Held.Of(0L))), text)
            .MoveToOuterDisposeScope();
    }

    /// <summary>Input embeddings of a text with images in it: each place of the mask takes the next feature of the
    /// images.</summary>
    /// <param name="ids">[B, T] int64; ids below 0 count as 0.</param>
    /// <param name="images">[N, 3, S, S], the images in the order of rows and places; prepared as ImageProcessor
    /// does.</param>
    /// <param name="imageMask">[B, T], N times as many places as an image has patches.</param>
    /// <returns>[B, T, D].</returns>
    public Tensor Embed(Tensor ids, Tensor images, Tensor imageMask)
    {
        using var scope = NewDisposeScope();
        long places = imageMask.sum().item<long>(), patches = Config.Vision?.Patches ?? 0;
        if (places != images.shape[0] * patches)
        {
            throw new ArgumentException(
                $"the text has {places} places for image features; {images.shape[0]} images of {patches} patches need "
                + $"{images.shape[0] * patches}", nameof(imageMask));
        }

        var text = language_model.Embed(ids.clamp_min(0));
        text = places == 0 ? text
            : text.masked_scatter(imageMask.to(ScalarType.Bool, Device).unsqueeze(-1).expand_as(text),
                EmbedImages(images));
        return text.MoveToOuterDisposeScope();
    }

    /// <summary>[B, I] image codes → [B, I, D].</summary>
    public Tensor EmbedImageCodes(Tensor codes) => gen_aligner.forward(gen_embed.forward(codes.to(Device)));

    public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
        KvCache? cache = null) =>
        language_model.Hidden(embeddings, attentionMask, positionIds, cache);

    public Tensor TextLogits(Tensor hidden) => language_model.Logits(hidden);

    public Tensor ImageLogits(Tensor hidden) => gen_head.forward(hidden);

    public KvCache NewCache(int rows, int tokens) => new KvCache(Config.Language.Layers, rows,
        Config.Language.KeyValueHeads, tokens, Config.Language.HeadWidth, Target.Device, Target.DType)
        .With(language_model.Fuse(tokens), language_model.Pass);

    public Tensor DecodeImage(Tensor codes)
    {
        using var free = no_grad();
        return gen_vision_model.Decode(codes);
    }

    /// <summary>Image features in the decoder's width: [B, 3, S, S] → [B, patches, D].</summary>
    /// <exception cref="InvalidOperationException">The configuration leaves the understanding path out.</exception>
    public Tensor EmbedImages(Tensor images) =>
        vision_model is not null && aligner is not null ? aligner.forward(vision_model.forward(images))
        : throw new InvalidOperationException(
            "this Janus was built without a vision tower; it draws images but does not read them");

    /// <summary>Fresh weights from a seed: normal with deviation 0.02 (1 for the few dimensions of a code), biases 0,
    /// norms 1; the tokenizer as its own rule says.</summary>
    public void Initialize(long seed)
    {
        Initializer.Apply(TrainableParameters(), seed, (name, _) => name.StartsWith("gen_embed") ? 1 : 0.02);
        gen_vision_model.Initialize(seed);
    }
}
