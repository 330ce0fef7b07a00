using System.Runtime.Intrinsics;
using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Optimization;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

/// <summary>Training in one kernel beside the model's own operators.</summary>
[Collection(typeof(NothingBeside))]
public sealed unsafe class FusedTrainingTests
{
    private const int Rows = 9, Columns = 41;

    public static TheoryData<int, int, int, int, int> Sizes => new()
    {
        // lanes, heads, key-value heads, head width, width of the MLP
        { 4, 2, 2, 4, 24 },
        { 4, 4, 2, 12, 56 },
        { 4, 6, 6, 16, 64 },
        { 8, 4, 1, 8, 48 },
        { 8, 4, 4, 24, 80 },
        { 8, 6, 3, 16, 64 },
        { 16, 6, 6, 16, 64 },
        { 16, 4, 2, 32, 96 },
        { 16, 4, 4, 32, 32 }, // an MLP narrower than the rest
    };

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Hidden_states_and_gradients_are_those_of_the_models_own_operators(
        int lanes, int heads, int stored, int width, int mlp)
    {
        using var scope = NewDisposeScope();
        using var model = Model(heads, stored, width, mlp);
        var (embeddings, mask) = Input(model);
        var real = mask.unsqueeze(-1);
        var weighs = randn(embeddings.shape, generator: new Generator(9)).mul(real); // of hidden states in the loss
        var positions = mask.cumsum(1).sub(1).clamp_min(0);
        Tensor[] of = [embeddings.requires_grad_(), .. Weights(model)];
        var own = model.Pass(embeddings, mask, positions, null);
        Tensor[] expected = [.. autograd.grad([own.mul(weighs).sum()], of)];
        var fused = Fused(model, embeddings, mask, positions, lanes);
        Golden.Close(own.mul(real), fused, 1e-5, "hidden states");
        Tensor[] gradients = [.. autograd.grad([fused.mul(weighs).sum()], of)];
        for (var i = 0; i < of.Length; i++)
        {
            var largest = expected[i].abs().max();
            Golden.Close(expected[i] / largest, gradients[i] / largest, 1e-5, $"gradient {i} of {of.Length}");
        }

        using var free = no_grad();
        Golden.Equal(fused, Fused(model, embeddings, mask, positions, lanes), "without a graph");
    }

    [Fact]
    public void What_the_mask_hides_is_zero_and_has_no_part_in_anything()
    {
        using var scope = NewDisposeScope();
        using var model = Model(6, 6, 16, 64);
        var (embeddings, mask) = Input(model);
        var hidden = model.Whole(embeddings, mask, null)!;
        var pads = mask.logical_not().unsqueeze(-1);
        Assert.Equal(0, hidden.abs().mul(pads).sum().item<float>());
        var other = embeddings.masked_fill(pads, float.NaN).requires_grad_();
        var same = model.Whole(other, mask, null)!;
        Golden.Equal(hidden, same, "hidden states");
        ActivationCheckpoint.Backward(same.sum());
        Assert.Equal(0, other.grad!.abs().mul(pads).sum().item<float>());
        Assert.All(Weights(model), weight => Assert.True(weight.grad!.isfinite().all().ToBoolean()));
        var none = model.Whole(embeddings, zeros_like(mask), null)!;
        Assert.Equal(0, none.abs().sum().item<float>());
        ActivationCheckpoint.Backward(none.sum()); // not one token
    }

    [Fact]
    public void Only_what_wants_a_gradient_gets_one()
    {
        using var scope = NewDisposeScope();
        using var model = Model(6, 6, 16, 64);
        var (embeddings, mask) = Input(model);
        Tensor[] weights = Weights(model);
        Array.ForEach(weights, weight => weight.requires_grad = false);
        Assert.False(model.Whole(embeddings, mask, null)!.requires_grad);
        weights[3].requires_grad = true;
        ActivationCheckpoint.Backward(model.Whole(embeddings, mask, null)!.square().sum());
        Assert.Equal([3], weights.Index().Where(one => one.Item.grad is not null).Select(one => one.Index));
        Assert.Null(embeddings.grad);
        Array.ForEach(weights, weight => weight.requires_grad = false);
        ActivationCheckpoint.Backward(model.Whole(embeddings.requires_grad_(), mask, null)!.square().sum());
        Assert.True(embeddings.grad!.abs().sum().item<float>() > 0);
    }

