// What a GPU does in one kernel and TorchSharp does not wrap, reached through TorchScript, which knows every operator.
// A source that does not compile ends the process: it is a constant, and a test compiles it.
//   RMSNorm: x / sqrt(mean(x²) + ε) in fp32, rounded once, then times the weight: LLaMA's order, to the bit.
//   Noise: exponential, from a GPU's own default generator, which is seeded for this draw by a number of the caller's:
//     a run repeats whatever else draws there. TorchSharp's generators ignore their device, and TorchScript makes none
//     for CUDA.
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Operators for tensors that are not on the CPU, where each operator costs the start of a kernel.</summary>
internal static class DeviceKernels
{
    // lengths that vary are rounded up to a multiple of this: fewer kinds of blocks, and aligned masks
    private const int Step = 64;

    internal const string Source = """
        def rms_norm(x: Tensor, epsilon: float):
            return torch.rms_norm(x, [x.size(-1)], None, epsilon)

        """;

    private static readonly Lazy<jit.CompilationUnit> Compiled = new(() => jit.compile(Source));

    /// <summary>Lets this thread's CPU do what a GPU is asked to do, to count it.</summary>
    [ThreadStatic]
    internal static bool OnCpuToo;

    /// <summary>Whether each operator costs the start of a kernel there.</summary>
    internal static bool PayFor(DeviceType device) => device != DeviceType.CPU || OnCpuToo;

    /// <summary>Whether they pay for x, and no graph is recorded.</summary>
    internal static bool CanHandle(Tensor x) => PayFor(x.device_type) && !is_grad_enabled();

    /// <summary>RMSNorm over the last dimension: [..., D] and [D] → [..., D].</summary>
    internal static Tensor RmsNorm(Tensor x, Tensor weight, double epsilon)
    {
        using var scope = NewDisposeScope();
        return Compiled.Value.invoke<Tensor>("rms_norm", x, epsilon)!.mul(weight).MoveToOuterDisposeScope();
    }

    /// <summary>Noise of mean 1 in the shape of p, fp32, where p is.</summary>
    /// <param name="p">On a CPU the generator itself draws, on a GPU one of the GPU's that it seeds.</param>
    /// <param name="generator">Of the CPU.</param>
    internal static Tensor Noise(Tensor p, Generator generator)
    {
        using var scope = NewDisposeScope();
        var noise = p.device_type == DeviceType.CUDA
            ? Seeded(p, randint(0, int.MaxValue, [1], ScalarType.Int64, CPU, generator: generator).item<long>())
            : empty(p.shape, ScalarType.Float32, CPU).exponential_(1, generator).to(p.device);
        return noise.MoveToOuterDisposeScope();
    }

    /// <summary>Noise of a seed alone, for a tensor on a GPU. Seeds the GPUs' default generators.</summary>
    internal static Tensor Seeded(Tensor like, long seed)
    {
        lock (CudaGraph.Recording)
        {
            cuda.manual_seed_all(seed);
            return empty_like(like).exponential_();
        }
    }

    /// <summary>Attention of one token a row, whose heads share keys in groups: those of a group ask as so many tokens,
    /// and no key is copied.</summary>
    /// <param name="q">[B, H, 1, K].</param>
    /// <param name="k">[B, key-value heads, S, K].</param>
    /// <param name="v">As <paramref name="k"/>.</param>
    /// <param name="mask">[B, 1, 1, S], added; null for none.</param>
    /// <returns>[B, 1, H K].</returns>
    internal static Tensor AttendInGroups(Tensor q, Tensor k, Tensor v, Tensor? mask)
    {
        using var scope = NewDisposeScope();
        var grouped = q.reshape(q.shape[0], k.shape[1], -1, q.shape[3]);
        return nn.functional.scaled_dot_product_attention(grouped, k, v, mask, 0, false).reshape(q.shape[0], 1, -1)
            .MoveToOuterDisposeScope();
    }

    /// <summary>The same as two products and a softmax in fp32: for one query a row a GPU is faster so, up to 1.4
    /// times, where starting the kernels costs nothing (H100, 64 rows and more; <see cref="CudaGraph"/>).</summary>
    internal static Tensor AttendByProducts(Tensor q, Tensor k, Tensor v, Tensor mask)
    {
        using var scope = NewDisposeScope();
        using Scalar scale = 1 / Math.Sqrt(q.shape[3]);
        var grouped = q.mul(scale).reshape(q.shape[0], k.shape[1], -1, q.shape[3]);
        var weights = grouped.matmul(k.transpose(-1, -2)).add(mask).softmax(-1, ScalarType.Float32).to(v.dtype);
        return weights.matmul(v).reshape(q.shape[0], 1, -1).MoveToOuterDisposeScope();
    }

    /// <summary>Whether a mask is of so many keys; one that is added may be of more, which it hides.</summary>
    internal static bool Covers(Tensor mask, long keys) =>
        mask.is_floating_point() ? mask.shape[^1] >= keys : mask.shape[^1] == keys;

    /// <summary>A mask of truth values as the attention kernels of a GPU want it: 0 where a key may be seen and −∞
    /// where not, made once a pass; on a CPU, and where there is none, as it is.</summary>
    internal static Tensor? Additive(Tensor? visible, ScalarType type) =>
        visible is null || !PayFor(visible.device_type) || visible.dtype != ScalarType.Bool ? visible
        : zeros(visible.shape, type, visible.device).masked_fill_(visible.logical_not(), float.NegativeInfinity);

    /// <summary>So many tokens or more, by the device's liking.</summary>
    internal static int RoundUp(int tokens, DeviceType device) =>
        !PayFor(device) ? tokens : (tokens + Step - 1) / Step * Step;
}
