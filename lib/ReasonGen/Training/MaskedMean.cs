using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Training;

/// <summary>Means over the entries that a mask selects (verl: torch_functional.py masked_mean).</summary>
public static class MaskedMean
{
    /// <summary>Added to a count before dividing, as verl does; the mean over an empty mask is 0.</summary>
    public const double Epsilon = 1e-8;

    /// <summary>Σ values·mask / (Σ mask + 1e-8), a scalar; both of one shape.</summary>
    /// <exception cref="ArgumentException">The shapes differ.</exception>
    public static Tensor Of(Tensor values, Tensor mask)
    {
        using var scope = NewDisposeScope();
        var weights = values.shape.SequenceEqual(mask.shape) ? mask.to(values.dtype) : throw new ArgumentException(
            $"the mask is [{string.Join(", ", mask.shape)}], the values are [{string.Join(", ", values.shape)}]");
        return ((values * weights).sum() / (weights.sum() + Epsilon)).MoveToOuterDisposeScope();
    }
}