    [Fact]
    public void However_large_a_score_no_token_sees_a_later_one()
    {
        using var scope = NewDisposeScope();
        using var free = no_grad();
        using var model = Model(6, 6, 16, 64);
        foreach (var weight in new[] { Weights(model)[0], Weights(model)[1] })
        {
            weight.mul_(1e16);
        }

        var (embeddings, _) = Input(model);
        var before = model.Whole(embeddings, null, null)!.narrow(1, 0, Columns - 1);
        embeddings.narrow(1, Columns - 1, 1).add_(1);
        Golden.Equal(before, model.Whole(embeddings, null, null)!.narrow(1, 0, Columns - 1), "earlier tokens");
    }

    [Fact]
    public void What_fails_in_the_backward_pass_of_a_piece_reaches_the_caller()
    {
        using var scope = NewDisposeScope();
        using var model = Model(6, 6, 16, 64);
        var (embeddings, mask) = Input(model);
        var threads = get_num_threads();
        set_num_threads(2);
        try
        {
            var loss = RowPieces.Run(model.parameters(), 40, (start, count) =>
            {
                var hidden = model.Whole(embeddings, mask, null)!.narrow(0, 0, 1).expand(count, -1, -1);
                if (start == 0)
                {
                    hidden.sum().backward(retain_graph: true); // its graph is spent
                }

                return hidden;
            }).sum();
            var thrown = Assert.Throws<InvalidOperationException>(() => ActivationCheckpoint.Backward(loss));
            Assert.Contains("once", thrown.Message);
        }
        finally
        {
            set_num_threads(threads);
        }
    }

    [Fact]
    public void A_graph_can_be_gone_through_once()
    {
        using var scope = NewDisposeScope();
        using var model = Model(6, 6, 16, 64);
        var (embeddings, mask) = Input(model);
        var loss = model.Whole(embeddings, mask, null)!.square().sum();
        loss.backward(retain_graph: true);
        Assert.Contains("once", Assert.ThrowsAny<Exception>(() => ActivationCheckpoint.Backward(loss)).Message);
    }

    [Fact]
    public void What_it_cannot_do_is_left_to_the_operators()
    {
        using var scope = NewDisposeScope();
        using var model = Model(6, 6, 16, 64);
        var (embeddings, mask) = Input(model);
        var positions = mask.cumsum(1).sub(1);
        Assert.NotNull(model.Whole(embeddings, null, null));
        Assert.NotNull(model.Whole(embeddings, mask, positions));
        Assert.Null(model.Whole(embeddings.to(ScalarType.BFloat16), mask, null));
        Assert.Null(model.Whole(embeddings, mask.view(Rows, 1, 1, Columns), null));
        Assert.Null(model.Whole(embeddings, mask.narrow(1, 0, Columns - 1), null));
        Assert.Null(model.Whole(embeddings.narrow(2, 0, 48), mask, null));
        Assert.Null(model.Whole(embeddings, mask, stack([positions, positions, positions])));
        Assert.Null(model.Whole(embeddings, mask, positions.narrow(1, 0, Columns - 1)));
        Assert.Null(model.Whole(embeddings, mask, positions.narrow(0, 0, 2)));
        Assert.NotNull(model.Whole(embeddings, mask, positions.narrow(0, 0, 1)));
        Assert.Null(model.Whole(embeddings.narrow(0, 0, 1), mask.narrow(0, 0, 1), null)); // too few tokens
        model.CheckpointActivations = true;
        Assert.Null(model.Whole(embeddings, mask, null));
        using var biased = new Llama(model.Config with { AttentionBias = true }, Exact);
        Assert.Null(biased.Whole(embeddings, mask, null));
        using var odd = Model(2, 2, 16, 50); // no panel fits
        Assert.Null(odd.Whole(Input(odd).Embeddings, mask, null));
        using var large = new Llama(model.Config with { MlpWidth = 1 << 16 }, Exact);
        Assert.Null(large.Whole(embeddings, mask, null)); // its weights would not stay in the cache
        Assert.Throws<ArgumentException>(() => model.Hidden(embeddings.narrow(2, 0, 48), mask));
    }

