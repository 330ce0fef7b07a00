// Trains the image tokenizer:  loss = mean((x' − x)²) + λ₁ mean|x' − x| + commit + entropy,  AdamW with a cosine.
//   Codebook by moving averages instead of a gradient: n ← γ n + (1 − γ) count,  s ← γ s + (1 − γ) Σ ẑ,  e = s / n.
//   Codes that die are moved onto latents of the batch, for the first part of training.
// Deviation: Janus's tokenizer was trained with perceptual and adversarial losses as well; flat drawings need neither.
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>Settings of the tokenizer's training.</summary>
public sealed record VqTrainerConfig
{
    /// <summary>Optimizer steps. At least 1.</summary>
    public required int TotalSteps { get; init; }

    /// <summary>Peak learning rate. Default 3e-3; above 0.</summary>
    public double LearningRate { get; init; } = 3e-3;

    /// <summary>Weight λ₁ of the absolute error beside the squared one. Default 0.3; at least 0.</summary>
    public double AbsoluteErrorScale { get; init; } = 0.3;

    /// <summary>γ, the memory of the codebook's averages. Default 0.98; in [0, 1).</summary>
    public double CodebookDecay { get; init; } = 0.98;

    /// <summary>Dead codes are moved every so many steps. Default 20; at least 1.</summary>
    public int ResetInterval { get; init; } = 20;

    /// <summary>Share of training in which dead codes are moved. Default 0.7; in [0, 1].</summary>
    public double ResetShare { get; init; } = 0.7;

    /// <summary>Seed of the moves. Default 1.</summary>
    public long Seed { get; init; } = 1;

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        if (!(TotalSteps >= 1 && LearningRate > 0 && AbsoluteErrorScale >= 0 && CodebookDecay is >= 0 and < 1
            && ResetInterval >= 1 && ResetShare is >= 0 and <= 1))
        {
            throw new ArgumentException(
                "steps and the interval of moves must be at least 1, the learning rate above 0, the scale of the "
                + $"absolute error at least 0, the codebook's memory in [0, 1) and the share of training with moves "
                + $"in [0, 1]: {this}");
        }
    }
}

/// <summary>What one step did.</summary>
/// <param name="Step">Counted from 0.</param>
/// <param name="Loss">Whole loss.</param>
/// <param name="SquaredError">Of the reconstruction, pixels in [-1, 1].</param>
/// <param name="CodesInUse">Codes that the batch used.</param>
/// <param name="Perplexity">exp of the entropy of code use in the batch.</param>
/// <param name="Seconds">Wall clock.</param>
public sealed record VqStep(long Step, double Loss, double SquaredError, int CodesInUse, double Perplexity,
    double Seconds);

/// <summary>Trains a <see cref="VqTokenizer"/>, one step at a time, resumable to the same numbers.</summary>
public sealed class VqTrainer : IDisposable
{
    private readonly VqTokenizer tokenizer;
    private readonly Func<long, Tensor> batchOfStep;
    private readonly VqTrainerConfig config;
    private readonly AdamW optimizer;
    private readonly Tensor counts, sums;
    private readonly StepGuard guard = new();
    private string? lastSaved;

    /// <param name="tokenizer">Trained in place.</param>
    /// <param name="batchOfStep">Images [B, 3, H, W] in [-1, 1] of a step.</param>
    /// <param name="config">Settings.</param>
    public VqTrainer(VqTokenizer tokenizer, Func<long, Tensor> batchOfStep, VqTrainerConfig config)
    {
        config.Validate();
        (this.tokenizer, this.batchOfStep, this.config) = (tokenizer, batchOfStep, config);
        using var free = no_grad();
        optimizer = new AdamW(tokenizer.named_parameters().Where(p => !p.name.StartsWith("quantize"))
            .Select(p => (p.name, p.parameter)), 0.9, 0.99, 1e-4);
        counts = ones(tokenizer.Config.CodebookSize, device: tokenizer.Device).DetachFromDisposeScope();
        sums = nn.functional.normalize(tokenizer.CodebookWeight.detach().to(ScalarType.Float32), 2, 1, 1e-12)
            .DetachFromDisposeScope();
    }

    /// <summary>Steps taken so far.</summary>
    public long StepCount { get; private set; }

    /// <summary>Takes up to so many more steps; ends early at the configured total or when cancelled.</summary>
    public IEnumerable<VqStep> Steps(int count = int.MaxValue, CancellationToken cancel = default)
    {
        for (var i = 0; i < count && StepCount < config.TotalSteps && !cancel.IsCancellationRequested; i++)
        {
            yield return Step();
        }
    }

