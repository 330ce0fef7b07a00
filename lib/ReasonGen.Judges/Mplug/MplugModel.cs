// mPLUG (Li et al. 2022; modelscope modeling_mplug.py, MPlugForVisualQuestionAnswering):
//   image rows = LN(W · all tokens of CLIP's tower);  text rows = BERT(question), always 25 ids.
//   Fusion layer k from the first that runs: where k > 0 is a multiple of the stride, image and text rows together go
//     through self-attention and feed-forward, and what comes out for the image is ADDED to its rows; else the text
//     rows look at themselves and at the image rows.
//   Decoder: BERT, causal, looks at image and text rows;  logits = head(last token).
// Deviations: 1. Several questions of one image are one batch; image rows and what the layers make of them are computed
// once as long as they are the same. 2. Keys and values of image and text are kept over the search's steps and shared
// by its beams. 3. Padding is masked by true and false. All three give the same numbers.
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Layers;
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Mplug;

/// <summary>An image and questions to answers.</summary>
public sealed class MplugModel : Module
{
    private readonly ClipVisionTower vision;
    private readonly Linear visn_fc;
    private readonly LayerNorm visn_norm;
    private readonly BertStack text, decoder;
    private readonly ModuleList<TransformerBlock> fusion;
    private readonly BertHead head;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and type of the weights, which are undefined until they are loaded.</param>
    public MplugModel(MplugConfig config, ComputeTarget target) : base(nameof(MplugModel))
    {
        vision = new(config.Vision, null, Activation.QuickGelu, target);
        visn_fc = Linear(config.Vision.Width, config.Text.Width, true, target.Device, target.DType);
        visn_norm = LayerNorm(config.Text.Width, BertConfig.Epsilon, device: target.Device, dtype: target.DType);
        text = new(config.Text, null, hasTypes: true, target);
        fusion = BertStack.Blocks(config.FusionLayers, config.Text.Block(config.Text.Width), target);
        decoder = new(config.Text with { Layers = config.DecoderLayers }, config.Text.Width, hasTypes: true, target);
        head = new(config.Text, target);
        RegisterComponents();
        eval();
        Config = config;
    }

    /// <summary>Sizes.</summary>
    public MplugConfig Config { get; }

    /// <summary>A prepared image [1, 3, S, S] → its rows [1, 1 + patches, D].</summary>
    /// <exception cref="ArgumentException">The image has another size.</exception>
    public Tensor EncodeImage(Tensor pixels) => EncodeImage(pixels, null);

    /// <summary>Answers questions about one image.</summary>
    /// <param name="image">Its rows.</param>
    /// <param name="ids">Questions [N, T].</param>
    /// <param name="mask">True where a token counts, [N, 1, 1, T].</param>
    /// <param name="start">The id that begins an answer.</param>
    /// <param name="end">The id that ends it.</param>
    /// <param name="cancel">Ends it.</param>
    /// <returns>The search of each question, done.</returns>
    public BeamSearch[] Answer(Tensor image, Tensor ids, Tensor mask, int start, int end, CancellationToken cancel =
        default) => Answer(image, ids, mask, start, end, cancel, null);

    internal Tensor EncodeImage(Tensor pixels, Action<string, Tensor>? observe)
    {
        if (!pixels.shape.SequenceEqual([1L, 3, Config.Vision.ImageSize, Config.Vision.ImageSize]))
        {
            throw new ArgumentException($"the image is [{string.Join(", ", pixels.shape)}], not "
                + $"[1, 3, {Config.Vision.ImageSize}, {Config.Vision.ImageSize}]", nameof(pixels));
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        var rows = visn_norm.forward(visn_fc.forward(vision.Forward(pixels.to(visn_fc.weight.device), observe)));
        observe?.Invoke("image_embeds", rows);
        return rows.MoveToOuterDisposeScope();
    }

    internal BeamSearch[] Answer(Tensor image, Tensor ids, Tensor mask, int start, int end, CancellationToken cancel,
        Action<string, Tensor>? observe)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        (ids, mask) = (ids.to(image.device), mask.to(image.device));
        var seen = cat([ones([ids.shape[0], 1, 1, image.shape[1]], ScalarType.Bool, image.device), mask], -1);
        var (rows, words) = Fuse(image, ids, mask, seen, observe);
        var context = Look(rows, words);
        BeamSearch[] searches = [.. Enumerable.Range(0, (int)ids.shape[0]).Select(_ =>
            new BeamSearch(Config.Beams, Config.MinLength, Config.MaxLength, start, end))];
        for (var (active, step) = (searches, 0); active.Length > 0; step++)
        {
            cancel.ThrowIfCancellationRequested();
            using (NewDisposeScope())
            {
                var logits = Logits(active, context, seen, step, observe);
                var chances = logits.log_softmax(-1).Values<float>();
                var share = chances.Length / active.Length;
                foreach (var (i, search) in active.Index())
                {
                    search.Step(chances.AsSpan(i * share, share));
                }
            }

            long[] kept = [.. active.Index().Where(pair => !pair.Item.Done).Select(pair => (long)pair.Index)];
            if (kept.Length < active.Length && kept.Length > 0)
            {
                Keep(context, ref seen, tensor(kept, device: image.device));
            }

            active = [.. active.Where(search => !search.Done)];
        }

        return searches;
    }

