using TorchSharp;
using Parameter = TorchSharp.Modules.Parameter;
using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Fresh weights from a seed: the same ones wherever, and in whatever order, a model was built.</summary>
internal static class Initializer
{
    /// <summary>Weights with two or more dimensions are normal with a deviation of their own, biases 0, norm weights
    /// 1.</summary>
    internal static void Apply(IEnumerable<(string Name, Parameter Parameter)> parameters, long seed,
        Func<string, long[], double> deviation)
    {
        using var free = no_grad();
        foreach (var (index, (name, parameter)) in parameters.Index())
        {
            if (parameter.dim() < 2)
            {
                parameter.fill_(name.EndsWith("bias") ? 0 : 1);
                continue;
            }

            using var scope = NewDisposeScope();
            using var generator = Seeds.Torch(seed, index);
            parameter.copy_(randn(parameter.shape, ScalarType.Float32, CPU, generator: generator)
                .mul(deviation(name, parameter.shape)));
        }
    }
}
