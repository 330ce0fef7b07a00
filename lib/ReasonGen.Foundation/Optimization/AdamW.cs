// AdamW as torch's single-tensor path computes it (reference 4.6), step t from 1:
//   p ← p (1 − η λ);  m ← lerp(m, g, 1 − β₁);  v ← β₂ v + (1 − β₂) g²;  p ← p − η/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
// Moments live in the type of the parameter, or in fp32 with an fp32 master copy of the weights.
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Optimization;

/// <summary>AdamW whose whole state can be saved and restored.</summary>
public sealed class AdamW : IDisposable
{
    private readonly (string Name, Parameter Parameter)[] parameters;
    private readonly Tensor[] first, second;
    private readonly Tensor?[] masters;

    /// <param name="parameters">What to train, by name.</param>
    /// <param name="beta1">β₁, in [0, 1).</param>
    /// <param name="beta2">β₂, in [0, 1).</param>
    /// <param name="weightDecay">λ, at least 0.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="keepMasters">Whether weights narrower than fp32 get an fp32 copy, which the moments follow. False
    /// is the reference's SFT.</param>
    public AdamW(IEnumerable<(string Name, Parameter Parameter)> parameters, double beta1 = 0.9, double beta2 = 0.999,
        double weightDecay = 0.01,
        double epsilon = 1e-8, bool keepMasters = true)
    {
        this.parameters = parameters.ToArray();
        (Beta1, Beta2, WeightDecay, Epsilon) = (beta1, beta2, weightDecay, epsilon);
        using var free = no_grad();
        masters = this.parameters.Select(p => keepMasters && p.Parameter.dtype != ScalarType.Float32
            ? p.Parameter.detach().to(ScalarType.Float32).DetachFromDisposeScope() : null).ToArray();
        first = this.parameters.Select((p, i) => zeros_like(masters[i] ?? p.Parameter).DetachFromDisposeScope())
            .ToArray();
        second = first.Select(m => zeros_like(m).DetachFromDisposeScope()).ToArray();
    }

    public double Beta1 { get; }

    public double Beta2 { get; }

    public double WeightDecay { get; }

    public double Epsilon { get; }

    /// <summary>Steps taken.</summary>
    public long StepCount { get; set; }

    /// <summary>Forgets all gradients.</summary>
    public void ZeroGradients()
    {
        foreach (var (_, parameter) in parameters)
        {
            parameter.grad?.Dispose();
            parameter.grad = null;
        }
    }

    /// <summary>
    /// Makes gradients fp32 in which those of further backward passes are to be summed up: what these add is of the
    /// weights' type, and is not rounded to it again. To be called between the backward passes of one update.
    /// </summary>
    public void WidenGradients()
    {
        using var free = no_grad();
        foreach (var (_, parameter) in parameters)
        {
            if (parameter.grad is { } gradient && gradient.dtype != ScalarType.Float32)
            {
                using (gradient)
                {
                    parameter.grad = gradient.to(ScalarType.Float32);
                }
            }
        }
    }

    /// <summary>One update; parameters without a gradient stay as they are.</summary>
    public void Step(double learningRate)
    {
        using var free = no_grad();
        StepCount++;
        var stepSize = learningRate / (1 - Math.Pow(Beta1, StepCount));
        var correction = Math.Sqrt(1 - Math.Pow(Beta2, StepCount));
        for (var i = 0; i < parameters.Length; i++)
        {
            using var scope = NewDisposeScope();
            if (parameters[i].Parameter.grad is not { } gradient)
            {
                continue;
            }

            var weight = masters[i] ?? parameters[i].Parameter;
            gradient = gradient.to(weight.dtype);
            weight.mul_(1 - learningRate * WeightDecay);
            UpdateMoments(first[i], second[i], gradient);
            weight.addcdiv_(first[i], second[i].sqrt().div_(correction).add_(Epsilon), -stepSize);
            if (masters[i] is { } master)
            {
                parameters[i].Parameter.copy_(master);
            }
        }
    }

    // Each of lerp, mul and addcmul in fp32 and rounded once, as torch does for narrower types.
    private void UpdateMoments(Tensor mean, Tensor square, Tensor gradient)
    {
        if (mean.dtype == ScalarType.Float32)
        {
            mean.lerp_(gradient, 1 - Beta1);
            square.mul_(Beta2).addcmul_(gradient, gradient, 1 - Beta2);
            return;
        }

        var wide = gradient.to(ScalarType.Float32);
        Rounded(mean, m => m.lerp_(wide, 1 - Beta1));
        Rounded(square, v => v.mul_(Beta2));
        Rounded(square, v => v.addcmul_(wide, wide, 1 - Beta2));
    }

    // one copy in fp32 at a time
    private static void Rounded(Tensor moment, Func<Tensor, Tensor> change)
    {
        using var scope = NewDisposeScope();
        moment.copy_(change(moment.to(ScalarType.Float32)));
    }

    /// <summary>Moments and master weights, by name; the tensors are the optimizer's own.</summary>
    public Dictionary<string, Tensor> State()
    {
        var state = new Dictionary<string, Tensor>();
        for (var i = 0; i < parameters.Length; i++)
        {
            state[$"{parameters[i].Name}.exp_avg"] = first[i];
            state[$"{parameters[i].Name}.exp_avg_sq"] = second[i];
            if (masters[i] is { } master)
            {
                state[$"{parameters[i].Name}.master"] = master;
            }
        }

        return state;
    }

    public void Dispose()
    {
        foreach (var tensor in first.Concat(second).Concat(masters.OfType<Tensor>()))
        {
            tensor.Dispose();
        }
    }
}
