using System.Security.Cryptography;
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Blip;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using TorchSharp;
using Xunit;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class WordPieceGoldenTests
{
    private static WordPiece Full => WordPiece.Published("[DEC]", "[ENC]");

    [Fact]
    public void Questions_get_the_text_and_ids_of_the_reference()
    {
        var json = Golden.Json("blip_vqa/tokenizer");
        var tokenizer = Full;
        Assert.All(((Newtonsoft.Json.Linq.JObject)json["special"]!).Properties(),
            token => Assert.Equal((int)token.Value, tokenizer.IdOf(token.Name)));
        int[] Ids(string prepared)
        {
            var ids = tokenizer.Encode(prepared, 35);
            ids[0] = tokenizer.IdOf("[ENC]")!.Value;
            return ids;
        }

        Assert.All(json["cases"]!, row =>
        {
            Assert.Equal((string)row["prepared"]!, BlipVqaJudge.Prepare((string)row["question"]!));
            Assert.Equal(ClipFixture.Ids(row["ids"]!), Ids((string)row["prepared"]!));
            Assert.Equal((int?)row["untruncated"] ?? ClipFixture.Ids(row["ids"]!).Length,
                tokenizer.Encode((string)row["prepared"]!).Length);
        });
        var t = Golden.Tensors("blip_vqa/batch");
        var (ids, mask) = BertNames.Batch([.. json["batch"]!.Select(text => Ids((string)text!))], tokenizer.Pad);
        Golden.Equal(t["input_ids"], ids);
        Golden.Equal(t["attention_mask"], mask.flatten(1));
    }

    [Fact]
    public void The_published_vocabulary_lies_within_and_equals_the_file()
    {
        Assert.Equal((string)Golden.Json("blip_vqa/tokenizer")["vocab_txt_sha256"]!,
            Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Golden.Path("blip_vqa/vocab.txt")))));
        var (own, read) = (WordPiece.Published(), WordPiece.Load(Golden.Path("blip_vqa/vocab.txt")));
        Assert.Equal(File.ReadAllLines(Golden.Path("blip_vqa/vocab.txt")).Length, own.VocabularySize);
        Assert.All(File.ReadLines(Golden.Path("blip_vqa/vocab.txt")),
            token => Assert.Equal(read.IdOf(token), own.IdOf(token)));
    }

    [Fact]
    public void Prompts_of_ImageReward_get_the_ids_of_the_reference_special_ones_included() =>
        Assert.All(Golden.Json("preference/imagereward/tokenizer")["cases"]!, row =>
        {
            var ids = Full.Encode((string)row["text"]!, 35);
            Assert.Equal((int)row["length"]!, ids.Length);
            Assert.Equal(ClipFixture.Ids(row["ids"]!)[..ids.Length], ids);
        });

    [Fact]
    public void DPG_questions_get_the_ids_of_the_reference_and_ids_its_texts()
    {
        var json = Golden.Json("mplug/tokens");
        var tokenizer = WordPiece.Load(Golden.Path("mplug/main/vocab.txt"));
        Assert.All(json["cases"]!, row =>
        {
            Assert.Equal((string)row["lowered"]!, ReasonGen.Judges.Clip.LowerCase.Python((string)row["text"]!));
            var (ids, mask) = BertNames.Batch([tokenizer.Encode((string)row["lowered"]!, (int)json["max_length"]!)],
                tokenizer.Pad, (int)json["max_length"]!);
            Assert.Equal(ClipFixture.Ids(row["input_ids"]!), TensorValues.Values<long>(ids).Select(id => (int)id));
            Assert.Equal(ClipFixture.Ids(row["attention_mask"]!),
                TensorValues.Values<long>(mask.to(torch.ScalarType.Int64)).Select(id => (int)id));
        });
        Assert.All(Golden.List("mplug/decode"), row =>
        {
            Assert.Equal((string)row["text"]!, tokenizer.Decode(ClipFixture.Ids(row["ids"]!)));
            Assert.Equal((string)row["text_without_clean_up"]!,
                tokenizer.Decode(ClipFixture.Ids(row["ids"]!), cleanUp: false));
        });
    }

    [Theory]
    [InlineData("one\ntwo\n", "[CLS]")]
    [InlineData("", "[UNK]")]
    public void A_file_that_is_no_vocabulary_is_refused(string content, string lacking)
    {
        using var copy = new ClipFixture.Copy();
        File.WriteAllText(copy.In("vocab.txt"), content);
        Assert.Contains(lacking,
            Assert.Throws<UnusableFileException>(() => WordPiece.Load(copy.In("vocab.txt"))).Message);
        Assert.Contains("no such file",
            Assert.Throws<UnusableFileException>(() => WordPiece.Load(copy.In("other.txt"))).Message);
        File.WriteAllBytes(copy.In("vocab.txt"), [0xC3, 0x28, (byte)'\n']);
        Assert.Contains("UTF-8",
            Assert.Throws<UnusableFileException>(() => WordPiece.Load(copy.In("vocab.txt"))).Message);
    }
}
