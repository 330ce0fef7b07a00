namespace ReasonGen.Optimization;

/// <summary>Factors on the base learning rate, by optimizer step (verl: torch_functional.py).</summary>
public static class LearningRate
{
    /// <summary>Linear from 0 over the warm-up, then half a cosine to 0. The first step of a warm-up has factor 0, as
    /// in the reference.</summary>
    public static double Cosine(long step, long warmupSteps, long totalSteps) =>
        step < warmupSteps ? step / (double)Math.Max(1, warmupSteps)
        : Math.Max(0, 0.5 * (1 + Math.Cos(Math.PI * (step - warmupSteps) / Math.Max(1, totalSteps - warmupSteps))));

    /// <summary>Linear from 0 over the warm-up, then 1. Factor 0 at step 0 even without warm-up, as in the
    /// reference.</summary>
    public static double Constant(long step, long warmupSteps) => Math.Min(1, step / (double)Math.Max(1, warmupSteps));

    /// <summary>Steps of a warm-up given as a share of all steps, rounded down.</summary>
    public static long WarmupSteps(double ratio, long totalSteps) => (long)(ratio * totalSteps);
}
