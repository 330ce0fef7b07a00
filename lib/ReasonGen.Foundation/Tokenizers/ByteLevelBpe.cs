using System.Collections.Concurrent;
using System.Text;

namespace ReasonGen.Tokenizers;

/// <summary>
/// Byte-pair encoding over bytes written as characters (GPT-2): a piece starts as its bytes, then the adjacent pair of
/// the lowest rank is merged, the leftmost first, until no pair is left that the merges know. A byte the vocabulary
/// lacks vanishes, as in the reference.
/// </summary>
internal sealed class ByteLevelBpe
{
    private const int LongestCached = 128, MostCached = 1 << 17;

    private static readonly char[] CharacterOf = new char[256];
    private static readonly Dictionary<char, byte> ByteOf = [];

    private readonly Dictionary<string, int> vocabulary;
    private readonly Dictionary<long, (int Rank, int Id)> merges;
    private readonly bool ignoreMerges;
    private readonly int[] byteIds;
    private readonly ConcurrentDictionary<string, int[]> cache = new();
    private int cached;

    [ThreadStatic]
    private static PriorityQueue<(int At, int Left, int Right, int Id), long>? waiting;

    static ByteLevelBpe()
    {
        // printable bytes stand for themselves, the others for U+0100 onward
        var next = '\u0100';
        for (var b = 0; b < 256; b++)
        {
            CharacterOf[b] = b is >= 0x21 and <= 0x7E or >= 0xA1 and <= 0xAC or >= 0xAE ? (char)b : next++;
            ByteOf[CharacterOf[b]] = (byte)b;
        }
    }

    internal ByteLevelBpe(Dictionary<string, int> vocabulary, Dictionary<long, (int, int)> merges, bool ignoreMerges)
    {
        (this.vocabulary, this.merges, this.ignoreMerges) = (vocabulary, merges, ignoreMerges);
        byteIds = [.. CharacterOf.Select(c => vocabulary.GetValueOrDefault(c.ToString(), -1))];
    }

    /// <summary>What the vocabulary writes for a byte.</summary>
    internal static char Character(byte value) => CharacterOf[value];

    /// <summary>Appends the ids of one piece.</summary>
    internal void Encode(ReadOnlySpan<char> piece, List<int> ids)
    {
        if (piece.Length > LongestCached)
        {
            ids.AddRange(Merge(piece));
            return;
        }

        var known = cache.GetAlternateLookup<ReadOnlySpan<char>>();
        if (!known.TryGetValue(piece, out var found))
        {
            found = Merge(piece);
            if (cached < MostCached && known.TryAdd(piece, found))
            {
                Interlocked.Increment(ref cached);
            }
        }

        ids.AddRange(found);
    }

    /// <summary>Text in the vocabulary's spelling: one character a byte.</summary>
    internal static string Spell(ReadOnlySpan<char> text)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(text)];
        Encoding.UTF8.GetBytes(text, bytes);
        return string.Create(bytes.Length, bytes, (spelt, from) =>
        {
            for (var i = 0; i < from.Length; i++)
            {
                spelt[i] = CharacterOf[from[i]];
            }
        });
    }

    /// <summary>The bytes of a vocabulary string; one with any other character is its own text.</summary>
    internal static byte[] Bytes(string token) =>
        token.All(ByteOf.ContainsKey) ? [.. token.Select(c => ByteOf[c])] : Encoding.UTF8.GetBytes(token);

    /// <summary>Two adjacent ids as one key of the merges.</summary>
    internal static long Pair(int left, int right) => ((long)left << 32) | (uint)right;

    private int[] Merge(ReadOnlySpan<char> piece)
    {
        if (ignoreMerges && vocabulary.TryGetValue(Spell(piece), out var whole))
        {
            return [whole];
        }

        var bytes = new byte[Encoding.UTF8.GetByteCount(piece)];
        Encoding.UTF8.GetBytes(piece, bytes);
        var ids = Array.FindAll(Array.ConvertAll(bytes, b => byteIds[b]), id => id >= 0);
        var (next, previous) = (new int[ids.Length], new int[ids.Length]);
        var queue = waiting ??= new();
        for (var i = 0; i < ids.Length; i++)
        {
            (next[i], previous[i]) = (i + 1, i - 1);
            Offer(i);
        }

        while (queue.TryDequeue(out var merge, out _))
        {
            var (at, right) = (merge.At, next[merge.At]);
            if (ids[at] != merge.Left || right == ids.Length || ids[right] != merge.Right)
            {
                continue; // one of the two has been merged since
            }

            (ids[at], ids[right], next[at]) = (merge.Id, -1, next[right]);
            if (next[at] < ids.Length)
            {
                previous[next[at]] = at;
            }

            Offer(previous[at]);
            Offer(at);
        }

        return Array.FindAll(ids, id => id >= 0);

        void Offer(int at)
        {
            if (at >= 0 && next[at] < ids.Length && merges.TryGetValue(Pair(ids[at], ids[next[at]]), out var merge))
            {
                queue.Enqueue((at, ids[at], ids[next[at]], merge.Id), ((long)merge.Rank << 32) | (uint)at);
            }
        }
    }
}
