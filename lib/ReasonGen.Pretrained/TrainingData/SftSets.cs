using System.Globalization;
using System.Text.RegularExpressions;
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
public sealed partial record SftSets(
    IReadOnlyList<(SftRowBatches Samples, long Count)> Sets, SpecialTokens Special, SftRowBatchConfig Config)
{
    private const long Purpose = 0x6C;
    private readonly Dictionary<(long, long), SftSample[]> spread = [];
    private SftRowBatches? current; // whose row group is in memory

    /// <summary>Samples of all sets.</summary>
    public long Count => Sets.Sum(set => set.Count);

    /// <summary>Parquet files by their names, those of folders in order; a folder without any stands for the data/ in
    /// it, where the datasets library puts them.</summary>
    /// <exception cref="UnusableFileException">There is no such file, or a folder holds none, a part of a set, an
    /// unfinished download, or several splits.</exception>
    public static string[] Files(IReadOnlyList<string> paths) => [.. paths.SelectMany(path =>
    {
        if (!Directory.Exists(path))
        {
            return File.Exists(path) ? [path]
                : throw new UnusableFileException(path, "there is no such file or folder", "give a parquet file of the "
                    + "published schema");
        }

        var found = new[] { path, Path.Combine(path, "data") }.Where(Directory.Exists)
            .Select(folder => (Folder: folder,
                Files: Directory.GetFiles(folder, "*.parquet").Order(StringComparer.Ordinal).ToArray()))
            .FirstOrDefault(one => one.Files.Length > 0);
        if (found.Files is null)
        {
            throw new UnusableFileException(path, "neither it nor a folder data in it holds a parquet file (*.parquet)",
                "give the folder of the downloaded set");
        }

        ExpectWhole(path, found.Folder, [.. found.Files.Select(file => Path.GetFileName(file))]);
        return found.Files;
    })];

    // a folder stands for one whole set; a part of one is given by the names of its files
    private static void ExpectWhole(string given, string folder, string[] names)
    {
        if ((FolderKinds.Unfinished(folder) ?? FolderKinds.Unfinished(given)) is { } file)
        {
            throw new UnusableFileException(folder, $"a download into it is not finished: '{file}'",
                "run the download again, or give the files by name");
        }

        var splits = names.GroupBy(name => Split().Match(name).Value).Where(split => split.Key.Length > 0).ToArray();
        if (splits.Length > 1)
        {
            var wanted = splits.FirstOrDefault(split => split.Key == "train") ?? splits[0];
            throw new UnusableFileException(folder, "it holds several splits of a set: "
                + string.Join(", ", splits.Select(split => split.First())),
                "give the files of the split that is wanted, as with --data " + Path.Combine(folder,
                    wanted.All(name => name.StartsWith(wanted.Key + "-", StringComparison.Ordinal))
                    ? $"{wanted.Key}-*.parquet" : wanted.First()) + "; several may stand after one option");
        }

        foreach (var shards in names.Select(name => Shard().Match(name)).Where(match => match.Success)
            .GroupBy(match => (Set: match.Groups[1].Value, Of: match.Groups[3].Value)))
        {
            var there = shards.Select(match => Number(match.Groups[2].Value)).ToHashSet();
            var lacking = Number(shards.Key.Of) - there.Count;
            if (lacking > 0)
            {
                var first = Enumerable.Range(0, there.Count + 1).First(number => !there.Contains(number));
                throw new UnusableFileException(folder, $"it lacks {lacking} of the {Number(shards.Key.Of)} files of a "
                    + $"set, the first '{shards.Key.Set}-{first.ToString($"D{shards.Key.Of.Length}")}-of-"
                    + $"{shards.Key.Of}'", "download them, or give by name the files that are to be trained on");
            }
        }

        static int Number(string digits) => int.Parse(digits, CultureInfo.InvariantCulture);
    }

    // names as the Hugging Face libraries give them: train-00000-of-00047.parquet, with a hash in older sets
    [GeneratedRegex(@"^(.*)-([0-9]{1,9})-of-([0-9]{1,9})(?:-[0-9a-f]+)?\.parquet\z")]
    private static partial Regex Shard();

    [GeneratedRegex(@"^(?:train|test|validation|valid|val|dev|eval)(?![A-Za-z])")]
    private static partial Regex Split();

    /// <summary>The batch of a step.</summary>
    /// <exception cref="UnusableFileException">A row cannot be made a sample; it is named.</exception>
    public SftBatch Batch(long step) => SftBatch.Build(
        [.. Enumerable.Range(0, Config.SamplesPerStep).Select(i => Sample(step * Config.SamplesPerStep + i))], Special);

    /// <summary>A batch of some of the rows, evenly spaced over all sets in the order of their files, so that one row
    /// group is in memory. What is read is kept, a few KB a row: a validation takes the same ones each time.</summary>
    /// <param name="number">Of the batch, from 0; the last one holds what is left.</param>
    /// <param name="rows">How many rows are taken in all, at least 1.</param>
    /// <exception cref="UnusableFileException">A row cannot be made a sample; it is named.</exception>
    public SftBatch Spread(long number, long rows)
    {
        var first = number * Config.SamplesPerStep;
        if (!spread.TryGetValue((number, rows), out var samples))
        {
            spread[(number, rows)] = samples = [.. Enumerable.Range(0,
                (int)Math.Min(Config.SamplesPerStep, rows - first)).Select(i => Row((first + i) * Count / rows))];
        }

        return SftBatch.Build(samples, Special);
    }

    private SftSample Row(long at)
    {
        var place = 0;
        for (; at >= Sets[place].Count; place++)
        {
            at -= Sets[place].Count;
        }

        return Reading(Sets[place].Samples).Row(at);
    }

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
        return Reading(samples).Sample(epoch * count + at);
    }

    private SftRowBatches Reading(SftRowBatches samples)
    {
        if (current != samples)
        {
            current?.Release();
            current = samples;
        }

        return samples;
    }
}
