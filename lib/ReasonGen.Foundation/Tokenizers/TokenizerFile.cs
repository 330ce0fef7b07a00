using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using ReasonGen.Checkpoints;

namespace ReasonGen.Tokenizers;

/// <summary>
/// What a tokenizer.json says, checked whole: byte-level BPE as DeepSeek, Llama 3 and Qwen publish it. Stricter than
/// the format's own library: no name or id twice, no added token under another token's id; and what would change ids
/// but is not read here is refused. Settings of truncation and padding are the caller's business and passed over.
/// </summary>
internal sealed record TokenizerFile(
    Dictionary<string, int> Vocabulary, Dictionary<long, (int Rank, int Id)> Merges, bool IgnoreMerges,
    AddedToken[] Added, bool Nfc,
    PieceSplitter Splitter, int[] Before, int[] After)
{
    private const long Largest = 256 << 20; // bytes
    private const int LargestId = (1 << 24) - 1;
    // ByteLevel's own
    private const string WordPattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <exception cref="UnusableFileException">The file is a pipe, cannot be read, is broken, or of another
    /// kind.</exception>
    internal static TokenizerFile Read(string path)
    {
        try
        {
            using var file = FileKinds.OpenRead(path);
            Demand(file.Length <= Largest, $"it has {file.Length} bytes, more than any tokenizer");
            var bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            var mark = bytes.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? Encoding.UTF8.Preamble.Length : 0;
            using var json = Utf8.IsValid(bytes)
                ? JsonDocument.Parse(bytes.AsMemory(mark), new JsonDocumentOptions { AllowDuplicateProperties = false })
                : throw new FormatException("it is not UTF-8 text");
            return Parse(json.RootElement);
        }
        catch (Exception e)
            when (e is FormatException or JsonException or InvalidOperationException || FileKinds.IsAboutFile(e))
        {
            // may quote the file
            var cause = string.Concat(e.Message.Take(500).Select(c => char.IsControl(c) ? ' ' : c)).TrimEnd('.');
            throw new UnusableFileException(path,
                e is FileNotFoundException or DirectoryNotFoundException ? "there is no such file"
                : $"not a tokenizer that can be read: {cause}", "use the tokenizer.json published with the model", e);
        }
    }

    private static TokenizerFile Parse(JsonElement root)
    {
        var model = Member(root, "model");
        var type = model.TryGetProperty("type", out var named) ? named.GetString() : "BPE";
        Demand(type == "BPE", $"its model is {type}, not BPE");
        foreach (var setting in new[] { "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
            "byte_fallback" })
        {
            Demand(!model.TryGetProperty(setting, out var value) || value.ToString() is "" or "False" or "0" or "0.0",
                $"its model sets {setting}, which is not read here");
        }

        var vocabulary = new Dictionary<string, int>();
        var texts = new Dictionary<int, string>();
        foreach (var token in Member(model, "vocab").EnumerateObject())
        {
            var id = Id(token.Value, token.Name);
            vocabulary.Add(token.Name, id);
            if (!texts.TryAdd(id, token.Name))
            {
                throw new FormatException($"'{token.Name}' and '{texts[id]}' have one id");
            }
        }

        var merges = ReadMerges(Member(model, "merges"), vocabulary);
        var listed = root.TryGetProperty("added_tokens", out var list) && list.ValueKind != JsonValueKind.Null;
        var added = listed ? list.EnumerateArray().Select(ReadAdded).ToArray() : [];
        foreach (var token in added)
        {
            Demand(texts.TryAdd(token.Id, token.Text)
                || (texts[token.Id] == token.Text && vocabulary.ContainsKey(token.Text)),
                $"the added token '{token.Text}' has the id {token.Id}, which belongs to '{texts[token.Id]}'");
            Demand(!vocabulary.TryGetValue(token.Text, out var other) || other == token.Id,
                $"the added token '{token.Text}' has the id {token.Id}, in the vocabulary {other}");
        }

        Demand(added.DistinctBy(token => token.Text).Count() == added.Length, "an added token stands twice");
        var steps = Steps(root, "pre_tokenizer", "pretokenizers");
        Demand(steps.Count > 0 && steps.FindIndex(step => Kind(step) == "ByteLevel") == steps.Count - 1,
            "its pre-tokenizer does not end in ByteLevel");
        var normalizers = Steps(root, "normalizer", "normalizers");
        Demand(normalizers.All(step => Kind(step) == "NFC"),
            $"its normalizer is {Kinds(normalizers)}; only NFC is read here");
        var decoders = Steps(root, "decoder", "decoders");
        Demand(decoders is [var decoder] && Kind(decoder) == "ByteLevel", "its decoder is not ByteLevel");
        var (before, after) = ReadTemplate(Steps(root, "post_processor", "processors"), texts);
        return new(vocabulary, merges, Flag(model, "ignore_merges"), added, normalizers.Count > 0,
            new(steps.SelectMany(Patterns)), before, after);
    }

    // Pairs, or in older files texts of two parts.
    private static Dictionary<long, (int, int)> ReadMerges(JsonElement list, Dictionary<string, int> vocabulary)
    {
        var merges = new Dictionary<long, (int, int)>();
        foreach (var (rank, merge) in list.EnumerateArray().Index())
        {
            string[] parts = merge.ValueKind == JsonValueKind.String ? merge.GetString()!.Split(' ')
                : [.. merge.EnumerateArray().Select(part => part.GetString() ?? "")];
            if (parts is not [var left, var right])
            {
                throw new FormatException($"merge number {rank} has {parts.Length} parts");
            }

            merges[ByteLevelBpe.Pair(Known(left, rank), Known(right, rank))] = (rank, Known(left + right, rank));
        }

        return merges;

        int Known(string token, int rank) => vocabulary.TryGetValue(token, out var id) ? id
            : throw new FormatException($"merge number {rank} speaks of '{token}', which the vocabulary lacks");
    }

    private static AddedToken ReadAdded(JsonElement token)
    {
        var text = Member(token, "content").GetString();
        Demand(!string.IsNullOrEmpty(text), "an added token is empty");
        var normalized =
            token.TryGetProperty("normalized", out var value) ? value.GetBoolean() : !Flag(token, "special");
        return new(Id(Member(token, "id"), text!), text!, Flag(token, "special"), Flag(token, "single_word"),
            Flag(token, "lstrip"),
            Flag(token, "rstrip"), normalized);
    }

    private static IEnumerable<string> Patterns(JsonElement step)
    {
        switch (Kind(step))
        {
            case "Split":
                Demand(Member(step, "behavior").GetString() == "Isolated" && !Flag(step, "invert"),
                    "it has a Split that is not Isolated, or inverted");
                var pattern = Member(step, "pattern");
                yield return pattern.TryGetProperty("String", out var plain)
                    ? OnigurumaPattern.Literal(plain.GetString() ?? "")
                    : Member(pattern, "Regex").GetString() ?? "";
                break;
            case "Digits":
                yield return Flag(step, "individual_digits") ? @"\p{N}" : @"\p{N}+";
                break;
            case "ByteLevel":
                Demand(!Flag(step, "add_prefix_space"),
                    "its pre-tokenizer adds a blank in front, which is not read here");
                if (!step.TryGetProperty("use_regex", out var use) || use.GetBoolean())
                {
                    yield return WordPattern;
                }

                break;
            default:
                throw new FormatException(
                    $"its pre-tokenizer has a step {Kind(step)}; read here are Split, Digits and ByteLevel");
        }
    }

    // Ids put before and after a text.
    private static (int[] Before, int[] After) ReadTemplate(List<JsonElement> steps, Dictionary<int, string> texts)
    {
        var templates = steps.Where(step => Kind(step) != "ByteLevel").ToArray();
        Demand(templates.Length <= 1 && templates.All(step => Kind(step) == "TemplateProcessing"),
            $"its post-processor is {Kinds(steps)}");
        if (templates is not [var template])
        {
            return ([], []);
        }

        var sides = new[] { new List<int>(), [] };
        var side = 0;
        foreach (var piece in Member(template, "single").EnumerateArray())
        {
            if (piece.TryGetProperty("Sequence", out _))
            {
                Demand(++side == 1, "its template holds the text more than once");
                continue;
            }

            var name = Member(Member(piece, "SpecialToken"), "id").GetString() ?? "";
            var ids = Member(Member(Member(template, "special_tokens"), name), "ids").EnumerateArray()
                .Select(id => Id(id, name)).ToArray();
            Demand(ids.All(texts.ContainsKey), $"its template has an id for '{name}' that no token has");
            sides[side].AddRange(ids);
        }

        Demand(side == 1, "its template does not hold the text");
        return ([.. sides[0]], [.. sides[1]]);
    }

    // A step, or the steps of a sequence (of sequences), or nothing.
    private static List<JsonElement> Steps(JsonElement parent, string name, string members) =>
        parent.TryGetProperty(name, out var step) && step.ValueKind != JsonValueKind.Null ? [.. Flatten(step, members)]
            : [];

    private static IEnumerable<JsonElement> Flatten(JsonElement step, string members) =>
        Kind(step) == "Sequence" ? Member(step, members).EnumerateArray().SelectMany(inner => Flatten(inner, members))
            : [step];

    private static string Kind(JsonElement step) => Member(step, "type").GetString() ?? "";

    private static string Kinds(IEnumerable<JsonElement> steps) => string.Join(", ", steps.Select(Kind));

    private static bool Flag(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value) && value.GetBoolean();

    private static int Id(JsonElement value, string of) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var id) && id is >= 0 and <= LargestId ? id
        : throw new FormatException(
            $"the id of '{of}' is {value.GetRawText()}, not a whole number from 0 to {LargestId}");

    private static JsonElement Member(JsonElement parent, string name) =>
        parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(name, out var value) ? value
        : throw new FormatException($"'{name}' is missing");

    private static void Demand(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new FormatException(otherwise);
        }
    }
}
