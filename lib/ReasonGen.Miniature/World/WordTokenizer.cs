using System.Text.RegularExpressions;
using ReasonGen.Tokenizers;

namespace ReasonGen.World;

/// <summary>A tokenizer with one id a word: the text side of the miniature.</summary>
public sealed partial class WordTokenizer : ITokenizer
{
    private static readonly string[] Structure =
        ["<pad>", "<bos>", "<eos>", "<begin_of_image>", "<end_of_image>", "<image_placeholder>", "<|User|>",
            "<|Assistant|>"];

    private readonly string[] words;
    private readonly Dictionary<string, int> ids;

    /// <param name="vocabulary">The words, in the order of their ids; repeated words count once.</param>
    public WordTokenizer(IEnumerable<string> vocabulary)
    {
        words = [.. Structure, .. vocabulary.Except(Structure).Distinct()];
        ids = words.Select((word, id) => (word, id)).ToDictionary(pair => pair.word, pair => pair.id,
            StringComparer.Ordinal);
    }

    public int VocabularySize => words.Length;

    public SpecialTokens Special { get; } =
        new(Bos: 1, Eos: 2, Pad: 0, BeginOfImage: 3, EndOfImage: 4, ImagePlaceholder: 5);

    /// <summary>Ids of a text split at white space; commas, colons, semicolons and full stops are words of their
    /// own.</summary>
    /// <exception cref="ArgumentException">A word is not in the vocabulary.</exception>
    public int[] Encode(string text) =>
        Pieces().Matches(text).Select(piece => ids.TryGetValue(piece.Value, out var id) ? id
        : throw new ArgumentException($"the miniature does not know the word '{piece.Value}' of \"{text}\"; "
            + $"it knows: {string.Join(' ', words[Structure.Length..])}", nameof(text))).ToArray();

    public string Decode(IEnumerable<int> ids) =>
        string.Join(' ', ids.Where(id => id >= Structure.Length && id < words.Length).Select(id => words[id]));

    /// <summary>The word of one id, special tokens included.</summary>
    public string Word(int id) => words[id];

    // a special token, a mark, or a word
    [GeneratedRegex(@"<[^\s<>]+>|[,:;.!?]|[^\s,:;.!?<]+|<")]
    private static partial Regex Pieces();
}
