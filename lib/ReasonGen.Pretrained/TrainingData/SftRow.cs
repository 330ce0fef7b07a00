using Newtonsoft.Json.Linq;

namespace ReasonGen.TrainingData;

/// <summary>One row of the published SFT data: an image, and a record of what was written about it.</summary>
/// <param name="Image">The encoded image, PNG or JPEG, as it is stored.</param>
/// <param name="ImagePath">Where it came from; may be missing.</param>
/// <param name="Record">brief_caption, detailed_caption, augmented_prompts and whatever else there is: what
/// <see cref="PromptAugmentation"/> reads.</param>
public sealed record SftRow(byte[] Image, string? ImagePath, JObject Record);

/// <summary>What is written about an image: captions in the paper's styles, and the chain of thought that leads to
/// it.</summary>
/// <param name="Brief">One sentence (brief_caption).</param>
/// <param name="Detailed">The rationale that SFT trains (detailed_caption).</param>
/// <param name="Short">A few words (short_caption); empty where the style is missing.</param>
/// <param name="Paraphrases">The brief caption in other words; this style and the following are empty lists where they
/// are missing.</param>
/// <param name="Varied">Captions of other styles (varied_captions).</param>
/// <param name="Tags">Words and short phrases.</param>
/// <param name="Objects">A noun phrase an object (object_prompts).</param>
public sealed record SftCaptions(string Brief, string Detailed, string Short, IReadOnlyList<string> Paraphrases,
    IReadOnlyList<string> Varied,
    IReadOnlyList<string> Tags, IReadOnlyList<string> Objects)
{
    /// <summary>Names of the styles that are not there.</summary>
    public IEnumerable<string> Missing => Styles().Where(style => style.Texts.Count == 0).Select(style => style.Name);

    /// <summary>In the members and names of the published data; a missing style has no member.</summary>
    public JObject ToRecord() => new()
    {
        ["brief_caption"] = Brief, ["detailed_caption"] = Detailed,
        ["augmented_prompts"] = new JObject(Styles().Where(style => style.Texts.Count > 0)
            .Select(style =>
                new JProperty(style.Name, style.Name == "short_caption" ? Short : new JArray(style.Texts)))),
    };

    /// <summary>Reads a record. It must hold both captions and at least one style; members that nobody asked for are
    /// passed over.</summary>
    /// <exception cref="FormatException">A caption is missing or empty, something is of another type, or no style is
    /// there; it is named.</exception>
    public static SftCaptions Parse(JObject record)
    {
        static JToken? Member(JObject of, string name) =>
            of[name] is { Type: not JTokenType.Null } value ? value : null;
        static string Text(JToken? token, string name) =>
            token is JValue { Value: string text } && !string.IsNullOrWhiteSpace(text) ? text
            : throw new FormatException(token is null ? $"'{name}' is missing" : $"'{name}' is not a text");
        static string[] Texts(JObject of, string name) => Member(of, name) switch
        {
            null or JValue { Value: "" } => [],
            JArray list => [.. list.Select(item => Text(item, name))],
            _ => throw new FormatException($"'{name}' is not a list of texts"),
        };

        var prompts = Member(record, "augmented_prompts") as JObject
            ?? throw new FormatException("'augmented_prompts' is not an object");
        var brief = Member(prompts, "short_caption");
        var captions = new SftCaptions(Text(Member(record, "brief_caption"), "brief_caption"),
            Text(Member(record, "detailed_caption"), "detailed_caption"),
            brief is null or JValue { Value: string } && string.IsNullOrWhiteSpace((string?)brief) ? ""
                : Text(brief, "short_caption"),
            Texts(prompts, "paraphrases"), Texts(prompts, "varied_captions"), Texts(prompts, "tags"),
            Texts(prompts, "object_prompts"));
        return captions.Styles().Any(style => style.Texts.Count > 0) ? captions
            : throw new FormatException("'augmented_prompts' holds none of the styles that are asked for");
    }

    private IEnumerable<(string Name, IReadOnlyList<string> Texts)> Styles() =>
    [
        ("short_caption", Short.Length > 0 ? [Short] : []), ("paraphrases", Paraphrases), ("varied_captions", Varied),
        ("tags", Tags),
        ("object_prompts", Objects),
    ];
}