    /// <summary>Takes one step.</summary>
    /// <exception cref="NonFiniteLossException">The loss is not finite.</exception>
    public VqStep Step()
    {
        var watch = Stopwatch.StartNew();
        using var turn = guard.Step();
        using var scope = NewDisposeScope();
        var images = batchOfStep(StepCount).to(ScalarType.Float32, tokenizer.Device);
        optimizer.ZeroGradients();
        var (reconstruction, codes, latents, _, commitment, entropy) = tokenizer.Reconstruct(images);
        var error = reconstruction.sub(images);
        var squared = error.square().mean();
        var loss = squared.add(error.abs().mean().mul(config.AbsoluteErrorScale)).add(commitment).add(entropy);
        ActivationCheckpoint.Backward(loss);
        var norm = GradientClip.Apply(tokenizer.parameters(), 1);
        if (!double.IsFinite(norm) || !double.IsFinite(loss.ToDouble()))
        {
            throw new NonFiniteLossException("the tokenizer's loss", StepCount,
                $"batch {StepCount} of {images.shape[0]} images", lastSaved);
        }

        guard.Changing();
        optimizer.Step(config.LearningRate * Math.Min(1, (StepCount + 1) / 50.0)
            * Math.Max(0.02, LearningRate.Cosine(StepCount, 0, config.TotalSteps)));
        var used = UpdateCodebook(codes, latents.detach());
        var shares = used.div(used.sum());
        var perplexity = shares.mul(shares.clamp_min(1e-10).log()).sum().neg().exp().ToDouble();
        StepCount++;
        guard.Whole();
        return new(StepCount - 1, loss.ToDouble(), squared.ToDouble(), (int)used.gt(0).sum().item<long>(), perplexity,
            watch.Elapsed.TotalSeconds);
    }

    /// <summary>Writes all that <see cref="Resume"/> needs into one file.</summary>
    /// <exception cref="UnusableFileException">It cannot be written; an earlier state stays as it was.</exception>
    /// <exception cref="InvalidOperationException">The last step was broken off while it changed the
    /// weights.</exception>
    public void Save(string path)
    {
        using var turn = guard.Save();
        RunState.Save(path, Parameters(), optimizer,
            new JObject { ["step"] = StepCount, ["config"] = JObject.FromObject(config) }, Averages());
        lastSaved = path;
    }

    /// <summary>Goes on from a saved state.</summary>
    /// <exception cref="UnusableFileException">The state is missing, damaged, or of a run with other settings; nothing
    /// was changed.</exception>
    public void Resume(string path)
    {
        using var turn = guard.Step();
        StepCount = RunState.Load(path, Parameters(), optimizer, state =>
        {
            RunState.ExpectSettings(path, state["config"], JObject.FromObject(config));
            return RunState.Count(state, "step");
        }, Averages());
        lastSaved = path;
        guard.Whole();
    }

    private IEnumerable<(string Name, TorchSharp.Modules.Parameter Parameter)> Parameters() =>
        tokenizer.named_parameters().Select(p => (p.name, p.parameter));

    // of the codebook, in fp32 whatever the weights are
    private Dictionary<string, Tensor> Averages() => new() { ["average.counts"] = counts, ["average.sums"] = sums };

    private Tensor UpdateCodebook(Tensor codes, Tensor latents)
    {
        using var free = no_grad();
        var size = tokenizer.Config.CodebookSize;
        var used =
            zeros(size, device: codes.device).index_add_(0, codes, ones(codes.shape[0], device: codes.device), 1);
        counts.mul_(config.CodebookDecay).add_(used, 1 - config.CodebookDecay);
        sums.mul_(config.CodebookDecay).add_(zeros_like(sums).index_add_(0, codes, latents, 1),
            1 - config.CodebookDecay);
        if (StepCount > 0 && StepCount % config.ResetInterval == 0 && StepCount < config.ResetShare * config.TotalSteps)
        {
            // dead: used less than a twentieth as often as the average code
            var dead = counts.lt(0.05 * codes.shape[0] / size).nonzero().squeeze(1);
            using var generator = Seeds.Torch(config.Seed, StepCount);
            var chosen = torch.randint(0, latents.shape[0], dead.shape, ScalarType.Int64, CPU, generator: generator)
                .to(latents.device);
            sums.index_copy_(0, dead, latents.index_select(0, chosen));
            counts.index_fill_(0, dead, 1);
        }

        tokenizer.CodebookWeight.copy_(sums.div(counts.unsqueeze(1).clamp_min(1e-6)));
        return used;
    }

    public void Dispose()
    {
        optimizer.Dispose();
        counts.Dispose();
        sums.Dispose();
    }
}
