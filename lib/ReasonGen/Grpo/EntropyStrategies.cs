// The entropy term of the loss:  loss + α_text H_text + α_image H_image + α H, H over all tokens.
//   none: α = 0.   fixed: one constant α (a positive α penalises entropy; the paper's coefficient −0.002 is α = 0.002).
//   adaptive (paper section 3.3; adaptive_entropy_coeff.py): α = sinh ψ; after each micro-batch ψ takes an Adam step on
//     −sinh(ψ) (H − H*), so that entropy above its target H* raises α, which then penalises entropy; each step takes α
//     back within ± bound. The loss of a micro-batch uses the α from before it.
// Deviations: 1. The state of the controllers is saved with the run. 2. The comment of the source states the sign the
// other way round; the code is followed.
using Newtonsoft.Json.Linq;
using static ReasonGen.Core.SettingRange;

namespace ReasonGen.Grpo;

/// <summary>Weights of the entropies in the loss of one micro-batch; positive penalises entropy.</summary>
/// <param name="Text">Of text tokens.</param>
/// <param name="Image">Of image tokens.</param>
/// <param name="All">Of all tokens together.</param>
public readonly record struct EntropyCoefficients(double Text, double Image, double All = 0);

/// <summary>Decides how much entropy costs.</summary>
public interface IEntropyStrategy
{
    string Name { get; }

    /// <summary>All that it was made with; a run is resumed with the same alone.</summary>
    JObject Settings => [];

    /// <summary>Whether gradients must flow through the entropies. Default true.</summary>
    bool NeedsGradient => true;

    /// <summary>The weights for a micro-batch with these mean entropies, in nats; the strategy learns from them
    /// afterwards.</summary>
    EntropyCoefficients Next(double textEntropy, double imageEntropy);

    /// <summary>In place of <see cref="Next"/>, on a rank that has no micro-batch in a turn of all ranks.</summary>
    void Skip()
    {
    }

    /// <summary>All that must be kept to go on after an interruption.</summary>
    JObject SaveState();

    /// <summary>Goes on from there. Where the json is not what <see cref="SaveState"/> gave, it throws and changes
    /// nothing.</summary>
    void RestoreState(JObject state);
}

/// <summary>No entropy term.</summary>
public sealed class NoEntropyTerm : IEntropyStrategy
{
    public string Name => "none";

    public bool NeedsGradient => false;

    public EntropyCoefficients Next(double textEntropy, double imageEntropy) => default;

    public JObject SaveState() => [];

    public void RestoreState(JObject state)
    {
    }
}

/// <summary>The same weight on the entropy of all tokens throughout, as entropy_coeff of the reference with the sign
/// turned.</summary>
/// <param name="alpha">α, a finite number; positive penalises.</param>
public sealed class FixedEntropyTerm(double alpha) : IEntropyStrategy
{
    private readonly double alpha = double.IsFinite(alpha) ? alpha
        : throw new ArgumentException($"α of a fixed entropy term is {alpha}; it must be finite");

    public string Name => "fixed";

    public JObject Settings => new() { ["alpha"] = alpha };

    public EntropyCoefficients Next(double textEntropy, double imageEntropy) => new(0, 0, alpha);

    public JObject SaveState() => [];

    public void RestoreState(JObject state)
    {
    }
}

/// <summary>Settings of one adaptive coefficient.</summary>
public sealed record EntropyControllerConfig
{
    /// <summary>H*, the entropy to hold, in nats. The paper: 2.0 for text, 7.0 for images. At least 0.</summary>
    public required double Target { get; init; }

    /// <summary>Adam's learning rate of ψ. Default 5e-5 (janus_rl.sh); above 0.</summary>
    public double LearningRate { get; init; } = 5e-5;

    /// <summary>Largest |α| after a micro-batch. Default 5e-3 (janus_rl.sh); above 0.</summary>
    public double Bound { get; init; } = 5e-3;

