using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Tokenizers;

namespace ReasonGen.Judges.Clip;

/// <summary>
/// Ids and merges. The ids follow from the merges: 256 bytes in the order of their code points as characters, the same
/// with &lt;/w&gt;, one token a
/// merge, start, end. A vocab.json gives them outright.
/// </summary>
internal sealed class ClipVocabulary
{
    private const string WordEnd = "</w>";
    private const int MostMerges = 49152 - 256 - 2, LongestCached = 64, MostCached = 1 << 16;
    private const long Largest = 64 << 20;

    private readonly int[] inner = new int[256], last = new int[256];
    private readonly Dictionary<long, (int Rank, int Id)> merges = [];
    private readonly ConcurrentDictionary<string, int[]> cache = new();

    private ClipVocabulary()
    {
    }

    internal int Start { get; private init; }

    internal int End { get; private init; }

    /// <exception cref="UnusableFileException">A file is missing or damaged.</exception>
    internal static ClipVocabulary Read(string folder)
    {
        string Content(string name)
        {
            var path = Path.Combine(folder, name);
            try
            {
                return new FileInfo(path).Length <= Largest ? File.ReadAllText(path)
                    : throw new UnusableFileException(path, "it is larger than any vocabulary",
                        "use the file published with the model");
            }
            catch (Exception e) when (FileKinds.IsAboutFile(e))
            {
                throw FileKinds.Unreadable(path, e);
            }
        }

        try
        {
            var json = JObject.Parse(Content("vocab.json"));
            return Of(Path.Combine(folder, "merges.txt"), Content("merges.txt"), json.Properties().ToDictionary(pair =>
                pair.Name,
                pair => pair.Value is JValue { Value: long and >= 0 and < 1 << 24 and var id }
                    ? (int)id
                    : throw new UnusableFileException(Path.Combine(folder, "vocab.json"),
                        $"for '{pair.Name}' it has {pair.Value.ToString(Formatting.None)}, which is no id",
                            "use the file published with the model")));
        }
        catch (JsonException e)
        {
            throw new UnusableFileException(Path.Combine(folder, "vocab.json"),
                $"it is no JSON object: {e.Message.TrimEnd('.')}",
                "use the file published with the model", e);
        }
    }

    /// <param name="path">Where the merges come from, for errors.</param>
    /// <param name="text">merges.txt: a line that tells the version, then one merge a line.</param>
    /// <param name="ids">vocab.json; null where the ids follow from the merges.</param>
    internal static ClipVocabulary Of(string path, string text, Dictionary<string, int>? ids)
    {
        var lines = text.Split('\n').Skip(1).Take(MostMerges).Select(line => line.TrimEnd('\r')).Where(line =>
            line.Length > 0).ToArray();
        ids ??= Numbered(lines);
        int Id(string token, string where) => ids.TryGetValue(token, out var id) ? id
            : throw new UnusableFileException(path,
            $"{where} speaks of '{token}', which the vocabulary lacks",
                "use the vocab.json and merges.txt published with the model");
        var made = new ClipVocabulary { Start = Id("<|startoftext|>", "every text"), End = Id("<|endoftext|>",
            "every text") };
        for (var b = 0; b < 256; b++)
        {
            var character = ByteLevelBpe.Character((byte)b).ToString();
            (made.inner[b], made.last[b]) = (Id(character, $"byte {b}"), Id(character + WordEnd, $"byte {b}"));
        }

        foreach (var (rank, line) in lines.Index())
        {
            var parts = line.Split(' ');
            if (parts.Length != 2)
            {
                throw new UnusableFileException(path, $"line {rank + 2} is no pair: '{line}'",
                    "use the merges.txt published with the model");
            }

            var where = $"line {rank + 2}";
            made.merges[ByteLevelBpe.Pair(Id(parts[0], where), Id(parts[1], where))] =
                (rank, Id(parts[0] + parts[1], where));
        }

        return made.End < made.Start || ids.Values.Max() > made.End ? throw new UnusableFileException(path,
            "the end token has not the largest id, by which the model finds it",
                "use the vocab.json and merges.txt published with the model") : made;
    }

    private static Dictionary<string, int> Numbered(string[] merges)
    {
        string[] bytes = [.. Enumerable.Range(0, 256).Select(b => ByteLevelBpe.Character((byte)b)).Order().Select(c =>
            c.ToString())];
        return bytes.Concat(bytes.Select(c => c + WordEnd)).Concat(merges.Select(line => line.Replace(" ", "")))
            .Concat(["<|startoftext|>", "<|endoftext|>"]).Select((token, id) => (token, id)).ToDictionary();
    }

    /// <summary>Appends the ids of one word.</summary>
    internal void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        var known = cache.GetAlternateLookup<ReadOnlySpan<char>>();
        if (!known.TryGetValue(word, out var found))
        {
            found = Merge(word);
            if (word.Length <= LongestCached && cache.Count < MostCached)
            {
                known.TryAdd(word, found);
            }
        }

        ids.AddRange(found);
    }

    // the pair of the lowest rank everywhere it stands, from the left; then the next
    private int[] Merge(ReadOnlySpan<char> word)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(word)];
        Encoding.UTF8.GetBytes(word, bytes);
        var ids = Array.ConvertAll(bytes, b => inner[b]);
        ids[^1] = last[bytes[^1]];
        for (var count = ids.Length; ;)
        {
            var (best, pair) = ((Rank: int.MaxValue, Id: 0), 0L);
            for (var i = 0; i + 1 < count; i++)
            {
                if (merges.TryGetValue(ByteLevelBpe.Pair(ids[i], ids[i + 1]), out var merge) && merge.Rank < best.Rank)
                {
                    (best, pair) = (merge, ByteLevelBpe.Pair(ids[i], ids[i + 1]));
                }
            }

            if (best.Rank == int.MaxValue)
            {
                return ids[..count];
            }

            var to = 0;
            for (var i = 0; i < count; to++)
            {
                var merged = i + 1 < count && ByteLevelBpe.Pair(ids[i], ids[i + 1]) == pair;
                ids[to] = merged ? best.Id : ids[i];
                i += merged ? 2 : 1;
            }

            count = to;
        }
    }
}
