// Prompts of GRPO (ReasonGen-R1: JanusTextOnlyRLHFDataset): text files with a prompt a line; and GenEval's metadata, a
//   json object a line, whose "include" tells rewards what an image must show. Which prompt comes when is a function of
//   its number: every epoch is shuffled anew.
// Deviations: 1. The reference measures a prompt without its template, keeps those of up to 146 tokens and cuts what is
//   too long on the right, the turn's marker with it; here a prompt is measured as the policy reads it, and one that is
//   too long is left out and counted.
//   2. "a photo of" is taken out of GenEval's prompts, as its evaluation does, since Janus' template says it again (the
//   miniature's does not).
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Rollouts;

namespace ReasonGen.TrainingData;

/// <summary>Prompts to train on.</summary>
/// <param name="Prompts">In the order of the files.</param>
/// <param name="LeftOut">How many were too long.</param>
public sealed record PromptFiles(IReadOnlyList<Prompt> Prompts, int LeftOut)
{
    /// <summary>Reads files of prompts.</summary>
    /// <param name="paths">Text files with a prompt a line, or with GenEval's metadata a line.</param>
    /// <param name="tokens">Tokens of a prompt as the policy reads it, bos included.</param>
    /// <param name="most">Most tokens of a prompt, bos not counted.</param>
    /// <exception cref="UnusableFileException">A file cannot be read, a line is unsound, or no prompt is
    /// left.</exception>
    public static PromptFiles Read(IReadOnlyList<string> paths, Func<string, int> tokens, int most)
    {
        var all = paths.SelectMany(Lines).ToArray();
        Prompt[] kept = [.. all.Where(prompt => tokens(prompt.Text) <= most + 1)];
        return kept.Length > 0 ? new(kept, all.Length - kept.Length)
            : throw new UnusableFileException(string.Join(", ", paths),
            all.Length == 0 ? "there is no prompt in it"
                : $"each of its {all.Length} prompts has more than {most} tokens, template included",
            all.Length == 0 ? "write a prompt a line" : "shorten them, or raise promptTokens");
    }

    /// <summary>Prompt number <paramref name="index"/> of the endless sequence of shuffled epochs.</summary>
    public Prompt At(long index, long seed)
    {
        var epoch = index / Prompts.Count;
        if (order.Epoch != epoch || order.Seed != seed)
        {
            var shuffled = Enumerable.Range(0, Prompts.Count).ToArray();
            Seeds.Random(seed, Purpose, epoch).Shuffle(shuffled);
            order = (epoch, seed, shuffled);
        }

        return Prompts[order.Places[index % Prompts.Count]];
    }

    private const long Purpose = 0x7A;
    private (long Epoch, long Seed, int[] Places) order = (-1, 0, []);

    private static IEnumerable<Prompt> Lines(string path)
    {
        var (lines, json) = PromptLines.Read(path);
        foreach (var (i, line) in lines.Index())
        {
            if (line.Length > 0)
            {
                yield return json ? FromJson(line, path, i + 1) : new(line, "", []);
            }
        }
    }

    private static Prompt FromJson(string line, string path, int number)
    {
        try
        {
            var json = PromptLines.Object(line);
            var text = PromptTemplate.Subject(Text(json, "prompt") ?? throw new FormatException("it has no 'prompt'"));
            var tag = Text(json, "tag") ?? "";
            var include = Clauses(json, "include");
            if (include.Index().Any(entry =>
                entry.Item is { Relation: not null, Target: var target } && target >= entry.Index))
            {
                throw new FormatException("a 'position' points at no earlier entry of 'include'");
            }

            if (Clauses(json, "exclude").FirstOrDefault(entry => tag != "counting"
                || !include.Any(clause => (clause.Class, clause.Count + 1) == (entry.Class, entry.Count))) is { } lost)
            {
                throw new FormatException($"its 'exclude' forbids {lost.Count} of '{lost.Class}', which a reward would "
                    + "pass over: it forbids one more than 'include' wants, and that where the 'tag' is counting");
            }

            return text.Length > 0 ? new(text, tag, include) : throw new FormatException("its 'prompt' is empty");
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            throw new UnusableFileException(path, $"line {number} is no prompt: {e.Message.TrimEnd('.')}",
                "write a json object a line, as GenEval's evaluation_metadata.jsonl has them");
        }
    }

    private static string? Text(JObject json, string name) => json[name] switch
    {
        null or JValue { Value: null } => null,
        JValue { Value: string text } => text,
        _ => throw new FormatException($"a '{name}' is no text"),
    };

    private static Clause[] Clauses(JObject json, string name) => json[name] switch
    {
        null or JValue { Value: null } => [],
        JArray list => [.. list.Select(entry => Clause(entry as JObject
            ?? throw new FormatException($"an entry of '{name}' is no object")))],
        _ => throw new FormatException($"'{name}' is no list"),
    };

    private static Clause Clause(JObject json)
    {
        var count = json["count"] switch
        {
            null => 1,
            JValue { Value: long and >= 1 and <= 1000 and var number } => (int)(long)number,
            _ => throw new FormatException("a 'count' is no whole number from 1 to 1000"),
        };
        var (relation, target) = json["position"] switch
        {
            null or JValue { Value: null } => ((string?)null, 0),
            JArray and [JValue { Value: ("left of" or "right of" or "above" or "below") and string word },
                JValue { Value: long and >= 0 and <= 1000 and var at }] => (word, (int)(long)at),
            _ => throw new FormatException("a 'position' is no list of a relation (left of, right of, above, below) "
                + "and the number of an entry"),
        };
        return new(Text(json, "class") ?? throw new FormatException("an entry has no 'class'"), count,
            Text(json, "color"), relation, target);
    }
}
