using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Layers;

/// <summary>The non-linearity of a feed-forward layer.</summary>
public enum Activation
{
    /// <summary>x · Φ(x), by the error function.</summary>
    Gelu,

    /// <summary>x · sigmoid(1.702 x): OpenAI's CLIP, and what was trained from it.</summary>
    QuickGelu,
}

internal static class Activations
{
    private static readonly Scalar Steepness = 1.702f; // kept: a scalar made at each call is not alive during it

    /// <summary>Applies it; x may be overwritten.</summary>
    internal static Tensor Apply(this Activation activation, Tensor x)
    {
        if (activation == Activation.Gelu)
        {
            return nn.functional.gelu(x);
        }

        var gate = x.mul(Steepness);
        return x.mul_(gate.sigmoid_());
    }

    /// <summary>Its name for people.</summary>
    internal static string Name(this Activation activation) => activation == Activation.Gelu ? "GELU" : "QuickGELU";
}
