// Rows of a parquet set as training sequences (sft_dataset.py, janus_sft.sh): one of several wordings without its full
// stop, the template, the rationale as it is, the image codes; in a share of the samples the text is blanked.
// Deviation: rows are shuffled within their row group and row groups among themselves, anew each epoch, so that one row
// group is in memory.
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Rollouts;
using ReasonGen.Sft;
using ReasonGen.Tokenizers;
using TorchSharp;
using static ReasonGen.Core.SettingRange;

namespace ReasonGen.TrainingData;

/// <summary>Settings of training sequences from a parquet set.</summary>
public sealed record SftRowBatchConfig
{
    private const int MostSamples = 65536;

    /// <summary>Samples a step. Default 128 (janus_sft.sh); at least 1 and at most 65536.</summary>
    public int SamplesPerStep { get; init; } = 128;

    /// <summary>Share of samples whose text is blanked. Default 0.1 (janus_sft.sh); in [0, 1].</summary>
    public double PromptDropout { get; init; } = 0.1;

    /// <summary>Wordings to choose from, those of the published sets or a set's own; none takes brief_caption. Default:
    /// those of janus_sft.sh.</summary>
    public IReadOnlyList<string> Wordings { get; init; } = PromptAugmentation.PaperKeys;

    /// <summary>Most tokens of a sequence; a longer one is an error, as in the reference. Default 1280 (janus_sft.sh);
    /// at least 1.</summary>
    public int MaxTokens { get; init; } = 1280;

    /// <summary>Seed of order, wordings and dropout. Default 1.</summary>
    public long Seed { get; init; } = 1;

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(this, SamplesPerStep, SamplesPerStep is >= 1 and <= MostSamples,
            $"at least 1 and at most {MostSamples}");
        Require(this, MaxTokens, MaxTokens >= 1, "at least 1");
        Require(this, PromptDropout, PromptDropout is >= 0 and <= 1, "in [0, 1]");
    }
}

/// <summary>Turns rows of a parquet set into training batches: a pure function of the step, cheapest when steps follow
/// each other.</summary>
public sealed class SftRowBatches
{
    private readonly SftParquet set;
    private readonly ImageCodeCache codes;
    private readonly ITokenizer tokenizer;
    private readonly PromptTemplate template;
    private readonly SftRowBatchConfig config;
    private (int Group, SftRow[] Rows, int[] Codes) held = (-1, [], []);

