using System.Globalization;
using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using ReasonGen.Rollouts;

namespace ReasonGen.TrainingData;

/// <summary>
/// Picks one of a record's several wordings (sft_dataset.py prompt_augmentation, cot_augmentation), so that SFT does
/// not overfit one pattern. Kept from the reference: a single object prompt gives " and X" with its leading blank.
/// Deviations: 1. A wording that a row lacks (null, or an empty list) is not drawn, where the reference stops in the
/// middle of training. 2. A text where a list belongs is read as one only where it is one, as Python or JSON write it;
/// another text is one wording. The reference evaluates the text, and stops at a sentence.
/// </summary>
public static partial class PromptAugmentation
{
    /// <summary>The keys of janus_sft.sh.</summary>
    public static IReadOnlyList<string> PaperKeys { get; } = ["short_caption", "paraphrases", "tags", "varied_captions",
        "object_prompts"];

    /// <summary>A prompt in one of the wordings.</summary>
    /// <param name="record">A row of the published data, with its member augmented_prompts.</param>
    /// <param name="keys">Wordings to choose from.</param>
    /// <param name="draw">A uniform integer from the first to the second argument, both included.</param>
    /// <exception cref="ArgumentException">The record has none of the wordings.</exception>
    public static string Prompt(JObject record, IReadOnlyList<string> keys, Func<int, int, int> draw)
    {
        JToken? Of(string key) =>
            key == "longIB_captions" ? record[key] : (record["augmented_prompts"] as JObject)?[key];
        string[] there = [.. keys.Where(key => Says(key, Of(key)))];
        if (there.Length == 0)
        {
            throw new ArgumentException($"the record has no wording '{string.Join("', '", keys)}'", nameof(record));
        }

        var key = there[draw(0, there.Length - 1)];
        var value = Of(key)!;
        var texts = Texts(value);
        return key switch
        {
            "tags" => string.Join(',', texts),
            "object_prompts" => $"{string.Join(", ", texts[..^1])} and {texts[^1]}",
            "paraphrases" or "varied_captions" => texts[draw(0, texts.Length - 1)],
            _ => (string)value!,
        };
    }

    /// <summary>A rationale of one of several kinds, headed by its kind.</summary>
    /// <param name="record">A row with detailed_caption and augmented_cots.</param>
    /// <param name="keys">Kinds to choose from.</param>
    /// <param name="draw">A uniform integer from the first to the second argument, both included.</param>
    public static string Rationale(JObject record, IReadOnlyList<string> keys, Func<int, int, int> draw)
    {
        var key = keys[draw(0, keys.Count - 1)];
        var value = (key == "detailed_caption" ? record[key] : record["augmented_cots"]?[key])
            ?? throw new ArgumentException($"the record has no rationale '{key}'", nameof(record));
        return $"<{key}>" + (value is JArray ? string.Join(key == "tags" ? ", " : "; ", Texts(value)) : (string)value!);
    }

    /// <summary>The prompt without one trailing full stop (sft_dataset.py).</summary>
    public static string WithoutFullStop(string prompt) => prompt.EndsWith('.') ? prompt[..^1] : prompt;

    /// <summary>Whether a wording is a list of texts.</summary>
    internal static bool IsList(string key) => key is "tags" or "object_prompts" or "paraphrases" or "varied_captions";

    /// <summary>Whether a wording, a text or a list of texts by its key, says anything.</summary>
    /// <exception cref="ArgumentException">A list that is stored as a text is damaged.</exception>
    internal static bool Says(string key, JToken? value) =>
        value is not null && (IsList(key) ? Texts(value).Length > 0
        : value is JValue { Value: string text } && !string.IsNullOrWhiteSpace(text));

    /// <summary>The texts of a list, or of a list that was stored as its Python or JSON text; another text is the only
    /// one. What is null or blank says nothing.</summary>
    /// <exception cref="ArgumentException">A list that is stored as a text is damaged.</exception>
    internal static string[] Texts(JToken value) => [.. (value switch
    {
        JArray list => list.Select(text => (text as JValue)?.Value as string),
        JValue { Value: string text } => Stored(text),
        _ => [],
    }).Where(text => !string.IsNullOrWhiteSpace(text)).Select(text => text!)];

    // as Python's repr and JSON escape
    private static string Unescaped(string text) =>
        !text.Contains('\\') ? text : Escape().Replace(text, match => match.Value[1] switch
    {
        'n' => "\n", 'r' => "\r", 't' => "\t",
        'x' or 'u' or 'U'
            when int.TryParse(match.Value.AsSpan(2), NumberStyles.AllowHexSpecifier, null, out var code)
                && code < 0x110000 =>
            code is >= 0xD800 and < 0xE000 or < 0x10000 ? ((char)code).ToString() : char.ConvertFromUtf32(code),
        _ => match.Value[1..],
    });

    [GeneratedRegex(@"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", RegexOptions.Singleline)]
    private static partial Regex Escape();

    private static string[] Stored(string text)
    {
        var plain = text.Trim();
        if (!Opening().IsMatch(plain))
        {
            return plain is "None" or "null" ? [] : [text];
        }

        return List().Match(plain) is { Success: true } list
            ? [.. list.Groups["text"].Captures.Select(quoted => Unescaped(quoted.Value[1..^1]))]
            : throw new ArgumentException("it holds a list of texts that was stored as a text and is damaged: "
                + (plain.Length > 60 ? plain[..60] + "…" : plain));
    }

    // how a list begins, or a tuple as a whole; a sentence may begin with a bracket, too
    [GeneratedRegex("""^(?:\[\s*(?:['"\]]|None\b|null\b)|\(\s*['"].*\)\z)""", RegexOptions.Singleline)]
    private static partial Regex Opening();

    // texts in quotes, or none, with commas between
    [GeneratedRegex("""^[\[(]\s*(?>(?:(?:(?<text>'(?>(?:[^'\\]+|\\.)*)'|"(?>(?:[^"\\]+|\\.)*)")|None|null)"""
        + """\s*(?:,\s*|(?=[\])]\z)))*)[\])]\z""", RegexOptions.Singleline)]
    private static partial Regex List();
}
