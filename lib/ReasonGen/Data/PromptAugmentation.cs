using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Data;

/// <summary>
/// Picks one of a record's several wordings (sft_dataset.py prompt_augmentation, cot_augmentation), so that SFT does not overfit one pattern.
/// Kept from the reference: a single object prompt gives " and X" with its leading blank.
/// </summary>
public static partial class PromptAugmentation
{
    /// <summary>The keys of janus_sft.sh.</summary>
    public static IReadOnlyList<string> PaperKeys { get; } = ["short_caption", "paraphrases", "tags", "varied_captions", "object_prompts"];

    /// <summary>A prompt in one of the wordings.</summary>
    /// <param name="record">A row of the published data, with its member augmented_prompts.</param>
    /// <param name="keys">Wordings to choose from.</param>
    /// <param name="draw">A uniform integer from the first to the second argument, both included.</param>
    /// <exception cref="ArgumentException">The record lacks the wording.</exception>
    public static string Prompt(JObject record, IReadOnlyList<string> keys, Func<int, int, int> draw)
    {
        var key = keys[draw(0, keys.Count - 1)];
        var value = (key == "longIB_captions" ? record[key] : record["augmented_prompts"]?[key])
            ?? throw new ArgumentException($"the record has no wording '{key}'", nameof(record));
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

    // A list, or a list that was stored as its Python text.
    internal static string[] Texts(JToken value) => value is JArray list ? [.. list.Select(text => (string)text!)]
        : [.. PythonText().Matches((string)value!).Select(match => match.Groups[2].Value)];

    [GeneratedRegex("""(['"])((?:\\.|(?!\1).)*)\1""")]
    private static partial Regex PythonText();
}
