using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Optimization;
using ReasonGen.Ranks;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Served;
using ReasonGen.Setups;
using ReasonGen.Sft;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Runs;

/// <summary>How far a run is.</summary>
/// <param name="Done">Steps done.</param>
/// <param name="Total">Steps of the whole run.</param>
/// <param name="SecondsPerStep">Mean of the newest steps.</param>
/// <param name="Metrics">All numbers so far.</param>
public sealed record RunProgress(long Done, long Total, double SecondsPerStep, MetricsTable Metrics)
{
    /// <summary>What the steps to come will take, as the newest did.</summary>
    public TimeSpan Left =>
        TimeSpan.FromSeconds(Math.Min(SecondsPerStep * (Total - Done), TimeSpan.MaxValue.TotalSeconds / 2));
}

/// <summary>
/// An unattended run of either stage: steps, state, validation, checkpoints and sample images, resumed to the same
/// numbers by the same call. What is due
/// after a step comes before its state, so that a killed run makes it again; what an interrupt broke off is made up for
/// when the run goes on.
/// </summary>
public sealed class TrainingRun : IDisposable
{
    private const int NewestSteps = 20, PromptsAtATime = 16;
    private const string Writing = "files of the first";
    private const long ValidationPurpose = 0x7B, SamplePurpose = 0x7C;
    private readonly RunParts parts;
    private readonly RunFolder folder;
    private readonly RunTrainer trainer;
    private readonly RunControl control;
    private readonly MetricsTable metrics, validations;

    /// <summary>Builds the run, and goes on from the folder's state where there is one.</summary>
    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    /// <exception cref="Checkpoints.UnusableFileException">The state is damaged, or of another run.</exception>
    public TrainingRun(RunParts parts, RunFolder folder)
    {
        parts.Config.Validate();
        (this.parts, this.folder, control, trainer) = (parts, folder, parts.Config.Run, RunTrainer.Of(parts));
        if (File.Exists(folder.State))
        {
            parts.Ranks.Awaited(() => trainer.Resume(folder.State), "reading the saved state"); // each reads it whole
        }

        if (First)
        {
            folder.Forget(Done);
        }

        var events = First ? utils.tensorboard.SummaryWriter(folder.Folder) : null;
        metrics = new(folder.In("metrics.csv"), Done, events);
        validations = new(folder.In("validation.csv"), Done + 1, events, "validation");
        if (First)
        {
            folder.SettleBest(Measure is null ? RunFolder.StepOf(folder.Best) : Best?.Step, Best?.Step == Done);
            folder.GoOn(Done);
        }
    }

    // the one that writes
    private bool First => parts.Ranks.Rank == 0;

    /// <summary>Steps done so far.</summary>
    public long Done => trainer.Done();

    /// <summary>Steps of the whole run.</summary>
    public long Total => trainer.Total;

    /// <summary>What validation measures, and whether more of it is better.</summary>
    public (string Name, bool MoreIsBetter)? Measure => parts.Stage == TrainingStage.Sft ? parts.HeldOut is null ? null
        : ("loss", false)
        : parts.HeldOutPrompts.Count == 0 ? null : ("reward", true);

    /// <summary>The best validation so far; null where there was none.</summary>
    public (long Step, double Value)? Best => Measure is not { } measure || validations.Rows.Count == 0 ? null
        : Row(validations.Rows.MaxBy(row => double.IsNaN(row[1]) ? double.NegativeInfinity
            : measure.MoreIsBetter ? row[1] : -row[1])!);

    /// <summary>Told after each step; one who throws ends the run, whose state is saved.</summary>
    public event Action<RunProgress>? Stepped;

    /// <summary>Trains to the end. Several ranks all call it. Where a step of a single process fails before it changes
    /// a weight, and its loss was finite, the steps before are saved.</summary>
    /// <param name="cancel">Asks it to end; of several ranks what they agree on
    /// (<see cref="SharedCancellation"/>).</param>
    /// <exception cref="OperationCanceledException">It was asked to end; its state is saved.</exception>
    public void Run(CancellationToken cancel = default)
    {
        var validated = validations.Rows.Count;
        try
        {
            AfterStep(cancel);
            if (validations.Rows.Count > validated)
            {
                SaveState(); // what was made up for may be all that is left to do
            }
            else if (First)
            {
                folder.TakeBetter(); // made up for: the state knows of it
            }

            while (Done < Total)
            {
                parts.End?.Look();
                cancel.ThrowIfCancellationRequested();
                metrics.Add(Done, trainer.Step(cancel));
                Stepped?.Invoke(Progress());
                AfterStep(cancel);
                if (IsDue(control.SaveEvery) || Done == Total)
                {
                    SaveState();
                }
            }
        }
        catch (Exception e) when (Done > 0 && e is not NonFiniteLossException // which names the state to go back to
            && (parts.Ranks.Size == 1 // one of several ranks cannot save alone: these are thrown on all
                || e is EndpointException or TooFewGroupsException or OperationCanceledException))
        {
            StepGuard.SaveWhole(SaveState);
            throw;
        }

        parts.Ranks.ByFirst(() =>
        {
            if (!folder.Holds(folder.Final, Done))
            {
                Export(folder.Final);
            }
        }, Writing);
    }

    public void Dispose() => trainer.Trainer.Dispose();

    private static (long, double) Row(double[] row) => ((long)row[0], row[1]);

    private bool IsDue(int every) => every > 0 && Done % every == 0;

    private RunProgress Progress()
    {
        var seconds = metrics.Columns.ToList().IndexOf("seconds");
        return new(Done, Total, metrics.Rows.TakeLast(NewestSteps).Average(row => row[seconds]), metrics);
    }

