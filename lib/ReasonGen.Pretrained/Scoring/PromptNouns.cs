// The nouns of a prompt, which T2I-CompBench takes from spaCy (en_core_web_sm). There is none here: they are read from
// a file, or, for prompts of a
// fixed pattern ("a red car and a blue dog", "a dog on the left of a cat"), found by a rule, and the label says so.
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
    /// <exception cref="UnusableFileException">It is missing, or a line is of another kind.</exception>
    public static PromptNouns Read(string path)
    {
        var (known, number) = (new Dictionary<string, (IReadOnlyList<string>, IReadOnlyList<string>)>(), 0);
        try
        {
            foreach (var line in File.ReadLines(path))
            {
                number++;
                if (line.Trim().Length > 0)
                {
                    using var json = JsonDocument.Parse(line);
                    string[] List(string name) => json.RootElement.TryGetProperty(name, out var list)
                        ? [.. list.EnumerateArray().Select(word => word.Text())] : [];
                    known[json.RootElement.GetProperty("prompt").Text()] = (List("nouns"), List("chunks"));
                }
            }

            return new(known);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new UnusableFileException(path,
                $"line {number} tells no nouns: {e.Message.Split(" LineNumber")[0].TrimEnd('.')}",
                "write {\"prompt\": …, \"nouns\": [...], \"chunks\": [...]} on every line", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the nouns cannot be read: {e.Message.TrimEnd('.')}",
                "check the path",
                e);
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

    [GeneratedRegex(@"\s+(?:and|,|on side of|on the side of|next to|near|"
        + @"on the left of|on the right of|on the bottom of|on the top of|in front of|behind|hidden by)\s+"
        + @"|,\s*(?:and\s+)?")]
    private static partial Regex Between();

    // what holds a verb or another phrase is no chunk: half of it would be asked about, or the wrong word
    [GeneratedRegex(@"^(?!.*\b(?:of|with|in|on|at|by|for|from|to|is|are|was|were|has|have|that)\b)"
        + @"(?:(?:a|an|the|one|two|three|four|five|six|seven|eight)\s+\S+(?:\s+\S+){0,3}|\S+)$",
        RegexOptions.IgnoreCase)]
    private static partial Regex Chunk();
}
