using ReasonGen.Checkpoints;

namespace ReasonGen.Tokenizers;

/// <summary>Ids of the tokens that structure a prompt → rationale → image sequence.</summary>
public sealed record SpecialTokens(int Bos, int Eos, int Pad, int BeginOfImage, int EndOfImage, int ImagePlaceholder);

/// <summary>Texts of the tokens that structure a sequence, as a model's tokenizer.json spells them.</summary>
public sealed record SpecialTokenNames(string Bos, string Eos, string Pad, string BeginOfImage, string EndOfImage,
    string ImagePlaceholder);

/// <summary>Text to token ids and back.</summary>
public interface ITokenizer
{
    /// <summary>Number of ids, the special ones included.</summary>
    int VocabularySize { get; }

    SpecialTokens Special { get; }

    /// <summary>Ids of a text, with no special token added at either end.</summary>
    /// <exception cref="ArgumentException">The text holds something the vocabulary cannot express.</exception>
    int[] Encode(string text);

    /// <summary>The text of ids; special tokens are left out.</summary>
    string Decode(IEnumerable<int> ids);
}

/// <summary>What is said of tokenizers.</summary>
internal static class TokenizerErrors
{
    /// <summary>That it has ids that a model lacks.</summary>
    internal static UnusableFileException Foreign(this ITokenizer tokenizer, string source, int embeddings) =>
        new(source,
            $"the tokenizer has ids up to {tokenizer.VocabularySize - 1}, the model only {embeddings} embeddings",
            "put the tokenizer.json of this very model beside its weights");
}
