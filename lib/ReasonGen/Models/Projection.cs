// y = W x + b, a linear layer under the names of torch's. One or two rows at a time, as when tokens are drawn one by one, cost what reading W from
// memory costs; in bf16 on a CPU libtorch's product reads it at half the speed of the memory, so there the rows of W are summed up here.
// Both add up in fp32; here the bias, too, comes before the one rounding.
using System.Runtime.Intrinsics;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>A linear layer: […, in] → […, out].</summary>
internal sealed class Projection : nn.Module<Tensor, Tensor>
{
    private const int MostRows = 2, Stride = 64; // values of W a round: two cache lines
    private const long FewestWeights = 1 << 16;

    private readonly Parameter weight; // [out, in]
    private readonly Parameter? bias;
    private readonly int inputs, outputs;

    internal Projection(int inputs, int outputs, bool hasBias, Device device, ScalarType type) : base(nameof(Projection))
    {
        var bound = 1 / Math.Sqrt(inputs);
        weight = new Parameter(nn.init.uniform_(empty(outputs, inputs, type, device), -bound, bound));
        bias = hasBias ? new Parameter(nn.init.uniform_(empty(outputs, type, device), -bound, bound)) : null;
        RegisterComponents();
        (this.inputs, this.outputs) = (inputs, outputs);
    }

    /// <summary>W.</summary>
    internal Parameter Weight => weight;

    public override Tensor forward(Tensor x) => IsFewRows(x) ? FewRows(x) : nn.functional.linear(x, weight, bias);

    private bool IsFewRows(Tensor x) => x.dtype == ScalarType.BFloat16 && weight.dtype == ScalarType.BFloat16 && x.device_type == DeviceType.CPU
        && x.numel() <= MostRows * inputs && (long)inputs * outputs >= FewestWeights && inputs % Stride == 0 && x.shape[^1] == inputs
        && Vector512.IsHardwareAccelerated && !is_grad_enabled();

    private unsafe Tensor FewRows(Tensor x)
    {
        using var scope = NewDisposeScope();
        var wide = x.to(ScalarType.Float32).contiguous();
        var y = empty([.. x.shape[..^1], outputs], ScalarType.Float32, CPU);
        fixed (byte* from = wide.bytes, to = y.bytes, matrix = weight.bytes)
        {
            var (w, a, b) = ((nint)matrix, (nint)from, (nint)to);
            int rows = (int)(x.numel() / inputs), threads = get_num_threads(), parts = threads == 1 ? 1 : 4 * threads;
            Parallel.For(0, parts, new() { MaxDegreeOfParallelism = threads }, part =>
                Sum((ushort*)w, (float*)a, (float*)b, rows, (int)((long)outputs * part / parts), (int)((long)outputs * (part + 1) / parts)));
        }

        return (bias is null ? y : y.add_(bias)).to(ScalarType.BFloat16).MoveToOuterDisposeScope();
    }

    // A bf16 is the upper half of an fp32.
    private unsafe void Sum(ushort* matrix, float* from, float* to, int rows, int first, int end)
    {
        for (var o = first; o < end; o++)
        {
            var w = matrix + (long)o * inputs;
            for (var row = 0; row < rows; row++)
            {
                var x = from + row * inputs;
                Vector512<float> a = default, b = default, c = default, d = default;
                for (var i = 0; i < inputs; i += Stride)
                {
                    var (low, high) = Vector512.Widen(Vector512.Load(w + i));
                    var (low2, high2) = Vector512.Widen(Vector512.Load(w + i + 32));
                    a = Vector512.FusedMultiplyAdd((low << 16).AsSingle(), Vector512.Load(x + i), a);
                    b = Vector512.FusedMultiplyAdd((high << 16).AsSingle(), Vector512.Load(x + i + 16), b);
                    c = Vector512.FusedMultiplyAdd((low2 << 16).AsSingle(), Vector512.Load(x + i + 32), c);
                    d = Vector512.FusedMultiplyAdd((high2 << 16).AsSingle(), Vector512.Load(x + i + 48), d);
                }

                to[row * outputs + o] = Vector512.Sum(a + b + (c + d));
            }
        }
    }
}