    /// <summary>α at the start. Default 0. As in the reference one beyond the bound weighs the first micro-batch as it
    /// is and is taken back after it; the settings of a run refuse it.</summary>
    public double InitialAlpha { get; init; }

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(this, Target, Target >= 0, "at least 0");
        Require(this, LearningRate, LearningRate > 0, "above 0");
        Require(this, Bound, Bound > 0, "above 0");
        Require(this, InitialAlpha, true, "a number");
    }
}

/// <summary>One adaptive coefficient. Its numbers are fp32, as the reference's are.</summary>
public sealed class EntropyController
{
    private const double Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8;
    private float psi, first, second;
    private int steps;

    public EntropyController(EntropyControllerConfig config)
    {
        config.Validate();
        Config = config;
        psi = (float)Math.Asinh(config.InitialAlpha);
    }

    /// <summary>Target, learning rate and bound.</summary>
    public EntropyControllerConfig Config { get; }

    /// <summary>α = sinh ψ.</summary>
    public float Alpha => (float)Math.Sinh(psi);

    /// <summary>ψ.</summary>
    public float Psi => psi;

    /// <summary>Adam's moments.</summary>
    public (float First, float Second) Moments => (first, second);

    /// <summary>Learns from one micro-batch.</summary>
    /// <returns>The controller's own loss before the step, −α (H − H*).</returns>
    public double Update(double entropy)
    {
        var excess = (float)entropy - (float)Config.Target;
        var loss = -Alpha * excess;
        var gradient = -(float)Math.Cosh(psi) * excess;
        steps++;
        first = MathF.FusedMultiplyAdd((float)(1 - Beta1), gradient - first, first);
        second = MathF.FusedMultiplyAdd((float)(1 - Beta2) * gradient, gradient, second * (float)Beta2);
        var denominator = MathF.Sqrt(second) / (float)Math.Sqrt(1 - Math.Pow(Beta2, steps)) + (float)Epsilon;
        psi = MathF.FusedMultiplyAdd((float)(-Config.LearningRate / (1 - Math.Pow(Beta1, steps))), first / denominator,
            psi);
        psi = (float)Math.Asinh(Math.Clamp(Alpha, -(float)Config.Bound, (float)Config.Bound));
        return loss;
    }

    internal JObject SaveState() => new() { ["psi"] = psi, ["first"] = first, ["second"] = second, ["steps"] = steps };

    internal JObject Settings() => JObject.FromObject(Config);

    /// <summary>Reads a state; what it gives back takes it over.</summary>
    internal Action ReadState(JObject state)
    {
        var read = ((float)state["psi"]!, (float)state["first"]!, (float)state["second"]!, (int)state["steps"]!);
        return () => (psi, first, second, steps) = read;
    }
}

/// <summary>The paper's adaptive entropy loss: one controller for text, one for images.</summary>
public sealed class AdaptiveEntropyTerm(EntropyControllerConfig text, EntropyControllerConfig image) : IEntropyStrategy
{
    /// <summary>Targets and settings of janus_rl.sh.</summary>
    public static AdaptiveEntropyTerm Paper => new(new() { Target = 2 }, new() { Target = 7 });

    public string Name => "adaptive";

    public JObject Settings => new() { ["text"] = Text.Settings(), ["image"] = Image.Settings() };

    public EntropyController Text { get; } = new(text);

    public EntropyController Image { get; } = new(image);

    public EntropyCoefficients Next(double textEntropy, double imageEntropy)
    {
        var used = new EntropyCoefficients(Text.Alpha, Image.Alpha);
        Text.Update(textEntropy);
        Image.Update(imageEntropy);
        return used;
    }

    public JObject SaveState() => new() { ["text"] = Text.SaveState(), ["image"] = Image.SaveState() };

    public void RestoreState(JObject state)
    {
        var (text, image) = (Text.ReadState((JObject)state["text"]!), Image.ReadState((JObject)state["image"]!));
        text();
        image();
    }
}