    [Theory]
    [InlineData(1, 1, false)]
    [InlineData(5, 3, true)]
    [InlineData(6, 32, false)]
    [InlineData(13, 70, true)]
    public void Products_of_panels_are_those_of_matrices(int rows, int count, bool add)
    {
        Products<Lanes4, Vector128<float>>(rows, count, add);
        Products<Lanes8, Vector256<float>>(rows, count, add);
        Products<Lanes16, Vector512<float>>(rows, count, add);
    }

    private static void Products<L, V>(int rows, int count, bool add) where L : ILanes<V> where V : struct
    {
        int width = Panels<L, V>.Width, stride = width + 3;
        var random = new Random(rows);
        AlignedFloats Filled(int size)
        {
            var values = new AlignedFloats(size);
            for (var i = 0; i < size; i++)
            {
                values.Address[i] = (float)random.NextDouble() - 0.5f;
            }

            return values;
        }

        AlignedFloats a = Filled(rows * count), b = Filled(count * width), c = Filled(rows * stride);
        float[] before = new Span<float>(c.Address, rows * stride).ToArray();
        Panels<L, V>.Multiply(new((nint)a.Address, count, 1), b.Address, c.Address, rows, count, add, stride);
        for (var i = 0; i < before.Length; i++)
        {
            var (row, column) = (i / stride, i % stride);
            var sum = column >= width ? before[i] : (add ? before[i] : 0) + Enumerable.Range(0, count)
                .Sum(k => (double)a.Address[row * count + k] * b.Address[k * width + column]);
            Assert.Equal(sum, c.Address[i], 1e-5);
        }
    }

    private static ComputeTarget Exact => new(CPU, ScalarType.Float32);

    private static Tensor Fused(Llama model, Tensor embeddings, Tensor mask, Tensor positions, int lanes)
    {
        var config = model.Config;
        var (cos, sin) = Rotary.CosSin(
            Rotary.Angles(positions, config.HeadWidth, config.RopeTheta, null), ScalarType.Float32);
        var size = new DecoderSize(config.Width, config.MlpWidth, config.Heads, config.KeyValueHeads, config.HeadWidth,
            (float)config.RmsNormEpsilon);
        Assert.True(FusedTraining.Fits(size, lanes));
        return FusedTraining.Run(size, Weights(model), embeddings, mask, cos, sin, lanes);
    }

    // of each layer's seven matrices and two norms, then the last norm
    private static Tensor[] Weights(Llama model)
    {
        var all = model.named_parameters().Where(one => one.name.StartsWith("model.layers.")
            || one.name == "model.norm.weight").ToDictionary(one => one.name, one => (Tensor)one.parameter);
        string[] names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"];
        return [.. Enumerable.Range(0, model.Config.Layers).SelectMany(layer => names.Select(name =>
            all[$"model.layers.{layer}.{name}.weight"])), all["model.norm.weight"]];
    }

    private static Llama Model(int heads, int stored, int width, int mlp)
    {
        var model = new Llama(new()
        {
            VocabularySize = 40, Width = heads * width, MlpWidth = mlp, Layers = 3, Heads = heads,
            KeyValueHeads = stored, RopeTheta = 100,
        }, Exact);
        using var free = no_grad();
        using var generator = Seeds.Torch(4);
        foreach (var (name, parameter) in model.named_parameters())
        {
            parameter.normal_(name.Contains("norm") ? 1 : 0, 0.1, generator);
        }

        return model;
    }

    // rows padded on the left and on the right, one with a hole, one with nothing but pads
    private static (Tensor Embeddings, Tensor Mask) Input(Llama model)
    {
        using var generator = Seeds.Torch(6);
        var ids = randint(0, 40, [Rows, Columns], ScalarType.Int64, CPU, generator: generator);
        Tensor column = arange(Columns).unsqueeze(0), row = arange(Rows).unsqueeze(1);
        var mask = column.ge(row).logical_and(column.lt(row.mul(-3).add(Columns + 6))).to(ScalarType.Int64);
        mask[1, 4] = 0;
        mask[7] = 0;
        return (model.Embed(ids).detach(), mask);
    }
}
