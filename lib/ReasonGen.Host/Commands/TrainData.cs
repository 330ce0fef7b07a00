using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Notebook;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Sft;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;

namespace ReasonGen.Host.Commands;

/// <summary>What a run learns from, and what it is held against.</summary>
internal static class TrainData
{
    private const string DrawnWorld = "world";
    private const long StreamPurpose = 12, HeldOutPurpose = 13, PromptPurpose = 22, HeldOutPrompts = 23; // as a Study's

    internal static bool IsWorld(IReadOnlyList<string> paths) => paths is [DrawnWorld] && !File.Exists(DrawnWorld);

    /// <summary>Tells data from others: names, lengths and samples of the bytes.</summary>
    internal static string Fingerprint(IReadOnlyList<string> paths) => IsWorld(paths) ? DrawnWorld
        : string.Join(' ', paths.Select(path => Directory.Exists(path) ? Fingerprint(SftSets.Files([path]))
        : ModelOptions.Fingerprint(path)));

    /// <summary>Training samples of a step, and held-out ones by number.</summary>
    /// <param name="paths">Parquet files and folders, or the drawn world.</param>
    /// <param name="heldOut">The same to validate on; none for none, or the world's own.</param>
    /// <param name="config">Settings.</param>
    /// <param name="world">Settings of the drawn world.</param>
    /// <param name="pipeline">Whose tokenizers read them.</param>
    /// <param name="say">Told what is made before training.</param>
    /// <param name="cancel">Ends that.</param>
    internal static (Func<long, SftBatch> Batches, Func<long, SftBatch>? HeldOut, int HeldOutSamples, string[] Prompts,
        long? Count) Sft(
        IReadOnlyList<string> paths, IReadOnlyList<string> heldOut, RunConfig config, WorldBatchConfig world,
            JanusPipeline pipeline,
        Action<string> say, CancellationToken cancel)
    {
        var (learned, validated) = (Samples(paths, StreamPurpose), heldOut.Count > 0 ? Samples(heldOut, HeldOutPurpose)
            : IsWorld(paths) ? Samples(paths, HeldOutPurpose) : default);
        return (learned.Batch, validated.Batch, validated.Each, learned.Prompts, learned.Count);

        (Func<long, SftBatch> Batch, int Each, string[] Prompts, long? Count) Samples(IReadOnlyList<string> from,
            long purpose)
        {
            if (!IsWorld(from))
            {
                var sets = Sets(from);
                var some = SftParquet.Open(SftSets.Files(from)[0]).ReadGroup(0).Take(4)
                    .Select(row => PromptAugmentation.WithoutFullStop((string?)row.Record["brief_caption"] ?? ""))
                    .Where(text => text.Length > 0);
                return (sets.Batch, config.Data.SamplesPerStep, [.. some], sets.Count);
            }

            ExpectWorld(pipeline);
            var stream = new WorldStream(new(), Seeds.Mix(config.Run.Seed, purpose));
            var batches = new WorldBatches(stream, pipeline.Model.ImageTokenizer, pipeline.Tokenizer,
                pipeline.Style.Sft, world);
            return (batches.Rationale, world.SamplesPerStep,
                [.. stream.Take(0, 4).Select(sample => sample.Prompt.Text)], null);
        }

        SftSets Sets(IReadOnlyList<string> from)
        {
            var side = Side(pipeline);
            var sets = SftSets.Files(from).Select((file, i) =>
            {
                var set = SftParquet.Open(file);
                var codes = new ImageCodeCache(set, pipeline.Model.ImageTokenizer, side, ImageFile.Decode);
                foreach (var (done, of) in codes.Make(cancel))
                {
                    say($"image codes of {Path.GetFileName(file)}: {done} of {of} row groups");
                }

                cancel.ThrowIfCancellationRequested();
                var seed = i == 0 ? config.Data.Seed : Seeds.Mix(config.Data.Seed, i);
                return (new SftRowBatches(set, codes, pipeline.Tokenizer, pipeline.Style.Sft,
                    config.Data with { Seed = seed }), set.Count);
            });
            return new([.. sets], pipeline.Tokenizer.Special, config.Data);
        }
    }

    /// <summary>Prompts of a run by number, and held-out ones.</summary>
    internal static (Func<long, Prompt> At, IReadOnlyList<Prompt> HeldOut, IReadOnlyList<Prompt> All, int LeftOut) Grpo(
        IReadOnlyList<string> paths, IReadOnlyList<string> heldOut, RunConfig config, JanusPipeline pipeline)
    {
        int Tokens(string prompt) => 1 + pipeline.Tokenizer.Encode(pipeline.Style.Rl.Fill(prompt)).Length;
        Prompt Drawn(long purpose, long i) => Prompts.Draw(Seeds.Random(config.Run.Seed, purpose, i));
        var world = IsWorld(paths);
        if (world)
        {
            ExpectWorld(pipeline);
        }

        var validated = IsWorld(heldOut) || (heldOut.Count == 0 && world)
            ? [.. Enumerable.Range(0, config.Run.ValidationSamples).Select(i => Drawn(HeldOutPrompts, i))]
            : heldOut.Count == 0 ? [] : PromptFiles.Read(heldOut, Tokens, config.PromptTokens).Prompts;
        if (world)
        {
            return (i => Drawn(PromptPurpose, i), validated,
                [.. Enumerable.Range(0, 4).Select(i => Drawn(HeldOutPrompts, i))], 0);
        }

        var files = PromptFiles.Read(paths, Tokens, config.PromptTokens);
        return (i => files.At(i, config.Grpo.Seed), validated, files.Prompts, files.LeftOut);
    }

    private static int Side(JanusPipeline pipeline) =>
        (int)Math.Sqrt(pipeline.Model.Config.ImageTokens) * pipeline.Model.Config.ImageTokenizer.PixelsPerCode;

    private static void ExpectWorld(JanusPipeline pipeline)
    {
        if (Side(pipeline) != WorldConfig.ImageSize)
        {
            throw new UsageException($"the drawn world has images of {WorldConfig.ImageSize} pixels a side, this "
                + $"model draws {Side(pipeline)}; "
                + "give --data parquet files (sft) or prompt files (grpo)");
        }
    }
}
