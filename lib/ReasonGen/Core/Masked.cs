using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Sums and means over the entries that a mask selects.</summary>
public static class Masked
{
    /// <summary>Added to a count before dividing, as verl does; the mean over an empty mask is 0.</summary>
    public const double Epsilon = 1e-8;

    /// <summary>Σ values·mask, a scalar; both of one shape.</summary>
    public static Tensor Sum(Tensor values, Tensor mask)
    {
        using var scope = NewDisposeScope();
        return values.mul(Like(values, mask)).sum().MoveToOuterDisposeScope();
    }

    /// <summary>Σ values·mask / (Σ mask + 1e-8), a scalar; both of one shape.</summary>
    public static Tensor Mean(Tensor values, Tensor mask)
    {
        using var scope = NewDisposeScope();
        var weights = Like(values, mask);
        return values.mul(weights).sum().div(weights.sum().add(Epsilon)).MoveToOuterDisposeScope();
    }

    private static Tensor Like(Tensor values, Tensor mask) => values.shape.SequenceEqual(mask.shape) ? mask.to(values.dtype)
        : throw new ArgumentException($"the mask is [{string.Join(", ", mask.shape)}], the values are [{string.Join(", ", values.shape)}]");
}
