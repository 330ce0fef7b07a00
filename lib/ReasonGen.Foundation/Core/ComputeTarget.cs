using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Where tensors live and in which type a model computes: decided once, here, and handed down.</summary>
/// <param name="Device">The device of weights and activations.</param>
/// <param name="DType">
/// The type of weights and activations; losses, norms, softmax and sums of gradients stay in fp32 whatever it is.
/// </param>
/// <remarks>
/// On a CPU a run repeats to the same bits. On a GPU it does not: sums over many threads (gradients of embeddings and
/// of attention, the codebook's statistics) are added up in another order each time, so that a resumed run is close to
/// an uninterrupted one, not equal.
/// </remarks>
public sealed record ComputeTarget(Device Device, ScalarType DType)
{
    /// <summary>The environment variable that names the device of whoever is told no other.</summary>
    public const string Variable = "REASONGEN_DEVICE";

    private const string Forms =
        "Give cpu, cuda (the first GPU) or cuda:1 (the second), with ,fp32 or ,bf16 behind it for the type "
        + "of the weights (bf16 on a GPU and fp32 on a CPU otherwise), or auto, which takes a GPU where there is one.";

    private static ComputeTarget? chosen;

    static ComputeTarget()
    {
        NativeRuntime.EnsureLoaded();
        // cuDNN's own default rounds what fp32 convolutions read to 10 bits: nothing that is called fp32 does so here
        (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32) = (false, false);
    }

    /// <summary>
    /// Where to compute unless something else is said: what was set, else what <see cref="Variable"/> names, else the
    /// first GPU in bf16 where libtorch finds one, else the CPU in fp32.
    /// </summary>
    /// <exception cref="ArgumentException">The variable names a device that is not there.</exception>
    public static ComputeTarget Default
    {
        get => chosen ??= Parse(Environment.GetEnvironmentVariable(Variable), Variable);
        set => chosen = value;
    }

    /// <summary>The same device in fp32, as the study computes everywhere.</summary>
    public ComputeTarget Exact => this with { DType = ScalarType.Float32 };

    /// <summary>As <see cref="Parse"/> reads it, with the type: "cpu,fp32", "cuda:0,bf16".</summary>
    public string Name => (IsCpu ? "cpu" : $"cuda:{Math.Max(0, Device.index)}")
        + (DType == ScalarType.BFloat16 ? ",bf16" : ",fp32");

    /// <summary>The GPU; null for the CPU, or where the driver does not tell.</summary>
    public Gpu? Gpu => Device.type == DeviceType.CUDA
        ? Gpus.All.FirstOrDefault(gpu => gpu.Index == Math.Max(0, Device.index)) : null;

    /// <summary>Memory of the GPU, in bytes; null for the CPU, or where the driver does not tell.</summary>
    public long? Bytes => Gpu?.Bytes;

    /// <summary>Whether tensors here have nothing to cross to be read.</summary>
    public bool IsCpu => Device.type == DeviceType.CPU;

    /// <summary>A device as people write it: "cpu", "cuda", "cuda:1", "cuda,fp32"; empty or "auto" for a GPU where
    /// there is one.</summary>
    /// <param name="text">Device, and a type behind a comma.</param>
    /// <param name="source">What it was given as, for the message.</param>
    /// <exception cref="ArgumentException">It is no device, or one that is not there; what is there is
    /// said.</exception>
    public static ComputeTarget Parse(string? text, string source = "the device")
    {
        var parts = (string.IsNullOrWhiteSpace(text) ? "auto" : text.Trim().ToLowerInvariant()).Split(',');
        var (name, index) = parts[0].StartsWith("cuda:") && int.TryParse(parts[0][5..], out var number) && number >= 0
            ? ("cuda", number) : (parts[0], 0);
        ScalarType? type = parts.Length < 2 ? null : parts[1] == "bf16" ? ScalarType.BFloat16 : ScalarType.Float32;
        if (name is not ("auto" or "cpu" or "cuda") || parts is not ([_] or [_, "fp32" or "bf16"]))
        {
            throw new ArgumentException($"{source} '{text}' names no device. {Forms}");
        }

        var count = cuda.is_available() ? cuda.device_count() : 0;
        if (name == "cuda" && index >= count)
        {
            throw new ArgumentException($"{source} '{text}' is not there: {Gpus.WhyNoMore(count)} What is there: "
                + $"{string.Join(", ", Enumerable.Range(0, count).Select(i => $"cuda:{i}").Prepend("cpu"))}.");
        }

        return name == "cpu" || count == 0 ? new(CPU, type ?? ScalarType.Float32)
            : new(new Device(DeviceType.CUDA, index), type ?? ScalarType.BFloat16);
    }

    /// <summary>
    /// What a model with such a weight can read: the one place where inputs (ids, masks, images) move to a model.
    /// Numbers come into its type, ids and truth values keep theirs.
    /// </summary>
    public static Tensor Place(Tensor values, Tensor weight) =>
        values.is_floating_point() ? values.to(weight.dtype, weight.device) : values.to(weight.device);

    public override string ToString() => $"{Device} {DType}";
}
