using System.Collections;
using System.Collections.Concurrent;
using System.Text.RegularExpressions;

namespace ReasonGen.Tokenizers;

/// <summary>
/// The pre-tokenizer: text cut by regular expressions, each applied within the pieces of the one before; matches and
/// what lies between them are pieces. .NET's engine sees UTF-16 units and brings its own tables, the file's engine sees
/// code points. So every class is spelt out from Unicode's categories, and a code point above U+FFFF is stood in for by
/// one surrogate unit, the same for all that no class tells apart.
/// </summary>
internal sealed class PieceSplitter
{
    private const int MostSteps = 16, RememberedStep = 2, LongestRemembered = 64, MostRemembered = 1 << 17;

    private readonly char[] standIns;
    private readonly Regex[] steps;
    // what the steps from RememberedStep on make of a short piece
    private readonly ConcurrentDictionary<string, Range[]> remembered = new();
    private int count;

    /// <exception cref="FormatException">A pattern is broken or not understood.</exception>
    internal PieceSplitter(IEnumerable<string> patterns)
    {
        var parsed = patterns.Take(MostSteps + 1).Select(pattern => new OnigurumaPattern(pattern)).ToArray();
        if (parsed.Length > MostSteps)
        {
            throw new FormatException($"its pre-tokenizer has more than {MostSteps} steps");
        }

        var sets = parsed.SelectMany(pattern => pattern.Sets).ToArray();
        standIns = StandIns(sets, out var known);
        try
        {
            string Write(BitArray set) =>
                CodePoints.Class(set,
                    Enumerable.Range(0, known.Count).Where(k => set[known[k]]).Select(k => (char)(0xD800 + k)));
            steps = [.. parsed.Select(pattern => new Regex(pattern.Translate(Write),
                RegexOptions.Compiled | RegexOptions.CultureInvariant | RegexOptions.Multiline))];
        }
        catch (RegexParseException e)
        {
            throw new FormatException($"a regular expression cannot be used: {e.Error}", e);
        }
    }

    /// <summary>The pieces of a text without lone surrogates, in order.</summary>
    internal List<Range> Split(string text)
    {
        var pieces = new List<Range>();
        if (!text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF'))
        {
            Split(text, 0, 0, pieces);
            return pieces;
        }

        // one unit a code point, and where in the text each begins
        var (shadow, starts, length) = (new char[text.Length], new int[text.Length + 1], 0);
        for (var i = 0; i < text.Length; i += char.IsHighSurrogate(text[i]) ? 2 : 1)
        {
            starts[length] = i;
            shadow[length++] =
                char.IsHighSurrogate(text[i]) ? standIns[char.ConvertToUtf32(text[i], text[i + 1]) - 0x10000] : text[i];
        }

        starts[length] = text.Length;
        Split(shadow.AsSpan(0, length), 0, 0, pieces);
        return pieces.ConvertAll(piece => starts[piece.Start.Value]..starts[piece.End.Value]);
    }

    private void Split(ReadOnlySpan<char> text, int step, int start, List<Range> pieces)
    {
        if (text.IsEmpty || step == steps.Length)
        {
            if (!text.IsEmpty)
            {
                pieces.Add(start..(start + text.Length));
            }

            return;
        }

        if (step == RememberedStep && step + 1 < steps.Length && text.Length <= LongestRemembered)
        {
            var memory = remembered.GetAlternateLookup<ReadOnlySpan<char>>();
            if (!memory.TryGetValue(text, out var cuts))
            {
                var inner = new List<Range>();
                Apply(text, step, 0, inner);
                cuts = [.. inner];
                if (count < MostRemembered && memory.TryAdd(text, cuts))
                {
                    Interlocked.Increment(ref count);
                }
            }

            foreach (var cut in cuts)
            {
                pieces.Add((start + cut.Start.Value)..(start + cut.End.Value));
            }

            return;
        }

        Apply(text, step, start, pieces);
    }

    private void Apply(ReadOnlySpan<char> text, int step, int start, List<Range> pieces)
    {
        var done = 0;
        foreach (var match in steps[step].EnumerateMatches(text))
        {
            Split(text[done..match.Index], step + 1, start + done, pieces);
            Split(text.Slice(match.Index, match.Length), step + 1, start + match.Index, pieces);
            done = match.Index + match.Length;
        }

        Split(text[done..], step + 1, start + done, pieces);
    }

    // For each code point above U+FFFF a surrogate unit, by the sets that hold it; and one code point of each unit.
    private static char[] StandIns(BitArray[] sets, out List<int> examples)
    {
        var group = new int[CodePoints.Count - 0x10000];
        examples = [0x10000];
        foreach (var set in sets)
        {
            var known = Enumerable.Repeat(-1, 2 * examples.Count).ToArray();
            examples = [];
            for (var i = 0; i < group.Length; i++)
            {
                ref var renamed = ref known[(2 * group[i]) + (set[0x10000 + i] ? 1 : 0)];
                if (renamed < 0)
                {
                    renamed = examples.Count;
                    examples.Add(0x10000 + i);
                }

                group[i] = renamed;
            }

            if (examples.Count > 0x800)
            {
                throw new FormatException(
                    "the regular expressions tell more kinds of rare characters apart than can be read here");
            }
        }

        return Array.ConvertAll(group, k => (char)(0xD800 + k));
    }
}
