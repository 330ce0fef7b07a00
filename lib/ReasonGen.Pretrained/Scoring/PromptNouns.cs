// The nouns of a prompt, which T2I-CompBench takes from spaCy (en_core_web_sm). There is none here: they are read from
// a file, or, for prompts of a fixed pattern ("a red car and a blue dog", "a dog on the left of a cat"), found by a
// rule, and the label says so.
using System.Text.Json;
using System.Text.RegularExpressions;
using ReasonGen.Checkpoints;

namespace ReasonGen.Scoring;

/// <summary>Nouns and noun chunks by prompt.</summary>
/// <param name="ByPrompt">What a file says; empty for the rule alone.</param>
public sealed partial record PromptNouns(IReadOnlyDictionary<string,
    (IReadOnlyList<string> Nouns, IReadOnlyList<string> Chunks)> ByPrompt)
{
    /// <summary>The rule alone.</summary>
    public static PromptNouns Rule { get; } = new(new Dictionary<string,
        (IReadOnlyList<string>, IReadOnlyList<string>)>());

    /// <summary>Reads JSON lines {"prompt": …, "nouns": [...], "chunks": [...]}.</summary>
    /// <param name="path">JSON lines.</param>
    /// <param name="needed">The list that every line must hold: "nouns" or "chunks"; null for none.</param>
    /// <exception cref="UnusableFileException">It is missing, or a line is of another kind, lacks what is needed, or
    /// says otherwise than an earlier one of the same prompt.</exception>
    public static PromptNouns Read(string path, string? needed = null)
    {
        var known = new Dictionary<string, (IReadOnlyList<string> Nouns, IReadOnlyList<string> Chunks)>();
        var (from, number) = (new Dictionary<string, int>(), 0);
        try
        {
            foreach (var line in TextFile.Read(path).Split('\n'))
            {
                number++;
                if (line.Trim().Length == 0)
                {
                    continue;
                }

                using var json = JsonDocument.Parse(line);
                string[] List(string name) => name == needed || json.RootElement.TryGetProperty(name, out _)
                    ? [.. json.RootElement.Need(name).EnumerateArray().Select(word => word.Text())] : [];
                var prompt = json.RootElement.Need("prompt").Text();
                var (nouns, chunks) = (List("nouns"), List("chunks"));
                if (!from.TryAdd(prompt, number) && known[prompt] is var earlier
                    && !(earlier.Nouns.SequenceEqual(nouns) && earlier.Chunks.SequenceEqual(chunks)))
                {
                    throw new FormatException($"line {from[prompt]} says otherwise of the same prompt");
                }

                known[prompt] = (nouns, chunks);
            }

            return new(known);
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            throw new UnusableFileException(path,
                $"line {number} tells no nouns: {e.Message.Split(" LineNumber")[0].TrimEnd('.')}",
                "write {\"prompt\": …, \"nouns\": [...], \"chunks\": [...]} on every line", e);
        }
    }

    /// <summary>Nouns and chunks of a prompt, and whether the rule found them.</summary>
    /// <exception cref="OfficialStopException">The file has no line for it, and a part of it follows no known
    /// pattern.</exception>
    public (IReadOnlyList<string> Nouns, IReadOnlyList<string> Chunks, bool ByRule) Of(string prompt)
    {
        if (ByPrompt.TryGetValue(prompt, out var said))
        {
            return (said.Nouns, said.Chunks, false);
        }

        string[] chunks = [.. Between().Split(prompt.Trim().TrimEnd('.')).Select(part => part.Trim())];
        return Array.Find(chunks, part => !Chunk().IsMatch(part)) is not { } strange
            ? ([.. chunks.Select(chunk => chunk.Split(' ')[^1])], chunks, true)
            : throw new OfficialStopException("none",
                $"the nouns of '{prompt}' are not known: the rule reads \"a red car and a blue dog\", but not "
                    + $"'{strange}', and it has no line in --nouns");
    }

    // Verbs of place wherever they stand; what ends in -ed or -ing where the noun ought to stand, but for nouns.
    private const string Verbs = "sat|sits|stood|stands|lay|lies|hung|hangs|swam|swims|flew|ran|slept|sleeps|leapt|"
        + "leant|grew|grows|shone|rests|leans|floats";

    private const string Endings = @"(?!(?:bed|sled|shed|seed|weed|seaweed|reed|steed|moped)$)\S+ed|"
        + "(?:sitt|stand|ly|hang|rest|walk|runn|fly|swimm|sleep|float|play|lean|jump|rid)ing";

    [GeneratedRegex(@"\s+(?:and|,|on side of|on the side of|next to|near|"
        + @"on the left of|on the right of|on the bottom of|on the top of|in front of|behind|hidden by)\s+"
        + @"|,\s*(?:and\s+)?")]
    private static partial Regex Between();

    // What holds a verb or another phrase is no chunk: half of it would be asked about, or the wrong word. "the" begins
    // the sentences of complex prompts ("The sleek black cat sat next to …"), and no prompt of the pattern.
    [GeneratedRegex(@"^(?!.*\b(?:of|with|in|on|at|by|for|from|to|is|are|was|were|has|have|that)\b)"
        + @"(?!.*\s(?:a|an|the|its|his|her|their|" + Verbs + @")(?:\s|$))"
        + @"(?!.*\s(?:" + Endings + @")$)"
        + @"(?:(?:a|an|one|two|three|four|five|six|seven|eight)\s+\S+(?:\s+\S+){0,3}|\S+)$",
        RegexOptions.IgnoreCase)]
    private static partial Regex Chunk();
}
