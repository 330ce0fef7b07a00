using ReasonGen.Judges.Layers;
using ReasonGen.Tests.Devices;
using TorchSharp;
using TorchSharp.Modules;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

/// <summary>The layers that no CLIP uses, against the formula they stand for.</summary>
public sealed class LayerTests
{
    [Fact]
    public void A_block_with_norms_last_and_another_sequence_computes_its_formula()
    {
        using var scope = NewDisposeScope();
        using var free = no_grad();
        var block = new TransformerBlock(new(12, 3, 20, Activation.Gelu, 1e-12) { NormLast = true, ContextWidth = 8 },
            ClipFixture.Target);
        var (x, context) = (Values(2, 5, 12), Values(2, 4, 8));
        var mask = tensor(new[] { true, true, true, false, false, true, true, true, true, true }, [2, 1, 1, 5],
            device: TestDevice.Device);
        var parts = block.named_modules().ToDictionary(part => part.name, part => part.module);
        Tensor Linear(string name, Tensor y) => ((Linear)parts[name]).forward(y);
        Tensor Norm(string name, Tensor y) => ((LayerNorm)parts[name]).forward(y);
        Tensor Attend(Tensor q, Tensor k, Tensor v, Tensor? seen)
        {
            var heads = Enumerable.Range(0, 3).Select(h =>
            {
                var scores = q.narrow(2, 4 * h, 4).matmul(k.narrow(2, 4 * h, 4).transpose(1, 2)).div(2.0);
                scores = seen is null ? scores : scores.masked_fill(seen.squeeze(1).logical_not(),
                    float.NegativeInfinity);
                return scores.softmax(-1).matmul(v.narrow(2, 4 * h, 4));
            });
            return cat([.. heads], 2);
        }

        var own = Linear("attn.qkv", x).chunk(3, 2);
        var y = Norm("norm1", x.add(Linear("attn.proj", Attend(own[0], own[1], own[2], mask))));
        var other = Linear("cross.kv", context).chunk(2, 2);
        y = Norm("norm_cross", y.add(Linear("cross.proj", Attend(Linear("cross.q", y), other[0], other[1], null))));
        y = Norm("norm2", y.add(Linear("mlp.fc2", nn.functional.gelu(Linear("mlp.fc1", y)))));
        Golden.Close(y, block.Forward(x, mask, context: block.Look(context)), 1e-5);
    }

    [Fact]
    public void A_patch_is_embedded_as_by_a_convolution()
    {
        using var scope = NewDisposeScope();
        using var free = no_grad();
        var embedding = new PatchEmbedding(4, 6, hasBias: true, ClipFixture.Target);
        foreach (var (_, parameter) in embedding.named_parameters())
        {
            parameter.copy_(Values(parameter.shape));
        }

        var weights = embedding.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter);
        var images = Values(2, 3, 8, 12);
        Golden.Close(nn.functional.conv2d(images, weights["weight"], weights["bias"],
            strides: [4L, 4L]).flatten(2).transpose(1, 2), embedding.forward(images), 1e-5);
    }

    [Fact]
    public void QuickGelu_is_x_times_the_sigmoid_of_1_702_x()
    {
        using var scope = NewDisposeScope();
        var x = Values(7, 9);
        Golden.Close(x.div(x.mul(-1.702).exp().add(1)), Activation.QuickGelu.Apply(x.clone()), 1e-6);
    }

    private static Tensor Values(params long[] shape) => arange(shape.Aggregate(1L, (product, size) => product * size),
        ScalarType.Float32, TestDevice.Device).mul(0.7).sin().view(shape);
}
