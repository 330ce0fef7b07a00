using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Clip;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using Xunit;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class ClipTokenizerGoldenTests
{
    // the small files of the fixture, and the vocabulary in the assembly
    public static TheoryData<string, ClipTextRules> Vocabularies =>
        new(new[] { "small", "published" }.SelectMany(source =>
        Enum.GetValues<ClipTextRules>().Select(rules => (source, rules))));

    [Theory, MemberData(nameof(Vocabularies))]
    public void Ids_equal_the_reference(string source, ClipTextRules rules)
    {
        var json = Golden.Json("clip/tokenizer/cases");
        var tokenizer = source == "small" ? ClipFixture.Tokenizer(rules, "clip/tokenizer")
            : ClipTokenizer.Published(rules);
        Assert.Equal(((int)json["start"]!, (int)json["end"]!), (tokenizer.Start, tokenizer.End));
        var key = rules switch { ClipTextRules.OpenAi => "openai", ClipTextRules.HuggingFace => "hf_fast", _ => "ids" };
        Assert.All(json["cases"]!, row =>
        {
            var expected = row[key] ?? row["ids"]!;
            if (expected.Type == JTokenType.Null)
            {
                Assert.Contains("tokens", Assert.Throws<ArgumentException>(() =>
                    tokenizer.EncodeForModel((string)row["text"]!)).Message);
                return;
            }

            Assert.Equal(ClipFixture.Ids(expected), tokenizer.EncodeForModel((string)row["text"]!));
            if (rules == ClipTextRules.OpenClip && source == "published" && row["untruncated"] is { } length)
            {
                Assert.Equal((int)length, tokenizer.Encode((string)row["text"]!).Length);
            }
        });
    }

    [Fact]
    public void Several_texts_are_filled_up_as_by_the_reference()
    {
        var t = Golden.Tensors("clip/tokenizer/padded");
        var texts = t["rows"].Values<long>().Select(row =>
            (string)Golden.Json("clip/tokenizer/cases")["cases"]![(int)row]!["text"]!).ToArray();
        foreach (var (rules, key) in new[] { (ClipTextRules.OpenClip, "open_clip"), (ClipTextRules.HuggingFace, "hf") })
        {
            var tokenizer = ClipTokenizer.Published(rules);
            var width = (int)t[key].shape[1];
            using var padded = ClipScorer.Padded([.. texts.Select(text => tokenizer.EncodeForModel(text))],
                rules == ClipTextRules.OpenClip ? 0 : tokenizer.End);
            var shorter = t[key].narrow(1, 0, padded.shape[1]);
            Golden.Equal(shorter, padded, key);
            Assert.True(width >= padded.shape[1]);
        }
    }

    [Fact]
    public void The_published_vocabulary_has_the_ids_of_the_reference()
    {
        var json = Golden.Json("clip/tokenizer/full");
        var tokenizer = ClipTokenizer.Published(ClipTextRules.OpenClip);
        Assert.Equal((int)json["tokens"]!, tokenizer.VocabularySize);
        Assert.Equal([tokenizer.Start, (int)json["some"]!["cat</w>"]!, tokenizer.End], tokenizer.Encode("cat"));
    }

    [Theory]
    [InlineData("vocab.json", "[1, 2]", "vocab.json")]
    [InlineData("vocab.json", "{\"a\": -1}", "'a'")]
    [InlineData("merges.txt", "#version: 0.2\na b c\n", "line 2")]
    [InlineData("merges.txt", "#version: 0.2\nqqq zzz\n", "line 2")]
    public void Damaged_vocabulary_files_are_named(string file, string content, string expected)
    {
        using var copy = new ClipFixture.Copy("clip/hf/vocab.json", "clip/hf/merges.txt");
        File.WriteAllText(copy.In(file), content);
        Assert.Contains(expected, Assert.Throws<UnusableFileException>(() => ClipTokenizer.Load(copy.Folder,
            ClipTextRules.OpenClip)).Message);
    }
}
