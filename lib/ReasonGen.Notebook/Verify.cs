using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Notebook;

/// <summary>Checks that can fail: what a cell worked out by hand against what the library gives.</summary>
public static class Verify
{
    /// <summary>That two tensors of one shape agree in every number; shows the largest difference.</summary>
    /// <param name="what">What is compared, in words.</param>
    /// <param name="mine">Worked out in the cell.</param>
    /// <param name="library">Of the library.</param>
    /// <param name="tolerance">Largest difference that is allowed; 0 asks for the same bits.</param>
    /// <exception cref="InvalidOperationException">They do not agree, or their shapes differ.</exception>
    public static Html Equal(string what, Tensor mine, Tensor library, double tolerance = 0)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        if (!mine.shape.SequenceEqual(library.shape))
        {
            throw new InvalidOperationException(
                $"{what}: yours is [{string.Join(", ", mine.shape)}], the library's "
                + $"[{string.Join(", ", library.shape)}]");
        }

        static double[] Numbers(Tensor values) =>
            values.detach().to(ScalarType.Float64).cpu().contiguous().data<double>().ToArray();
        return Equal(what, Numbers(mine), Numbers(library), tolerance);
    }

    /// <summary>That two numbers agree.</summary>
    /// <inheritdoc cref="Equal(string, Tensor, Tensor, double)"/>
    public static Html Equal(string what, double mine, double library, double tolerance = 0) =>
        Equal(what, new[] { mine }, new[] { library }, tolerance);

    /// <summary>That two rows of numbers agree.</summary>
    /// <inheritdoc cref="Equal(string, Tensor, Tensor, double)"/>
    public static Html Equal(string what, double[] mine, double[] library, double tolerance = 0)
    {
        if (mine.Length != library.Length)
        {
            throw new InvalidOperationException(
                $"{what}: yours are {mine.Length} numbers, the library's {library.Length}");
        }

        var differences = mine.Zip(library, (one, other) => one.Equals(other) ? 0 : Math.Abs(one - other)).ToArray();
        var at = Array.FindIndex(differences, difference => !(difference <= tolerance)); // NaN is not
        return at < 0 ? Show.Table(["the same by hand and in the library", "numbers", "largest difference", "allowed"],
            [[what, mine.Length, differences.DefaultIfEmpty(0).Max(), tolerance]])
            : throw new InvalidOperationException(
                $"{what}: number {at} is {mine[at]:R} by hand and {library[at]:R} in the library; "
                + $"they may differ by {tolerance:R}");
    }

    /// <summary>That something holds.</summary>
    /// <exception cref="InvalidOperationException">It does not.</exception>
    public static Html True(string what, bool holds) =>
        holds ? new($"<p style=\"{Style.Font};margin:4px 0\">✓ {Html.Escape(what)}</p>")
        : throw new InvalidOperationException($"this does not hold: {what}");
}
