// Rotary positions. Over the two halves of a head: (x₁, x₂) → (x₁ cos φ − x₂ sin φ, x₂ cos φ + x₁ sin φ), φ_j =
// position · θ^(−2j/K), in fp32.
// M-RoPE (Qwen2.5-VL): a token has three positions (time, row, column), and each frequency j follows one of them.
using System.Collections.Concurrent;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>Rotary positions of decoders and vision towers. B batch, T tokens, K head width.</summary>
internal static class Rotary
{
    private static readonly Scalar One = 1;
    private static readonly ConcurrentDictionary<(int, double, string), Tensor> Known = new();

    /// <summary>θ^(−2j/K), [K/2] fp32, to be left undisposed. Made on the CPU, as the reference does: a GPU's powers
    /// differ in the last bit, which is 1e-5 of an angle at position 500.</summary>
    internal static Tensor Frequencies(int headWidth, double theta, Device device) =>
        Known.GetOrAdd((headWidth, theta, device.ToString()), _ =>
        {
            using var scope = NewDisposeScope();
            var steps = arange(headWidth / 2, ScalarType.Float32, CPU).mul(2f / headWidth);
            return pow(theta, steps).reciprocal().to(device).DetachFromDisposeScope();
        });

    /// <summary>Angles [B, T, K/2] of positions [B, T], or of [3, B, T] when sections say which frequencies follow
    /// time, row and column.</summary>
    internal static Tensor Angles(Tensor positions, int headWidth, double theta, IReadOnlyList<int>? sections)
    {
        var frequencies = Frequencies(headWidth, theta, positions.device);
        if (positions.dim() == 2)
        {
            return positions.to(ScalarType.Float32).unsqueeze(-1).mul(frequencies);
        }

        if (sections is null || positions.dim() != 3 || positions.shape[0] != 3)
        {
            throw new ArgumentException($"positions are [{string.Join(", ", positions.shape)}], not [B, T]"
                + (sections is null ? "" : " or [3, B, T]"));
        }

        var axes = tensor(sections.SelectMany((count, axis) => Enumerable.Repeat((long)axis, count)).ToArray(),
            device: positions.device);
        return positions.to(ScalarType.Float32).index_select(0, axes).permute(1, 2, 0).mul(frequencies);
    }

    /// <summary>Angles […, K/2] → cos and sin […, K]; the first half of sin negated, so that <see cref="Turn"/> is two
    /// products and a sum.</summary>
    internal static (Tensor Cos, Tensor Sin) CosSin(Tensor angles, ScalarType type)
    {
        Tensor cos = angles.cos(), sin = angles.sin();
        return (cat([cos, cos], -1).to(type), cat([sin.neg(), sin], -1).to(type));
    }

    /// <summary>[x₁, x₂] cos + [x₂, x₁] [−sin, sin]; cos and sin broadcast over x.</summary>
    internal static Tensor Turn(Tensor x, Tensor cos, Tensor sin) =>
        x.mul(cos).addcmul_(x.roll(x.shape[^1] / 2, -1), sin, One);
}
