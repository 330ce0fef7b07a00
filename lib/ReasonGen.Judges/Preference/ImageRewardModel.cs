// ImageReward (THUDM/ImageReward, ImageReward.py): BLIP's ViT-L/16 at 224 pixels → BERT base that looks at all its
// tokens, state of the first token → five linear layers with nothing between them → (x − mean) / deviation of the
// authors' data.
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Blip;
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Preference;

/// <summary>Images and prompts to rewards.</summary>
public sealed class ImageRewardModel : Module
{
    private static readonly int[] Widths = [1024, 128, 64, 16, 1],
        Places = [0, 2, 4, 6, 7]; // in the file, where dropout has numbers of its own

    private static readonly Scalar Mean = 0.16717362830052426, Deviation = 1.0333394966054072;

    private readonly BlipVision vision;
    private readonly BertStack text;
    private readonly ModuleList<Linear> mlp;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and type of the weights, which are undefined until they are loaded.</param>
    public ImageRewardModel(BlipConfig config, ComputeTarget target) : base(nameof(ImageRewardModel))
    {
        vision = new(config.Vision, target);
        text = new(config.Text, config.Vision.Width, hasTypes: false, target);
        mlp = ModuleList(Widths.Select((width, i) => Linear(i == 0 ? config.Text.Width : Widths[i - 1], width, true,
            target.Device, target.DType)).ToArray());
        RegisterComponents();
        eval();
        Config = config;
    }

    /// <summary>Sizes.</summary>
    public BlipConfig Config { get; }

    /// <summary>Prepared images [B, 3, S, S] → states of their tokens [B, 1 + patches, D].</summary>
    /// <exception cref="ArgumentException">The images have another size.</exception>
    public Tensor EncodeImages(Tensor pixels) => EncodeImages(pixels, null);

    /// <summary>Rewards of N prompts, those of one of the B images after another: [N], fp32, about 0 on
    /// average.</summary>
    /// <param name="images">States of B images.</param>
    /// <param name="ids">Prompts [N, T].</param>
    /// <param name="mask">True where a token counts, [N, 1, 1, T].</param>
    public Tensor Rewards(Tensor images, Tensor ids, Tensor mask) => Rewards(images, ids, mask, null);

    internal Tensor EncodeImages(Tensor pixels, Action<string, Tensor>? observe)
    {
        using var free = no_grad();
        return vision.Forward(pixels, observe);
    }

    internal Tensor Rewards(Tensor images, Tensor ids, Tensor mask, Action<string, Tensor>? observe)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var x = text.Forward(ids.to(images.device), mask.to(images.device), causal: false, text.Look(images), null,
            "text", observe).select(1, 0);
        observe?.Invoke("txt_features", x);
        foreach (var (i, layer) in mlp.Index())
        {
            x = layer.forward(x);
            observe?.Invoke($"mlp.layers.{Places[i]}", x);
        }

        return x.to(ScalarType.Float32).squeeze(1).sub(Mean).div(Deviation).MoveToOuterDisposeScope();
    }

    /// <summary>Names in ImageReward.pt of one of the model's tensors.</summary>
    internal static string[] Names(string own) => own.Split('.', 3) switch
    {
        ["vision", ..] => ["blip." + BlipNames.Vision(own[7..], BlipLayout.Original)],
        ["text", ..] => BertNames.Stack(own[5..], "blip.text_encoder."),
        [_, var i, var leaf] => [$"mlp.layers.{Places[int.Parse(i)]}.{leaf}"],
        _ => [own],
    };
}
