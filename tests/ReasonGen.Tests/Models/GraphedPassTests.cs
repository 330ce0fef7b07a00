using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

/// <summary>What CUDA graphs do to a pass over a token, held against the pass itself: on a CPU the graph is the work,
/// done again.</summary>
public sealed class GraphedPassTests
{
    [Theory]
    [InlineData(1, 3, false)]
    [InlineData(3, 60, false)]
    [InlineData(2, 60, true)]
    [InlineData(4, 126, true)]
    public void Tokens_one_by_one_give_what_the_model_gives(int rows, int columns, bool padded)
    {
        const int steps = 70;
        using var model = new Llama(new()
        {
            VocabularySize = 30, Width = 32, MlpWidth = 48, Layers = 2, Heads = 4, KeyValueHeads = 2,
        }, TestDevice.Target);
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var ids = randint(0, 30, [rows, columns + steps], ScalarType.Int64, CPU, generator: Seeds.Torch(1)).Here();
        var prompt = ones([rows, columns], ScalarType.Int64, TestDevice.Device);
        if (padded)
        {
            prompt[^1, ..(columns / 2)] = 0;
        }

        (Tensor Hidden, Tensor Keys, int Passes) Decode(bool graphs)
        {
            GraphedPass.OnCpuToo = graphs && TestDevice.IsCpu;
            DeviceKernels.OnCpuToo = TestDevice.IsCpu;
            try
            {
                var passes = 0;
                using var cache = new KvCache(2, rows, 2, columns + steps, 8, TestDevice.Device, ScalarType.Float32);
                _ = cache.With(null, !graphs ? null : (x, seen, at, own) =>
                {
                    Assert.Equal(0, seen!.shape[3] % 64);
                    passes++;
                    return model.Pass(x, seen, at, own);
                });
                using var mask = new DecodeMask(prompt, steps, ScalarType.Float32);
                var at = prompt.cumsum(1).sub(1).clamp_min(0);
                var hidden = new List<Tensor>
                {
                    model.Hidden(model.Embed(ids.narrow(1, 0, columns)), mask.IsNeeded ? prompt : null, at, cache)
                        .narrow(1, columns - 1, 1),
                };
                at = at.narrow(1, columns - 1, 1);
                for (var step = 0; step < steps; step++)
                {
                    at = at.add(1);
                    hidden.Add(model.Hidden(model.Embed(ids.narrow(1, columns + step, 1)), mask.Next(), at, cache));
                }

                Assert.Equal(columns + steps, cache.Length);
                return (cat([.. hidden], 1), cache.Layer(1).Keys.clone(), passes);
            }
            finally
            {
                (GraphedPass.OnCpuToo, DeviceKernels.OnCpuToo) = (false, false);
            }
        }

        var (expected, actual) = (Decode(false), Decode(true));
        Golden.Close(expected.Hidden, actual.Hidden, 1e-5, "hidden");
        var real = prompt.unsqueeze(1).unsqueeze(-1);
        Golden.Close(expected.Keys.narrow(2, 0, columns).mul(real), actual.Keys.narrow(2, 0, columns).mul(real), 1e-5,
            "keys of the prompt");
        Golden.Close(expected.Keys.narrow(2, columns, steps), actual.Keys.narrow(2, columns, steps), 1e-5, "keys");
        // on a GPU twice a graph: once done, once recorded
        var graphs = (columns + steps - 1) / 64 - columns / 64 + 1;
        Assert.Equal(TestDevice.IsCpu ? steps : TestDevice.Device.type == DeviceType.CUDA ? 2 * graphs : 0,
            actual.Passes);
    }

    [Fact]
    public void A_pass_that_cannot_be_recorded_is_left_to_the_model()
    {
        var tries = 0;
        using var pass = new GraphedPass((x, _, _, _) => x.clone(), 64, _ =>
        {
            tries++;
            return null;
        });
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var (x, at) = (ones([1, 1, 4], device: TestDevice.Device), zeros([1, 1], ScalarType.Int64, TestDevice.Device));
        Assert.Null(pass.Hidden(x, null, at, 0));
        Assert.Null(pass.Hidden(x, null, at, 1));
        Assert.Equal(1, tries);
    }
}
