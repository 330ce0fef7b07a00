using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Tokenizers;
using Xunit;

namespace ReasonGen.Tests.Text;

public sealed class HuggingFaceTokenizerTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory();

    public void Dispose() => folder.Delete(true);

    [Theory]
    [InlineData("[a-c]++d?", "aabcddxcd", "aabcd|dx|cd")]
    [InlineData("(?i:'s|k)", "x'ſ'S'sKk\u212A", "x|'ſ|'S|'s|K|k|\u212A")]
    [InlineData("(?i:[st]a|x)y", "TAy xY ſay", "TAy| xY |ſay")]
    [InlineData(@"\p{Lu}\p{^L}", "A1 𝒜😀 Ab", "A1| |𝒜😀| Ab")]
    [InlineData("[^a\\-\\]]+", "a😀b-c]", "a|😀b|-|c|]")]
    [InlineData("[😀-😂𝒜]", "x😁😃😀𝒜𝒝", "x|😁|😃|😀|𝒜|𝒝")]
    [InlineData("😀{2}", "😀😀😀", "😀😀|😀")]
    [InlineData(@"\x41\u0062.\x{1F600}", "Abc😀Ab\n😀", "Abc😀|Ab\n😀")]
    [InlineData(@"\s+(?!\S)|\s+", "a   b  ", "a|  | |b|  ")]
    [InlineData("a$", "ba\nba", "b|a|\nb|a")]
    [InlineData("(a|(?=b)b)(?<!x)[]x]", "bxa]", "bx|a]")]
    [InlineData("q*", "abqc", "a|b|q|c")]
    public void Split_understands_what_tokenizers_write(string regex, string text, string pieces)
    {
        var tokenizer = SmallTokenizer.Load(folder, SmallTokenizer.Split(regex));
        Assert.Equal(pieces.Split('|').Select(piece => Spell(piece)), tokenizer.Pieces(text));
    }

    [Theory]
    [InlineData("[a", "ends too early")]
    [InlineData("[b-a]", "runs backwards")]
    [InlineData(@"[a-\d]", "runs backwards")]
    [InlineData("(a", "never closed")]
    [InlineData("a)", "closes nothing")]
    [InlineData("a[[b]]", "a class in a class")]
    [InlineData("[a&&b]", "a class in a class")]
    [InlineData(@"\w", @"\w is not read here")]
    [InlineData(@"(a)\1", @"\1 is not read here")]
    [InlineData(@"\p{Greek}", "Greek")]
    [InlineData(@"\pL", "incomplete")]
    [InlineData(@"\x{D800}", "no character")]
    [InlineData("(?<name>a)", "its place 0")]
    [InlineData("(?i:é)", "beyond ASCII")]
    [InlineData("a**", "NestedQuantifier")]
    [InlineData("*a", "QuantifierAfterNothing")]
    public void Load_unreadable_regular_expression_is_refused(string regex, string cause) =>
        Refused(cause, step: SmallTokenizer.Split(regex));

    [Theory]
    [InlineData("normalizer", """{"type": "NFKC"}""", "its normalizer is NFKC")]
    [InlineData("pre_tokenizer", "null", "does not end in ByteLevel")]
    [InlineData("pre_tokenizer", """{"type": "ByteLevel", "add_prefix_space": true}""", "adds a blank")]
    [InlineData("pre_tokenizer.pretokenizers", """[{"type": "Split", "behavior": "Removed"}, {"type": "ByteLevel"}]""",
        "not Isolated")]
    [InlineData("decoder", """{"type": "WordPiece"}""", "decoder is not ByteLevel")]
    [InlineData("decoder", "null", "decoder is not ByteLevel")]
    [InlineData("post_processor", """{"type": "BertProcessing"}""", "its post-processor is BertProcessing")]
    [InlineData("post_processor", """{"type": "TemplateProcessing", "single": [{"Sequence": {}}, {"Sequence": {}}]}""",
        "more than once")]
    [InlineData("added_tokens", """[{"id": 7, "content": "<y>"}, {"id": 8, "content": "<y>"}]""", "stands twice")]
    [InlineData("added_tokens", """[{"id": 7, "content": "<y>"}, {"id": 7, "content": "<z>"}]""", "belongs to '<y>'")]
    [InlineData("added_tokens", """[{"id": 9, "content": "ab"}]""", "in the vocabulary 3")]
    [InlineData("model.unk_token", "\"a\"", "sets unk_token")]
    [InlineData("model.byte_fallback", "true", "sets byte_fallback")]
    [InlineData("model.merges", """[["a"]]""", "1 parts")]
    [InlineData("model.vocab.a", "16777216", "not a whole number")]
    public void Load_what_would_change_ids_is_refused(string member, string value, string cause)
    {
        var dot = member.LastIndexOf('.');
        Refused(cause,
            json => (dot < 0 ? json : json.SelectToken(member[..dot])!)[member[(dot + 1)..]] = JToken.Parse(value));
    }

    [Fact]
    public void Load_too_many_steps_or_classes_are_refused()
    {
        Refused("more than 16 steps", json => json["pre_tokenizer"]!["pretokenizers"] = JToken.FromObject(
            Enumerable.Repeat(SmallTokenizer.Split("a"), 100)
                .Append(new { type = "ByteLevel", add_prefix_space = false })));
        Refused("more than 128 classes", step: SmallTokenizer.Split(string.Concat(Enumerable.Repeat("[ab]", 200))));
        Refused("more than 10000 characters", step: SmallTokenizer.Split(new string('(', 20000)));
    }

    [Fact]
    public void Load_a_byte_order_mark_is_passed_over()
    {
        _ = SmallTokenizer.Load(folder);
        var file = Path.Combine(folder.FullName, "tokenizer.json");
        File.WriteAllText(file, File.ReadAllText(file), System.Text.Encoding.UTF8); // writes the mark
        Assert.Equal(0xEF, File.ReadAllBytes(file)[0]);
        Assert.Equal([4, 6], HuggingFaceTokenizer.Load(file).Encode("abc<x>"));
    }

    [Fact]
    public void Load_missing_file_is_named()
    {
        var error = Assert.Throws<UnusableFileException>(() => HuggingFaceTokenizer.Load(folder.FullName));
        Assert.Contains("there is no such file", error.Message);
        Assert.EndsWith("tokenizer.json", error.Path);
    }

    [Fact]
    public void Special_of_another_model_names_the_missing_token()
    {
        var tokenizer = SmallTokenizer.Load(folder);
        Assert.Equal(6, tokenizer.Id("<x>"));
        Assert.Contains("another model", Assert.Throws<UnusableFileException>(() => tokenizer.Special).Message);
        Assert.Contains("'abc'", Assert.Throws<UnusableFileException>(() => tokenizer.Id("abc")).Message);
    }

    [Fact]
    public void Encode_lone_surrogates_count_as_replacement_characters()
    {
        var tokenizer = SmallTokenizer.Load(folder, SmallTokenizer.Split(@"\p{So}"));
        Assert.Equal(tokenizer.Pieces("a\uFFFDb"), tokenizer.Pieces("a\uD83Db"));
        Assert.Equal([0, 1], SmallTokenizer.Load(folder, SmallTokenizer.Split("b")).Encode("a\uDC00b"));
    }

    [Fact]
    public void Encode_very_long_piece_is_merged_whole() =>
        Assert.Equal(Enumerable.Repeat(4, 100_000),
            SmallTokenizer.Load(folder).Encode(string.Concat(Enumerable.Repeat("abc", 100_000))));

    [Fact]
    public void Encode_from_several_threads_agrees()
    {
        var tokenizer = SmallTokenizer.Load(folder, SmallTokenizer.Split(" ?[abc]+"));
        string Written(int i) => string.Concat(Enumerable.Range(0, 7).Select(k => "abc "[(i >> (2 * k)) & 3])) + "<x>c";
        var texts = Enumerable.Range(0, 2000).Select(Written).ToArray();
        var alone = texts.Select(text => string.Join(',', tokenizer.Encode(text))).ToArray();
        var fresh = SmallTokenizer.Load(folder, SmallTokenizer.Split(" ?[abc]+"));
        Assert.Equal(alone, texts.AsParallel().AsOrdered().Select(text => string.Join(',', fresh.Encode(text))));
    }

    private void Refused(string cause, Action<JObject>? change = null, object? step = null)
    {
        var error = Assert.Throws<UnusableFileException>(() => SmallTokenizer.Load(folder, step, change));
        Assert.Contains(cause, error.Message);
        Assert.StartsWith(Path.Combine(folder.FullName, "tokenizer.json"), error.Message);
        Assert.InRange(error.Message.Length, 0, 800);
    }

    private static string Spell(string text) => string.Concat(System.Text.Encoding.UTF8.GetBytes(text).Select(b =>
        (char)(b is >= 0x21 and <= 0x7E or >= 0xA1 and <= 0xAC or >= 0xAE ? b
            : b < 0x21 ? 0x100 + b : b <= 0xA0 ? 0x121 + b - 0x7F : 0x143)));
}