    // What is due now and not there yet: of a run that goes on, it may be.
    private void AfterStep(CancellationToken cancel)
    {
        var (last, step) = (Done == Total, Done);
        if (parts.SamplePrompts.Count > 0 && control.SampleEvery > 0 && (IsDue(control.SampleEvery) || last)
            && parts.Ranks.Any(First && !File.Exists(folder.Samples(step) + ".png"), "whether samples are due"))
        {
            DrawSamples(cancel);
        }

        if (step > 0 && Measure is not null && control.ValidateEvery > 0 && (IsDue(control.ValidateEvery) || last)
            && validations.Rows.All(row => row[0] != step))
        {
            validations.Add(step,
                [(Measure.Value.Name, parts.Stage == TrainingStage.Sft ? HeldOutLoss(cancel) : HeldOutReward(cancel))]);
        }

        var best = Best?.Step == step; // whether or not it is new: an export may have failed
        if (step > 0 && (best || IsDue(control.CheckpointEvery)))
        {
            parts.Ranks.ByFirst(() => ExportDue(best), Writing);
        }
    }

    private void ExportDue(bool best)
    {
        if (best && RunFolder.StepOf(folder.Best) != Done && RunFolder.StepOf(folder.Better) != Done)
        {
            Export(folder.Better);
        }

        if (IsDue(control.CheckpointEvery))
        {
            if (RunFolder.StepOf(folder.Checkpoint(Done)) is null)
            {
                Export(folder.Checkpoint(Done));
            }

            folder.Prune(control.Keep); // what was killed at it left the rest
        }
    }

    private void SaveState()
    {
        if (First)
        {
            metrics.Save();
            validations.Save();
        }

        trainer.Save(folder.State);
        parts.Ranks.ByFirst(folder.TakeBetter, "saved state"); // nobody goes on, or ends, before it is there
    }

    private void Export(string path)
    {
        var training = (JObject)parts.Provenance.DeepClone();
        (training["stage"], training["step"], training["run"]) =
            (parts.Stage.ToString().ToLowerInvariant(), Done, folder.Identity);
        if (validations.Rows.Count > 0 && (long)validations.Rows[^1][0] == Done)
        {
            training[$"validation_{Measure!.Value.Name}"] = validations.Rows[^1][1];
        }

        RunFolder.Fill(path, parts.Export, training);
    }

    // each sample once; a micro-batch weighs what it has samples
    private double HeldOutLoss(CancellationToken cancel)
    {
        using var free = no_grad();
        var (config, losses, ranks, sizes) = (parts.Config.Sft, new List<double>(), parts.Ranks, new List<int>());
        var total = (int)Math.Min(control.ValidationSamples, parts.HeldOutCount ?? int.MaxValue);
        for (var done = 0; done < total; done += parts.HeldOutSamples)
        {
            using var batch = parts.HeldOut!(done / parts.HeldOutSamples).To(parts.Policy.Device);
            var count = Math.Min(batch.Count, total - done);
            for (var start = 0; start < count; start += config.MicroBatchSamples)
            {
                cancel.ThrowIfCancellationRequested();
                sizes.Add(Math.Min(config.MicroBatchSamples, count - start));
                if ((sizes.Count - 1) % ranks.Size != ranks.Rank)
                {
                    continue;
                }

                using var scope = NewDisposeScope();
                var some = batch.Slice(start, sizes[^1]);
                losses.Add(SftLoss.Compute(parts.Policy, some, parts.Special.BeginOfImage, config.TextScale,
                    config.ImageScale,
                    config.BeginOfImageScale).Total.ToDouble());
            }
        }

        return ranks.Dealt(losses, "losses of a validation").Zip(sizes, (loss, size) => loss * size).Sum()
            / sizes.Sum();
    }

    private double HeldOutReward(CancellationToken cancel)
    {
        var rewards = new List<float>();
        foreach (var (i, prompts) in parts.HeldOutPrompts.Take(control.ValidationSamples).Chunk(PromptsAtATime).Index())
        {
            cancel.ThrowIfCancellationRequested();
            using var rollouts = parts.Source.Generate(prompts, 1, Seeds.Mix(control.Seed, ValidationPurpose, i));
            var (images, rationales) = (parts.Source.Images(rollouts), parts.Source.Rationales(rollouts));
            rewards.AddRange(parts.Reward!.Score(
                [.. images.Select((image, row) => new RewardRequest(prompts[row], rationales[row], image))], cancel));
        }

        return rewards.Where(reward => !float.IsNaN(reward)).Select(reward => (double)reward).DefaultIfEmpty(double.NaN)
            .Average();
    }

    // a row a prompt; what was thought beside it
    private void DrawSamples(CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        var path = folder.Samples(Done);
        using var rollouts =
            parts.Source.Generate(parts.SamplePrompts, control.SampleImages, Seeds.Mix(control.Seed, SamplePurpose));
        var rationales = parts.Source.Rationales(rollouts);
        var words = parts.SamplePrompts.Select((prompt, p) =>
            string.Join('\n', rationales.Skip(p * control.SampleImages).Take(control.SampleImages)
            .Select((rationale, i) => $"  {i + 1}: {rationale.ReplaceLineEndings(" ")}").Prepend(prompt.Text)) + "\n");
        var images = parts.Source.Images(rollouts);
        if (First)
        {
            AtomicFile.Write(path + ".txt", string.Join('\n', words));
            AtomicFile.Write(path + ".png", Png.Encode(ImageTensors.Grid(images, control.SampleImages)));
        }
    }
}
