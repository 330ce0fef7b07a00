using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Notebook;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;

namespace ReasonGen.Host.Commands;

/// <summary>What GRPO learns from, and what every run is held against.</summary>
internal static class TrainData
{
    internal const string DrawnWorld = "world";
    private const long PromptPurpose = 22, HeldOutPurpose = 23; // as a Study's

    internal static bool IsWorld(IReadOnlyList<string> paths) => paths is [DrawnWorld] && !Path.Exists(DrawnWorld);

    /// <summary>Looks whether data are there.</summary>
    /// <exception cref="UnusableFileException">They are not.</exception>
    internal static void Expect(TrainingStage stage, params IEnumerable<IReadOnlyList<string>> all)
    {
        foreach (var paths in all.Where(paths => !IsWorld(paths)))
        {
            var missing = stage == TrainingStage.Sft ? null : paths.FirstOrDefault(path => !File.Exists(path));
            _ = stage == TrainingStage.Sft ? SftSets.Files(paths) : [];
            if (missing is not null)
            {
                throw new UnusableFileException(missing, "there is no such file", "give a text file with a prompt a "
                    + "line, or .jsonl with GenEval's metadata");
            }
        }
    }

    /// <summary>Looks whether the reward can read every prompt, and knows what to look for, before a model is
    /// loaded.</summary>
    /// <exception cref="UnusableFileException">A prompt holds what its judge takes for the image.</exception>
    /// <exception cref="UsageException">No prompt says what a part looks for.</exception>
    internal static void ExpectReadable(IReadOnlyList<RewardPart> rewards,
        params IEnumerable<IReadOnlyList<string>> all)
    {
        foreach (var paths in all.Where(paths => paths.Count > 0 && !IsWorld(paths) && rewards.Count > 0))
        {
            var prompts = PromptFiles.Read(paths, _ => 0, 0).Prompts;
            if (rewards.FirstOrDefault(one => one.NeedsInclude) is { } blind
                && prompts.All(prompt => prompt.Include.Count == 0))
            {
                throw new UsageException($"--judge {blind.Spec} looks for the objects that a prompt asks for, and no "
                    + $"prompt of {string.Join(", ", paths)} says which: give GenEval's metadata (.jsonl with "
                    + "\"include\")");
            }

            foreach (var prompt in prompts)
            {
                if (rewards.FirstOrDefault(one => one.Mark?.Invoke(prompt.Text) is not null) is { } part)
                {
                    throw new UnusableFileException(string.Join(", ", paths),
                        $"the prompt '{prompt.Text}' holds {part.Mark!(prompt.Text)}, which marks the image's place in "
                        + $"the question that the judge {part.Spec} is asked", "take it out of the prompt, or the "
                        + "prompt out of the file");
                }
            }
        }
    }

    /// <summary>Tells data from others: names, lengths and samples of the bytes.</summary>
    internal static string Fingerprint(IReadOnlyList<string> paths) => IsWorld(paths) ? DrawnWorld
        : string.Join(' ', paths.Select(path =>
            Directory.Exists(path) ? Fingerprint(SftSets.Files([path])) : ModelOptions.Fingerprint(path)));

    /// <summary>Samples or prompts that data hold; null where there is no end of them.</summary>
    internal static long? Count(TrainingStage stage, IReadOnlyList<string> paths) => IsWorld(paths) ? null
        : stage == TrainingStage.Sft ? SftSets.Files(paths).Sum(file => SftParquet.Open(file).Count)
        : PromptFiles.Read(paths, _ => 0, 0).Prompts.Count;

    /// <summary>Prompts of a run by number, held-out ones, all there are, and how many were too long.</summary>
    internal static (Func<long, Prompt> At, IReadOnlyList<Prompt> HeldOut, IReadOnlyList<Prompt> All, int LeftOut)
        Prompts(IReadOnlyList<string> paths, IReadOnlyList<string> heldOut, RunConfig config, JanusPipeline pipeline)
    {
        int Tokens(string prompt) => 1 + pipeline.Tokenizer.Encode(pipeline.Style.Rl.Fill(prompt)).Length;
        Prompt Drawn(long purpose, long i) => World.Prompts.Draw(Seeds.Random(config.Run.Seed, purpose, i));
        Prompt[] Some(int count) => [.. Enumerable.Range(0, count).Select(i => Drawn(HeldOutPurpose, i))];
        var world = IsWorld(paths);
        var validated = IsWorld(heldOut) || (heldOut.Count == 0 && world) ? Some(config.Run.ValidationSamples)
            : heldOut.Count == 0 ? []
            : Shuffled(PromptFiles.Read(heldOut, Tokens, config.PromptTokens).Prompts, config.Run.Seed);
        if (world)
        {
            return (i => Drawn(PromptPurpose, i), validated, Some(4), 0);
        }

        var files = PromptFiles.Read(paths, Tokens, config.PromptTokens);
        return (i => files.At(i, config.Grpo.Seed), validated, files.Prompts, files.LeftOut);
    }

