// BLIP-VQA as T2I-CompBench runs it (BLIPvqa_eval/models/blip_vqa.py, inference = 'vqa_prob'; the other two ways of
// that file, ranking and generating, are not taken there):
//   question states = text encoder([ENC] question [SEP], looking at all image tokens);
//   logits = head(text decoder([DEC], looking at the question states that are not padding)).
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Layers;
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Blip;

/// <summary>Images and questions to the first token of an answer.</summary>
public sealed class BlipVqaModel : Module
{
    private readonly BlipVision vision;
    private readonly BertStack encoder, decoder;
    private readonly BertHead head;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and type of the weights, which are undefined until they are loaded.</param>
    public BlipVqaModel(BlipConfig config, ComputeTarget target) : base(nameof(BlipVqaModel))
    {
        vision = new(config.Vision, target);
        encoder = new(config.Text, config.Vision.Width, hasTypes: false, target);
        decoder = new(config.Text, config.Text.Width, hasTypes: false, target);
        head = new(config.Text, target);
        RegisterComponents();
        eval();
        Config = config;
    }

    /// <summary>Sizes.</summary>
    public BlipConfig Config { get; }

    /// <summary>Prepared images [B, 3, S, S] → states of their tokens [B, 1 + patches, D].</summary>
    /// <exception cref="ArgumentException">The images have another size.</exception>
    public Tensor EncodeImages(Tensor pixels) => EncodeImages(pixels, null);

    /// <summary>Logits of an answer's first token.</summary>
    /// <param name="images">States of B images.</param>
    /// <param name="ids">Questions [N, T]; N is a multiple of B, those of one image after another.</param>
    /// <param name="mask">True where a token counts, [N, 1, 1, T].</param>
    /// <param name="start">The id of [DEC].</param>
    /// <returns>[N, vocabulary], fp32.</returns>
    public Tensor Logits(Tensor images, Tensor ids, Tensor mask, int start) => Logits(images, ids, mask, start, null);

    internal Tensor EncodeImages(Tensor pixels, Action<string, Tensor>? observe)
    {
        using var free = no_grad();
        return vision.Forward(pixels, observe);
    }

    internal Tensor Logits(Tensor images, Tensor ids, Tensor mask, int start, Action<string, Tensor>? observe)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        (ids, mask) = (ids.to(images.device), mask.to(images.device));
        var states = encoder.Forward(ids, mask, causal: false, encoder.Look(images), null, "encoder", observe);
        observe?.Invoke("question_states", states);
        var first = full([ids.shape[0], 1], start, ScalarType.Int64, images.device);
        var answer = decoder.Forward(first, null, causal: false, decoder.Look(states), mask, "decoder", observe);
        return head.forward(answer.select(1, 0)).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }
}
