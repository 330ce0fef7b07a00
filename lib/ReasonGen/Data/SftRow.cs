using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.World;

namespace ReasonGen.Data;

/// <summary>One row of the published SFT data: a picture, and a record of what was written about it.</summary>
/// <param name="Image">The encoded picture, PNG or JPEG, as it is stored.</param>
/// <param name="ImagePath">Where it came from; may be missing.</param>
/// <param name="Record">brief_caption, detailed_caption, augmented_prompts and whatever else there is: what <see cref="PromptAugmentation"/> reads.</param>
public sealed record SftRow(byte[] Image, string? ImagePath, JObject Record)
{
    /// <summary>Samples of the drawn world, as a captioner would have stored them: the first so many of a stream.</summary>
    public static IEnumerable<SftRow> OfWorld(WorldStream stream, int count) => Enumerable.Range(0, count).Select(i =>
    {
        var sample = stream[i];
        string plain = sample.Caption(CaptionStyle.Plain), tags = sample.Caption(CaptionStyle.Tags);
        var objects = sample.Caption(CaptionStyle.ObjectCentred);
        var captions = new SftCaptions(plain, sample.Rationale, plain, [plain, objects], [plain, tags], tags.Split(" , "),
            objects["shapes : ".Length..].Split(" and "));
        return new SftRow(Png.Encode(sample.Picture(stream.Config)), $"shapes/{i:000}.png", captions.ToRecord());
    });
}

/// <summary>What is written about a picture: captions in the paper's styles, and the chain of thought that leads to it.</summary>
/// <param name="Brief">One sentence (brief_caption).</param>
/// <param name="Detailed">The rationale that SFT trains (detailed_caption).</param>
/// <param name="Short">A few words (short_caption).</param>
/// <param name="Paraphrases">The brief caption in other words.</param>
/// <param name="Varied">Captions of other styles (varied_captions).</param>
/// <param name="Tags">Words and short phrases.</param>
/// <param name="Objects">A noun phrase an object (object_prompts).</param>
public sealed record SftCaptions(string Brief, string Detailed, string Short, IReadOnlyList<string> Paraphrases, IReadOnlyList<string> Varied,
    IReadOnlyList<string> Tags, IReadOnlyList<string> Objects)
{
    /// <summary>In the members and names of the published data.</summary>
    public JObject ToRecord() => new()
    {
        ["brief_caption"] = Brief, ["detailed_caption"] = Detailed,
        ["augmented_prompts"] = new JObject
        {
            ["short_caption"] = Short, ["paraphrases"] = new JArray(Paraphrases), ["varied_captions"] = new JArray(Varied),
            ["tags"] = new JArray(Tags), ["object_prompts"] = new JArray(Objects),
        },
    };

    /// <summary>Reads a record that must hold every member, none empty, and no other.</summary>
    /// <exception cref="FormatException">A member is missing, empty, of another type, or unknown; it is named.</exception>
    public static SftCaptions Parse(JObject record)
    {
        static JToken Member(JObject of, string name) => of[name] ?? throw new FormatException($"'{name}' is missing");
        static string Text(JToken token, string name) => token is JValue { Value: string text } && !string.IsNullOrWhiteSpace(text) ? text
            : throw new FormatException($"'{name}' is not a text");
        static string[] Texts(JObject of, string name) => Member(of, name) is JArray { Count: > 0 } list ? [.. list.Select(item => Text(item, name))]
            : throw new FormatException($"'{name}' is not a list of texts");
        static void Only(JObject of, params ReadOnlySpan<string> names)
        {
            foreach (var property in of.Properties())
            {
                if (!names.Contains(property.Name))
                {
                    throw new FormatException($"'{property.Name}' is not asked for");
                }
            }
        }

        Only(record, "brief_caption", "detailed_caption", "augmented_prompts");
        var prompts = Member(record, "augmented_prompts") as JObject ?? throw new FormatException("'augmented_prompts' is not an object");
        Only(prompts, "short_caption", "paraphrases", "varied_captions", "tags", "object_prompts");
        return new(Text(Member(record, "brief_caption"), "brief_caption"), Text(Member(record, "detailed_caption"), "detailed_caption"),
            Text(Member(prompts, "short_caption"), "short_caption"), Texts(prompts, "paraphrases"), Texts(prompts, "varied_captions"),
            Texts(prompts, "tags"), Texts(prompts, "object_prompts"));
    }
}