    // files are sorted by task: their first prompts would be of one alone
    internal static Prompt[] Shuffled(IEnumerable<Prompt> prompts, long seed)
    {
        Prompt[] all = [.. prompts];
        Seeds.Random(seed, HeldOutPurpose).Shuffle(all);
        return all;
    }

    internal static int Side(JanusConfig model) =>
        (int)Math.Sqrt(model.ImageTokens) * model.ImageTokenizer.PixelsPerCode;

    /// <summary>Looks whether a model draws images of the drawn world's size, where it learns from that.</summary>
    /// <exception cref="UsageException">It does not.</exception>
    internal static void ExpectSize(JanusConfig model, params IEnumerable<IReadOnlyList<string>> all)
    {
        if (all.Any(IsWorld) && Side(model) != WorldConfig.ImageSize)
        {
            throw new UsageException($"the drawn world has images of {WorldConfig.ImageSize} pixels a side, this model "
                + $"draws {Side(model)}; give --data parquet files (sft) or files of prompts (grpo)");
        }
    }
}

/// <summary>Batches by number.</summary>
/// <param name="Batch">The batch of a number.</param>
/// <param name="PerBatch">Samples of a batch.</param>
/// <param name="Prompts">A few prompts of them.</param>
/// <param name="Count">Samples in all; null where there is no end of them.</param>
internal sealed record SampleBatches(Func<long, SftBatch> Batch, int PerBatch, string[] Prompts, long? Count);

/// <summary>What fine-tuning learns from.</summary>
/// <param name="pipeline">Whose tokenizers read it.</param>
/// <param name="config">Settings.</param>
/// <param name="world">Settings of the drawn world.</param>
/// <param name="say">Told what is made before training.</param>
/// <param name="cancel">Ends that.</param>
internal sealed class TrainSamples(
    JanusPipeline pipeline, RunConfig config, WorldBatchConfig world, Action<string> say, CancellationToken cancel)
{
    private const int Shown = 4;
    private const long StreamPurpose = 12, HeldOutPurpose = 13; // as a Study's

    /// <summary>Samples to learn from.</summary>
    internal SampleBatches Of(IReadOnlyList<string> paths) =>
        TrainData.IsWorld(paths) ? Drawn(StreamPurpose, world) : Parquet(paths, config.Data);

    /// <summary>Samples to be held against, all with their texts; null for none.</summary>
    internal SampleBatches? HeldOut(IReadOnlyList<string> paths, IReadOnlyList<string> heldOut) =>
        TrainData.IsWorld(heldOut) || (heldOut.Count == 0 && TrainData.IsWorld(paths))
            ? Drawn(HeldOutPurpose, world with { PromptDropout = 0 })
            : heldOut.Count == 0 ? null
            : Parquet(heldOut, config.Data with { PromptDropout = 0 }, config.Run.ValidationSamples);

    private SampleBatches Drawn(long purpose, WorldBatchConfig batch)
    {
        var stream = new WorldStream(new(), Seeds.Mix(config.Run.Seed, purpose));
        var batches = new WorldBatches(stream, pipeline.Model.ImageTokenizer, pipeline.Tokenizer, pipeline.Style.Sft,
            batch);
        return new(batches.Rationale, batch.SamplesPerStep,
            [.. stream.Take(0, Shown).Select(sample => sample.Prompt.Text)], null);
    }

    // of more rows than are asked for some from everywhere
    private SampleBatches Parquet(IReadOnlyList<string> paths, SftRowBatchConfig batch, long most = long.MaxValue)
    {
        var files = SftSets.Files(paths);
        var sets = new SftSets([.. files.Select((file, number) => Set(file, number, batch))],
            pipeline.Tokenizer.Special, batch);
        string[] prompts = [.. SftParquet.Open(files[0]).Rows().Take(Shown)
            .Select(row => PromptAugmentation.WithoutFullStop((string?)row.Record["brief_caption"] ?? ""))];
        return new(most < sets.Count ? number => sets.Spread(number, most) : sets.Batch, batch.SamplesPerStep,
            [.. prompts.Where(prompt => prompt.Length > 0)], sets.Count);
    }

    private (SftRowBatches Samples, long Count) Set(string file, int number, SftRowBatchConfig batch)
    {
        var set = SftParquet.Open(file);
        var codes = new ImageCodeCache(set, pipeline.Model.ImageTokenizer, TrainData.Side(pipeline.Model.Config),
            ImageFile.Decode, say);
        foreach (var (done, of) in codes.Make(cancel))
        {
            say($"Image codes of {Path.GetFileName(file)}: {done} of {of} row groups.");
        }

        cancel.ThrowIfCancellationRequested();
        var seed = number == 0 ? batch.Seed : Seeds.Mix(batch.Seed, number);
        return (new(set, codes, pipeline.Tokenizer, pipeline.Style.Sft, batch with { Seed = seed }), set.Count);
    }
}
