using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>A policy as people use it: prompts in, rationales and images out.</summary>
/// <param name="model">The policy.</param>
/// <param name="tokenizer">Its tokenizer.</param>
/// <param name="template">Wraps a prompt.</param>
/// <param name="config">How rollouts are drawn.</param>
/// <param name="device">Of the policy's weights.</param>
public sealed class PolicySampler(
    IImageTextModel model, ITokenizer tokenizer, PromptTemplate template, RolloutConfig config, Device device)
    : IRolloutSource
{
    private readonly RolloutSampler sampler = new(model, tokenizer.Special, config);

    internal const int ImagesAtATime = 16; // decoded together on a GPU
    private const int SmallImagesAtATime = 24, CodesOfSmallImage = 256; // on a CPU, on each thread

    public RolloutConfig Config => sampler.Config;

    /// <summary>Told after each token how many of a rollout's are done, from several threads; what it throws ends
    /// the rollouts.</summary>
    public Action<int>? TokenDone { get; set; }

    public void CheckPolicy(IImageTextModel policy, double temperature)
    {
        if (!ReferenceEquals(policy, model))
        {
            throw new ArgumentException("rollouts are sampled from another model than the one in training",
                nameof(policy));
        }

        if (temperature != Config.Temperature)
        {
            throw new ArgumentException(
                $"rollouts are drawn at temperature {Config.Temperature}, log-probs taken at {temperature}: give both "
                + $"one temperature",
                nameof(temperature));
        }
    }

    public RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed)
    {
        using var scope = NewDisposeScope();
        var (ids, mask) = PromptRows(prompts.Select(prompt => prompt.Text), rolloutsPerPrompt);
        var parts = PartsOf((int)ids.shape[0]);
        RolloutBatch Sample(int part) => GeneratePart(ids, mask, seed, part);
        if (parts == 1)
        {
            return Sample(0);
        }

        RolloutBatch[] batches =
            Config.Parts > 1 && device.type == DeviceType.CPU ? ParallelParts.Run(parts, Sample)
            : [.. Enumerable.Range(0, parts).Select(Sample)];
        static long[] AllRows(RolloutBatch batch) => [.. Enumerable.Range(0, batch.Count).Select(row => (long)row)];
        var joined = RolloutBatch.Join([.. batches.Select(batch => (batch, AllRows(batch)))]);
        Array.ForEach(batches, batch => batch.Dispose());
        return joined;
    }

    /// <summary>Parts that so many rows are sampled in, each with a seed of its own.</summary>
    public int PartsOf(int rows) =>
        (int)Math.Max(Math.Min(Config.Parts, rows), Math.Ceiling(rows / (double)Config.RowsAtATime));

    /// <summary>One part of what <see cref="Generate"/> gives: its rows, as they come there.</summary>
    public RolloutBatch GeneratePart(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed, int part)
    {
        using var scope = NewDisposeScope();
        var (ids, mask) = PromptRows(prompts.Select(prompt => prompt.Text), rolloutsPerPrompt);
        return GeneratePart(ids, mask, seed, part);
    }

    private RolloutBatch GeneratePart(Tensor ids, Tensor mask, long seed, int part)
    {
        using var scope = NewDisposeScope();
        var (rows, parts) = (ids.shape[0], PartsOf((int)ids.shape[0]));
        long start = rows * part / parts, count = rows * (part + 1) / parts - start;
        return sampler.Generate(ids.narrow(0, start, count), mask.narrow(0, start, count),
            parts == 1 ? seed : Seeds.Mix(seed, part), TokenDone);
    }

    /// <summary>Prompts as the sampler reads them: bos, the filled template, left-padded to the longest. [N·G, P]
    /// each.</summary>
    /// <exception cref="ArgumentException">A prompt leaves no room for what is to follow.</exception>
    public (Tensor Ids, Tensor Mask) PromptRows(IEnumerable<string> prompts, int copies = 1)
    {
        int[] Tokens(string prompt)
        {
            var encoded = tokenizer.Encode(template.Fill(prompt));
            Config.CheckPrompt(prompt, encoded.Length + 1, model.Positions);
            return encoded;
        }

        int[][] tokens = [.. prompts.Select(Tokens)];
        var longest = tokens.Max(row => row.Length);
        var rows = tokens.Select(row => PromptRow.Build(row, longest, tokenizer.Special)).ToArray();
        Tensor Stack(Func<PromptRow, long[]> of) =>
            tensor(rows.SelectMany(of).ToArray(), [rows.Length, longest + 1], device: device).repeat_interleave(copies,
                0);
        return (Stack(row => row.Ids), Stack(row => row.AttentionMask));
    }

    /// <summary>The tokens of each rationale, begin-of-image included.</summary>
    public int[][] RationaleTokens(RolloutBatch rollouts) =>
        RolloutText.RationaleTokens(rollouts, tokenizer.Special.BeginOfImage);

    public string[] Rationales(RolloutBatch rollouts) => RolloutText.Rationales(rollouts, tokenizer);

    public RgbImage[] Images(RolloutBatch rollouts)
    {
        using var scope = NewDisposeScope();
        var small = device.type == DeviceType.CPU && rollouts.ImageCodes.shape[1] <= CodesOfSmallImage;
        var most = small ? SmallImagesAtATime : device.type == DeviceType.CPU ? int.MaxValue : ImagesAtATime;
        int rows = Math.Min(Math.Min(most, Config.RowsAtATime), rollouts.Count);
        var passes = (rollouts.Count + rows - 1) / rows;
        return [.. ParallelParts.Run(passes, pass =>
        {
            using var free = no_grad(); // of this thread
            using var some = NewDisposeScope();
            var codes = rollouts.ImageCodes.narrow(0, pass * rows, Math.Min(rows, rollouts.Count - pass * rows));
            return ImageTensors.FromTensor(model.DecodeImage(codes));
        }, small ? get_num_threads() : 1).SelectMany(images => images)];
    }
}

/// <summary>What rollouts say.</summary>
internal static class RolloutText
{
    /// <summary>The tokens of each rationale, begin-of-image included.</summary>
    internal static int[][] RationaleTokens(RolloutBatch rollouts, int beginOfImage)
    {
        using var scope = NewDisposeScope();
        var columns = rollouts.ResponseColumns;
        var ids = rollouts.Ids.narrow(1, rollouts.PromptColumns, columns).Values<long>();
        return [.. Enumerable.Range(0, rollouts.Count).Select(row =>
        {
            var response = ids.AsSpan(row * columns, columns);
            return response[..(response.IndexOf(beginOfImage) + 1)].ToArray().Select(id => (int)id).ToArray();
        })];
    }

    /// <summary>The rationale of each rollout as text; empty where there is none.</summary>
    internal static string[] Rationales(RolloutBatch rollouts, ITokenizer tokenizer) =>
        [.. RationaleTokens(rollouts, tokenizer.Special.BeginOfImage).Select(tokens => tokenizer.Decode(tokens))];
}
