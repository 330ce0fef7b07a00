using System.Text;
using ADRaffy.ENSNormalize;
using ReasonGen.Checkpoints;

namespace ReasonGen.Tokenizers;

/// <summary>
/// The tokenizer of a published model, from its tokenizer.json: added tokens are cut out first, the rest is normalised,
/// cut into pieces and merged by <see cref="ByteLevelBpe"/>. Safe for several threads.
/// </summary>
public sealed class HuggingFaceTokenizer : ITokenizer
{
    private readonly string path;
    private readonly SpecialTokenNames? names;
    private readonly TokenizerFile file;
    private readonly ByteLevelBpe bpe;
    private readonly AddedTokens verbatim, normalized;
    private readonly Dictionary<string, int> ids;
    private readonly Dictionary<int, string> tokens;
    private readonly HashSet<int> special;

    private HuggingFaceTokenizer(string path, SpecialTokenNames? names)
    {
        (this.path, this.names) = (path, names);
        file = TokenizerFile.Read(path);
        bpe = new(file.Vocabulary, file.Merges, file.IgnoreMerges);
        verbatim = new([.. file.Added.Where(token => !token.Normalized).Select(token => (token.Text, token))]);
        normalized =
            new([.. file.Added.Where(token => token.Normalized).Select(token => (Normalize(token.Text), token))]);
        ids = file.Added.ToDictionary(token => token.Text, token => token.Id);
        tokens = file.Vocabulary.Select(pair => (pair.Value, pair.Key))
            .Union(file.Added.Select(token => (token.Id, token.Text))).ToDictionary();
        VocabularySize = tokens.Keys.DefaultIfEmpty(-1).Max() + 1;
        special = [.. file.Added.Where(token => token.Special).Select(token => token.Id)];
    }

    /// <param name="path">A tokenizer.json, or the folder that holds one.</param>
    /// <param name="names">Texts of the special tokens; null where <see cref="Special"/> is not needed.</param>
    /// <exception cref="UnusableFileException">The file is missing, broken or of another kind.</exception>
    public static HuggingFaceTokenizer Load(string path, SpecialTokenNames? names = null) =>
        new(Directory.Exists(path) ? Path.Combine(path, "tokenizer.json") : path, names);

    /// <summary>The largest id and one: the rows a model must have.</summary>
    public int VocabularySize { get; }

    /// <summary>The special tokens, by the names that <see cref="Load"/> was told.</summary>
    /// <exception cref="UnusableFileException">This is the tokenizer of another model.</exception>
    /// <exception cref="InvalidOperationException">No names were told.</exception>
    public SpecialTokens Special => field ??= names is null
        ? throw new InvalidOperationException("this tokenizer was loaded without the names of its special tokens")
        : new(Id(names.Bos), Id(names.Eos), Id(names.Pad), Id(names.BeginOfImage), Id(names.EndOfImage),
            Id(names.ImagePlaceholder));

    /// <summary>The id of an added token.</summary>
    /// <exception cref="UnusableFileException">The file has no such token.</exception>
    public int Id(string token) => ids.TryGetValue(token, out var id) ? id : throw new UnusableFileException(path,
        $"its added tokens lack '{token}': this is the tokenizer of another model",
        "use the tokenizer.json published with the model");

    /// <summary>The vocabulary's spelling of an id, one character a byte.</summary>
    public string Token(int id) => tokens[id];

    public int[] Encode(string text) => Encode(text, false);

    /// <summary>Ids of a text.</summary>
    /// <param name="text">Any text; lone surrogates count as U+FFFD.</param>
    /// <param name="template">Adds the ids the file puts around a text, such as bos.</param>
    public int[] Encode(string text, bool template)
    {
        var found = new List<int>(template ? file.Before : []);
        foreach (var (token, start, end) in verbatim.Cut(text))
        {
            if (token is not null)
            {
                found.Add(token.Id);
                continue;
            }

            var plain = Normalize(text[start..end]);
            foreach (var (inner, from, to) in normalized.Cut(plain))
            {
                if (inner is not null)
                {
                    found.Add(inner.Id);
                    continue;
                }

                var part = plain[from..to];
                foreach (var piece in file.Splitter.Split(part))
                {
                    bpe.Encode(part.AsSpan(piece), found);
                }
            }
        }

        found.AddRange(template ? file.After : []);
        return [.. found];
    }

    public string Decode(IEnumerable<int> ids) => Decode(ids, false);

    /// <summary>The text of ids; ids without a token are passed over, broken UTF-8 becomes U+FFFD.</summary>
    /// <param name="ids">Any ids.</param>
    /// <param name="keepSpecial">Writes special tokens out instead of leaving them out.</param>
    public string Decode(IEnumerable<int> ids, bool keepSpecial) => Encoding.UTF8.GetString(
        [.. ids.Where(id => tokens.ContainsKey(id) && (keepSpecial || !special.Contains(id)))
            .SelectMany(id => ByteLevelBpe.Bytes(tokens[id]))]);

    /// <summary>What the pre-tokenizer makes of a text, added tokens not cut out, in the vocabulary's
    /// spelling.</summary>
    public string[] Pieces(string text)
    {
        var plain = Normalize(text);
        return [.. file.Splitter.Split(plain).Select(piece => ByteLevelBpe.Spell(plain.AsSpan(piece)))];
    }

    // .NET's own normalisation does nothing where globalization is invariant. Below U+0300 every text is in form C.
    private string Normalize(string text)
    {
        var sound = text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF') ? string.Concat(text.EnumerateRunes()) : text;
        return file.Nfc && sound.AsSpan().ContainsAnyExceptInRange('\0', '\u02FF') ? ENSNormalize.NF.NFC(sound) : sound;
    }
}
