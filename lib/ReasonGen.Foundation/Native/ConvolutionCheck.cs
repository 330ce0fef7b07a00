using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Native;

/// <summary>Whether this processor's convolutions are right: oneDNN's kernels were found wrong on some virtual
/// machines.</summary>
internal static class ConvolutionCheck
{
    /// <summary>
    /// Largest relative error of a 3x3 convolution and of its gradients against the same in fp64, over channels that
    /// are and are not multiples of a vector's width; about 1e-7 where all is well.
    /// </summary>
    internal static double Error()
    {
        NativeRuntime.EnsureLoaded();
        return new[] { (3, 8), (16, 3), (24, 16), (24, 24) }.Max(channels => Error(channels.Item1, channels.Item2));
    }

    private static double Error(int inputs, int outputs)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        Tensor Random(params long[] shape) => randn(shape, ScalarType.Float32, CPU, generator: generator);
        Tensor[] given = [Random(2, inputs, 8, 8), Random(outputs, inputs, 3, 3), Random(2, outputs, 8, 8)];
        Tensor[] actual = Results(given), exact = Results([.. given.Select(tensor => tensor.to(ScalarType.Float64))]);
        return actual.Zip(exact, (a, e) => (a.to(ScalarType.Float64) - e).norm().ToDouble() / e.norm().ToDouble())
            .Max(error => double.IsNaN(error) ? double.PositiveInfinity : error);
    }

    // The convolution of x by w, and the gradients of its product with g; in fp64 as a product of matrices, without a
    // convolution's kernels.
    private static Tensor[] Results(Tensor[] given)
    {
        using var record = enable_grad();
        Tensor x = given[0].detach().requires_grad_(), w = given[1].detach().requires_grad_();
        var y = x.dtype == ScalarType.Float32 ? nn.functional.conv2d(x, w, padding: [1, 1])
            : w.flatten(1).matmul(nn.functional.unfold(x, 3, padding: 1)).view(given[2].shape);
        (y * given[2]).sum().backward();
        return [y.detach(), x.grad!, w.grad!];
    }
}