    /// <exception cref="ArgumentException">A setting is out of range, or the set is empty.</exception>
    /// <exception cref="UnusableFileException">A row has no rationale, or none of the wordings; it is named. Or a
    /// wording is none that sets are published with, and no row has it.</exception>
    public SftRowBatches(SftParquet set, ImageCodeCache codes, ITokenizer tokenizer, PromptTemplate template,
        SftRowBatchConfig config)
    {
        config.Validate();
        (this.set, this.codes, this.tokenizer, this.template, this.config) = (set, codes, tokenizer, template, config);
        if (set.Count == 0)
        {
            throw new ArgumentException($"{set.Path} holds no rows to train on", nameof(set));
        }

        // a set may lack what is published elsewhere; another name is its own, or misspelt
        string[] published = [.. PromptAugmentation.PaperKeys, "longIB_captions"];
        if (config.Wordings.Except(published).FirstOrDefault(key => !set.HasText(Column(key))) is { } unknown)
        {
            throw new UnusableFileException(set.Path, $"no row has the wording '{unknown}'",
                $"in data.wordings {(NearestNames.Of(unknown, published) is [var near] ? $"say {near}"
                    : $"choose from {string.Join(", ", published)}")}, or leave it out; "
                + "none at all takes brief_caption");
        }

        string[] prompts = config.Wordings.Count == 0 ? ["brief_caption"] : [.. config.Wordings.Select(Column)];
        foreach (var columns in new[] { ["detailed_caption"], prompts })
        {
            if (set.FirstWithout(columns) is { } row)
            {
                throw new UnusableFileException(set.Path, $"row {row} has no text in {string.Join(" or ", columns)}",
                    "write one, or remove the row");
            }
        }
    }

    /// <summary>Rows of the row group in memory.</summary>
    internal int RowsHeld => held.Rows.Length;

    /// <summary>Lets the row group in memory go; the next sample reads its own.</summary>
    internal void Release() => held = (-1, [], []);

    private static string Column(string wording) =>
        wording == "longIB_captions" ? wording : $"augmented_prompts.{wording}";

    /// <summary>The batch of a step.</summary>
    /// <exception cref="UnusableFileException">A row cannot be made a sample; it is named.</exception>
    public SftBatch Batch(long step)
    {
        var first = step * config.SamplesPerStep;
        return SftBatch.Build(Enumerable.Range(0, config.SamplesPerStep).Select(i => Sample(first + i)).ToArray(),
            tokenizer.Special);
    }

    /// <summary>Sample number <paramref name="index"/> of the endless sequence of epochs.</summary>
    public SftSample Sample(long index)
    {
        var (group, row) = Place(index);
        return Sample(group, row, index);
    }

    /// <summary>A row of the set as a sample.</summary>
    /// <param name="number">Counted over all row groups, in their order.</param>
    internal SftSample Row(long number)
    {
        var (group, row) = (0, number);
        for (; row >= set.GroupRows[group]; group++)
        {
            row -= set.GroupRows[group];
        }

        return Sample(group, (int)row, number);
    }

    private SftSample Sample(int group, int row, long index)
    {
        if (held.Group != group)
        {
            Release();
            var rows = set.ReadGroup(group);
            using var tensor = codes.Group(group, () => rows);
            held = (group, rows, tensor.Values<int>());
        }

        var random = Seeds.Random(config.Seed, 0x5A, index);
        UnusableFileException Unfit(string why, string remedy, Exception? inner = null) => new(set.Path,
            $"row {set.GroupRows.Take(group).Sum() + row} cannot be trained on: {why}", remedy, inner);
        try
        {
            var (record, images) = (held.Rows[row].Record, held.Codes.Length / held.Rows.Length);
            string Member(string name) =>
                (string?)record[name] ?? throw new ArgumentException($"the record has no {name}");
            var prompt = config.Wordings.Count == 0 ? Member("brief_caption")
                : PromptAugmentation.Prompt(record, config.Wordings, (low, high) => random.Next(low, high + 1));
            var sample = new SftSample(tokenizer.Encode(template.Fill(PromptAugmentation.WithoutFullStop(prompt))), 
                tokenizer.Encode(Member("detailed_caption")),
                [.. held.Codes.Skip(row * images).Take(images).Select(code => (long)code)],
                random.NextDouble() < config.PromptDropout);
            var length = sample.Prompt.Length + sample.Response.Length + images + 4;
            return length <= config.MaxTokens ? sample
                : throw Unfit(
                    $"its sequence has {length} tokens, more than {nameof(config.MaxTokens)} {config.MaxTokens}",
                    "raise data.maxTokens, which a run that goes on may; for a new run, remove the row or choose other "
                    + "wordings");
        }
        catch (Exception e) when (e is ArgumentException or IndexOutOfRangeException)
        {
            throw Unfit(e.Message, "remove the row, or choose other wordings", e);
        }
    }

    // Epoch by epoch: row groups in a shuffled order, and the rows of each in another.
    private (int Group, int Row) Place(long index)
    {
        var (epoch, at) = (index / set.Count, index % set.Count);
        var groups = Enumerable.Range(0, set.GroupRows.Count).ToArray();
        Seeds.Random(config.Seed, 0x6A, epoch).Shuffle(groups);
        var place = 0;
        for (; at >= set.GroupRows[groups[place]]; place++)
        {
            at -= set.GroupRows[groups[place]];
        }

        var rows = Enumerable.Range(0, set.GroupRows[groups[place]]).ToArray();
        Seeds.Random(config.Seed, 0x6B, epoch, groups[place]).Shuffle(rows);
        return (groups[place], rows[at]);
    }
}