    /// <summary>Names in modelscope's file of one of the model's tensors.</summary>
    internal Func<string, string[]> Names => own => own.Split('.', 2) switch
    {
        ["vision", _] => ["visual_encoder." + ClipNames.Name(own, ClipLayout.OpenClip)],
        ["visn_norm", var leaf] => ["visn_layer_norm." + leaf],
        ["text", var name] => BertNames.Stack(name, "text_encoder."),
        ["fusion", var name] => BertNames.Block("blocks." + name, "fusion_encoder.", Config.FirstFusion),
        ["decoder", var name] => BertNames.Stack(name, "text_decoder.bert."),
        ["head", var name] => BertNames.Head(name, "text_decoder.cls."),
        _ => [own],
    };

    // image rows [1 or N, P, D] and text rows [N, T, D] behind the fusion layers
    private (Tensor Image, Tensor Text) Fuse(Tensor image, Tensor ids, Tensor mask, Tensor seen, Action<string,
        Tensor>? observe)
    {
        using var scope = NewDisposeScope();
        long patches = image.shape[1], tokens = ids.shape[1];
        var x = text.Forward(ids, mask, causal: false, null, null, "text", observe);
        foreach (var (k, block) in fusion.Index())
        {
            observe?.Invoke($"fusion.image_before_layer.{Config.FirstFusion + k}", image);
            var joint = k > 0 && k % Config.Stride == 0;
            var next = joint ? block.Forward(cat([image.expand(ids.shape[0], -1, -1), x], 1), seen)
                : block.Forward(x, mask, context: block.Look(image));
            observe?.Invoke($"fusion.layer.{Config.FirstFusion + k}", next);
            x = joint ? next.narrow(1, patches, tokens) : next;
            image = joint ? image.add(next.narrow(1, 0, patches)) : image;
        }

        observe?.Invoke("question_states", cat([image.expand(ids.shape[0], -1, -1), x], 1));
        return (image.alias().MoveToOuterDisposeScope(), x.MoveToOuterDisposeScope());
    }

    // of each of the decoder's blocks, [N, H, P + T, K]
    private KeysValues[] Look(Tensor image, Tensor words)
    {
        var questions = words.shape[0];
        Tensor Joined(Tensor ofImage, Tensor ofWords) =>
            cat([ofImage.expand(questions, -1, -1, -1), ofWords], 2).MoveToOuterDisposeScope();
        return decoder.LookBy(block =>
        {
            using var scope = NewDisposeScope();
            var (a, b) = (block.Look(image), block.Look(words));
            return new(Joined(a.Keys, b.Keys), Joined(a.Values, b.Values));
        });
    }

    private Tensor Logits(BeamSearch[] active, KeysValues[] context, Tensor seen, int step,
        Action<string, Tensor>? observe)
    {
        using var scope = NewDisposeScope();
        long[] flat = [.. active.SelectMany(search => search.Sequences).SelectMany(ids => ids).Select(id => (long)id)];
        var ids = tensor(flat, [active.Length * Config.Beams, step + 1], device: seen.device);
        var states = decoder.Forward(ids, null, causal: true, context, seen, $"decoder.step{step}", observe);
        var logits = head.forward(states.select(1, step)).to(ScalarType.Float32);
        observe?.Invoke($"logits.step{step}", logits);
        return logits.MoveToOuterDisposeScope();
    }

    // drops what questions look at whose answers are there, a layer after the other
    private static void Keep(KeysValues[] context, ref Tensor seen, Tensor kept)
    {
        seen = seen.index_select(0, kept);
        for (var i = 0; i < context.Length; i++)
        {
            var old = context[i];
            context[i] = new(old.Keys.index_select(0, kept), old.Values.index_select(0, kept));
            old.Keys.Dispose();
            old.Values.Dispose();
        }
    }
}
