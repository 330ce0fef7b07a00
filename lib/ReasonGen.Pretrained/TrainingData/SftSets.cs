using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Sft;
using ReasonGen.Tokenizers;

namespace ReasonGen.TrainingData;

/// <summary>Several parquet sets as one: each epoch goes through all of them, one after the other in an order of its
/// own, so that one row group is in memory.</summary>
/// <param name="Sets">Samples of each set, and how many it has.</param>
/// <param name="Special">Ids of the structure tokens.</param>
/// <param name="Config">Samples a step, and the seed of the order.</param>
public sealed record SftSets(
    IReadOnlyList<(SftRowBatches Samples, long Count)> Sets, SpecialTokens Special, SftRowBatchConfig Config)
{
    private const long Purpose = 0x6C;

    /// <summary>Samples of all sets.</summary>
    public long Count => Sets.Sum(set => set.Count);

    /// <summary>Parquet files by their names, those of folders in order.</summary>
    /// <exception cref="UnusableFileException">There is no such file, or a folder holds none.</exception>
    public static string[] Files(IReadOnlyList<string> paths) => [.. paths.SelectMany(path =>
    {
        var files = Directory.Exists(path) ? Directory.GetFiles(path, "*.parquet").Order(StringComparer.Ordinal)
            .ToArray()
            : File.Exists(path) ? [path]
            : throw new UnusableFileException(path, "there is no such file or folder", "give a parquet file of the "
                + "published schema");
        return files.Length > 0 ? files
            : throw new UnusableFileException(path, "it holds no parquet file (*.parquet)", "give the folder of the "
                + "downloaded set");
    })];

    /// <summary>The batch of a step.</summary>
    /// <exception cref="UnusableFileException">A row cannot be made a sample; it is named.</exception>
    public SftBatch Batch(long step) => SftBatch.Build(
        [.. Enumerable.Range(0, Config.SamplesPerStep).Select(i => Sample(step * Config.SamplesPerStep + i))], Special);

    private SftSample Sample(long index)
    {
        var (epoch, at) = (index / Count, index % Count);
        var order = Enumerable.Range(0, Sets.Count).ToArray();
        Seeds.Random(Config.Seed, Purpose, epoch).Shuffle(order);
        var place = 0;
        for (; at >= Sets[order[place]].Count; place++)
        {
            at -= Sets[order[place]].Count;
        }

        var (samples, count) = Sets[order[place]];
        return samples.Sample(epoch * count + at);
    }
}
