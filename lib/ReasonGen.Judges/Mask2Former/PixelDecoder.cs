// The pixel decoder (mmdetection: msdeformattn_pixel_decoder.py).
//   x = [GN(conv₁ₓ₁ map)] of strides 32, 16, 8, one after the other
//   per layer: x = LN(deformable(x)), x = LN(x + W₂ relu(W₁ x))
//   mask features = conv₁ₓ₁ relu(GN(conv₃ₓ₃(GN(conv₁ₓ₁ map of stride 4) + bilinear(x of stride 8))))
// Position of a pixel: (i + 1)/(n + 1e-6)·2π, over 10000^(2k/(C/2)), sin and cos in turn, y before x.
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>Maps of strides 4 to 32 → memories of strides 32, 16, 8, [hw, C] each, and mask features [h, w, C] of
/// stride 4.</summary>
internal sealed class PixelDecoder(Weights weights, Mask2FormerConfig config)
{
    /// <summary>Told of every step by name; for tests.</summary>
    internal Action<string, Tensor>? Trace { get; set; }

    internal (Tensor[] Memories, (int Height, int Width)[] Shapes, Tensor MaskFeatures) Forward(Tensor[] maps)
    {
        using var scope = NewDisposeScope();
        var inputs = Enumerable.Range(0, Mask2FormerConfig.Levels).Select(level =>
        {
            var input = weights.At($"input_convs.{level}");
            return input.GroupNorm("gn", input.Linear("conv", maps[3 - level]));
        }).ToArray();
        var shapes = Array.ConvertAll(inputs, input => ((int)input.shape[0], (int)input.shape[1]));
        var positions = cat([.. shapes.Select((shape, level) =>
            Sine(shape, config.Features, inputs[0].device).to(inputs[0].dtype)
                .add_(weights["level_encoding.weight"][level]))]);
        var references = cat([.. shapes.Select(shape => References(shape, inputs[0].device))]);
        var x = cat([.. inputs.Select(input => input.view(-1, config.Features))]);
        Trace?.Invoke("pixel.tokens", x);
        Trace?.Invoke("pixel.position_plus_level", positions);
        Trace?.Invoke("pixel.reference_points", references);
        for (var i = 0; i < config.PixelLayers; i++)
        {
            x = Layer(i, x, positions, references, shapes);
            Trace?.Invoke($"pixel.layer{i}", x);
        }

        foreach (var (level, input) in inputs.Index())
        {
            Trace?.Invoke($"pixel.input{level}", input);
        }

        var memories = x.split([.. shapes.Select(shape => (long)shape.Item1 * shape.Item2)]);
        var features = MaskFeatures(maps[0], memories[^1].view(shapes[^1].Item1, shapes[^1].Item2, -1));
        return ([.. memories.Select(memory => memory.MoveToOuterDisposeScope())], shapes,
            features.MoveToOuterDisposeScope());
    }

    private Tensor Layer(int i, Tensor x, Tensor positions, Tensor references, (int, int)[] shapes)
    {
        using var scope = NewDisposeScope();
        var layer = weights.At($"encoder.layers.{i}");
        var sum = Deformable.Attend(layer.At("attentions.0"), x, positions, references, shapes, config.DecoderHeads);
        Trace?.Invoke($"pixel.layer{i}.attention_sum", sum);
        var h = layer.LayerNorm("norms.0", sum);
        return layer.LayerNorm("norms.1", layer.AddMlp("ffns.0", h, h, inner => inner.relu_()))
            .MoveToOuterDisposeScope();
    }

    private Tensor MaskFeatures(Tensor map, Tensor memory)
    {
        using var scope = NewDisposeScope();
        Weights lateral = weights.At("lateral_convs.0"), output = weights.At("output_convs.0");
        var larger = functional.interpolate(Weights.First(memory), [map.shape[0], map.shape[1]],
            mode: InterpolationMode.Bilinear, align_corners: false);
        var sum = lateral.GroupNorm("gn", lateral.Linear("conv", map)).add_(Weights.Last(larger));
        var smooth = Weights.Last(functional.conv2d(Weights.First(sum), output["conv.weight"], padding: [1, 1]));
        var fpn = output.GroupNorm("gn", smooth).relu_();
        Trace?.Invoke("pixel.fpn", fpn);
        return weights.Linear("mask_feature", fpn).MoveToOuterDisposeScope();
    }

    /// <summary>Positions of a map's pixels, [hw, channels] in fp32.</summary>
    internal static Tensor Sine((int Height, int Width) shape, int channels, Device device)
    {
        using var scope = NewDisposeScope();
        var half = channels / 2;
        var powers = arange(half, ScalarType.Float32, device).div(2).floor().mul(2f / half);
        var divisors = tensor(10000f, device: device).pow(powers);
        Tensor Axis(int length)
        {
            // [n, C/2]
            var angles = arange(1, length + 1, ScalarType.Float32, device).div(length + 1e-6f).mul(2 * MathF.PI)
                .unsqueeze(1).div(divisors);
            var pairs = angles.view(length, half / 2, 2);
            return stack([pairs.select(2, 0).sin(), pairs.select(2, 1).cos()], 2).view(length, half);
        }

        var y = Axis(shape.Height).unsqueeze(1).expand(shape.Height, shape.Width, half);
        var x = Axis(shape.Width).unsqueeze(0).expand(shape.Height, shape.Width, half);
        return cat([y, x], 2).view(-1, channels).MoveToOuterDisposeScope();
    }

    // the centre of each pixel, the same on every level
    private static Tensor References((int Height, int Width) shape, Device device)
    {
        using var scope = NewDisposeScope();
        Tensor Centres(int length) => arange(length, ScalarType.Float32, device).add_(0.5f).div_(length);
        var y = Centres(shape.Height).unsqueeze(1).expand(shape.Height, shape.Width);
        var x = Centres(shape.Width).unsqueeze(0).expand(shape.Height, shape.Width);
        return stack([x, y], 2).view(-1, 1, 2).expand(-1, Mask2FormerConfig.Levels, 2).contiguous()
            .MoveToOuterDisposeScope();
    }
}
