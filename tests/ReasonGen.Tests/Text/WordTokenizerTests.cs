using ReasonGen.World;
using Xunit;

namespace ReasonGen.Tests.Text;

public class WordTokenizerTests
{
    private static readonly WordTokenizer Tokenizer = new(Rationales.Words);

    [Fact]
    public void Encode_marks_are_words_of_their_own()
    {
        Assert.Equal(Tokenizer.Encode("red circle , blue square ."), Tokenizer.Encode(" red  circle,blue\nsquare."));
        Assert.Equal("red circle , blue square .", Tokenizer.Decode(Tokenizer.Encode("red circle, blue square.")));
        Assert.Single(Tokenizer.Encode("top-left"));
        Assert.Empty(Tokenizer.Encode("  "));
    }

    [Fact]
    public void Encode_special_tokens_are_whole_wherever_they_stand()
    {
        var special = Tokenizer.Special;
        Assert.Equal([special.Bos, special.Eos, special.Pad, special.BeginOfImage, special.EndOfImage,
            special.ImagePlaceholder],
            Tokenizer.Encode("<bos><eos> <pad><begin_of_image><end_of_image><image_placeholder>"));
        Assert.Equal(["<|User|>", "a", "photo", "<|Assistant|>", ":"],
            Tokenizer.Encode("<|User|>a photo<|Assistant|>:").Select(Tokenizer.Word));
        Assert.Equal("a photo", Tokenizer.Decode(Tokenizer.Encode("<bos> <|User|> a photo <|Assistant|>")));
    }

    [Theory]
    [InlineData("a photo of a dragon", "'dragon'")]
    [InlineData("a Photo", "'Photo'")]
    [InlineData("a <photo>", "'<photo>'")]
    [InlineData("a photo!", "'!'")]
    public void Encode_unknown_word_is_named(string text, string named) =>
        Assert.Contains(named, Assert.Throws<ArgumentException>(() => Tokenizer.Encode(text)).Message);

    [Fact]
    public void Ids_are_stable_and_each_word_has_one()
    {
        var again = new WordTokenizer(Rationales.Words.Concat(Rationales.Words));
        Assert.Equal(Tokenizer.VocabularySize, again.VocabularySize);
        Assert.Equal(Rationales.Words.Distinct().Count() + 8, Tokenizer.VocabularySize);
        Assert.All(Enumerable.Range(0, again.VocabularySize), id => Assert.Equal(again.Word(id), Tokenizer.Word(id)));
        Assert.Equal("", Tokenizer.Decode([-1, 0, 1, 99999]));
    }
}
