using System.Globalization;
using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Tokenizers;
using Xunit;

namespace ReasonGen.Tests.Text;

[Trait("Category", "Golden")]
public sealed class TokenizerGoldenTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory();

    public void Dispose() => folder.Delete(true);

    [Fact]
    public void Small_tokenizers_equal_the_reference()
    {
        var files = Directory.GetFiles(Golden.Path("tokenizer"), "*.tokenizer.json");
        Assert.NotEmpty(files);
        foreach (var file in files)
        {
            var name = Path.GetFileName(file).Replace(".tokenizer.json", "");
            Check(HuggingFaceTokenizer.Load(file), Golden.Json($"tokenizer/{name}.golden"), name);
        }
    }

    /// <summary>Needs the packages of tests/golden/tokenizer/sources.json: npm install them, name the folder that holds
    /// node_modules.</summary>
    [Fact]
    public void Published_tokenizers_equal_the_reference()
    {
        var folder = Environment.GetEnvironmentVariable("REASONGEN_TOKENIZERS");
        Assert.SkipWhen(string.IsNullOrEmpty(folder),
            "REASONGEN_TOKENIZERS names no folder with node_modules: published tokenizers are not at hand");
        foreach (var (name, source) in Golden.Json("tokenizer/sources"))
        {
            var file = Path.Combine(folder!, "node_modules", (string)source!["package"]!, (string)source["file"]!);
            Assert.Equal((string)source["sha256"]!,
                Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file))));
            Check(HuggingFaceTokenizer.Load(file), Golden.Json($"tokenizer/{name}.golden"), name);
        }
    }

    [Fact]
    public void Malformed_files_are_refused_in_one_paragraph()
    {
        foreach (var (name, facts) in Golden.Json("tokenizer/malformed"))
        {
            var file = Golden.Existing($"tokenizer/malformed/{name}.json");
            if ((string)facts!["expected"]! != "error")
            {
                var loaded = HuggingFaceTokenizer.Load(file);
                var expected = ((string)facts["expected"]!).Split(" -> ");
                Assert.Equal(JArray.Parse(expected[1]).Select(id => (int)id),
                    loaded.Encode(expected[0].Split(' ')[^1]));
                continue;
            }

            var error = Assert.Throws<UnusableFileException>(() => HuggingFaceTokenizer.Load(file));
            Assert.Contains($"{name}.json: not a tokenizer that can be read: ", error.Message);
            Assert.DoesNotContain('\n', error.Message);
            Assert.InRange(error.Message.Length, 50, file.Length + 700);
        }
    }

    [Fact]
    public void Classes_match_every_code_point_as_the_reference_engine_does()
    {
        var all = Enumerable.Range(0, 0x110000).Where(Rune.IsValid).Select(c => new Rune(c)).ToArray();
        // private use is in no class, and never alone
        var text = string.Concat(all.Select(rune => $"{rune}\uE000\uE000"));
        foreach (var (name, ranges) in (JObject)Golden.Json("tokenizer/unicode_classes")["classes"]!)
        {
            var members = ((string)ranges!).Split(' ')
                .Select(range => range.Split('-').Select(c => int.Parse(c, NumberStyles.HexNumber)).ToArray())
                .SelectMany(range => Enumerable.Range(range[0], range[^1] - range[0] + 1)).ToHashSet();
            var bytes = new List<int>();
            var run = 0;
            foreach (var rune in all)
            {
                bytes.AddRange(members.Contains(rune.Value)
                    ? run > 0 ? [run, rune.Utf8SequenceLength] : [rune.Utf8SequenceLength] : []);
                run = members.Contains(rune.Value) ? 6 : run + rune.Utf8SequenceLength + 6;
            }

            var step =
                name == "Digits" ? new { type = "Digits", individual_digits = true } : SmallTokenizer.Split(name);
            var tokenizer = SmallTokenizer.Load(folder, step);
            Assert.True(bytes.Append(run).SequenceEqual(tokenizer.Pieces(text).Select(piece => piece.Length)), name);
        }
    }

    private static void Check(HuggingFaceTokenizer tokenizer, JObject golden, string name)
    {
        Assert.Equal((int)golden["vocab_size"]!, tokenizer.VocabularySize);
        foreach (var row in golden["encode"]!)
        {
            var text = (string)row["text"]!;
            var what = $"{name} {row.ToString(Newtonsoft.Json.Formatting.None)}";
            var ids = Ids(row["ids"]!);
            var whole = Ids(row["ids_with_special"] ?? row["ids"]!);
            Same(ids, tokenizer.Encode(text), what);
            Same(whole, tokenizer.Encode(text, template: true), what);
            Assert.Equal((string)row["tokens"]!, string.Join('\t', ids.Select(tokenizer.Token)));
            Assert.Equal(Text(row["decoded"]!, text), tokenizer.Decode(whole, keepSpecial: true));
            Assert.Equal(Text(row["decoded_skip_special"]!, text), tokenizer.Decode(whole));
            if (row["pieces"] is { } pieces)
            {
                Assert.Equal((string)pieces!, string.Join('\t', tokenizer.Pieces(text)));
            }
        }

        foreach (var row in golden["decode"]!)
        {
            Assert.Equal((string)row["decoded"]!, tokenizer.Decode(Ids(row["ids"]!), keepSpecial: true));
            Assert.Equal((string)row["decoded_skip_special"]!, tokenizer.Decode(Ids(row["ids"]!)));
        }
    }

    private static string Text(JToken value, string same) => value.Type == JTokenType.Boolean ? same : (string)value!;

    private static int[] Ids(JToken list) => [.. list.Select(id => (int)id)];

    private static void Same(int[] expected, int[] actual, string what) =>
        Assert.True(expected.SequenceEqual(actual), $"[{string.Join(",", actual)}] {what}");
}
