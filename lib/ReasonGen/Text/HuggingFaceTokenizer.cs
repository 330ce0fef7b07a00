using System.Text;
using ADRaffy.ENSNormalize;
using ReasonGen.Checkpoints;

namespace ReasonGen.Text;

/// <summary>
/// The tokenizer of a published model, from its tokenizer.json: added tokens are cut out first, the rest is normalised, cut into pieces and
/// merged by <see cref="ByteLevelBpe"/>. Safe for several threads.
/// </summary>
public sealed class HuggingFaceTokenizer : ITokenizer
{
    private readonly string path;
    private readonly TokenizerFile file;
    private readonly ByteLevelBpe bpe;
    private readonly AddedTokens verbatim, normalized;
    private readonly Dictionary<string, int> ids;
    private readonly Dictionary<int, string> tokens;
    private readonly HashSet<int> special;

    private HuggingFaceTokenizer(string path)
    {
        this.path = path;
        file = TokenizerFile.Read(path);
        bpe = new(file.Vocabulary, file.Merges, file.IgnoreMerges);
        verbatim = new([.. file.Added.Where(token => !token.Normalized).Select(token => (token.Text, token))]);
        normalized = new([.. file.Added.Where(token => token.Normalized).Select(token => (Normalize(token.Text), token))]);
        ids = file.Added.ToDictionary(token => token.Text, token => token.Id);
        tokens = file.Vocabulary.Select(pair => (pair.Value, pair.Key)).Union(file.Added.Select(token => (token.Id, token.Text))).ToDictionary();
        VocabularySize = tokens.Keys.DefaultIfEmpty(-1).Max() + 1;
        special = [.. file.Added.Where(token => token.Special).Select(token => token.Id)];
    }

    /// <param name="path">A tokenizer.json, or the folder that holds one.</param>
    /// <exception cref="CheckpointException">The file is missing, broken or of another kind.</exception>
    public static HuggingFaceTokenizer Load(string path) => new(Directory.Exists(path) ? Path.Combine(path, "tokenizer.json") : path);

    /// <summary>The largest id and one: the rows a model must have.</summary>
    public int VocabularySize { get; }

    /// <summary>The six tokens of Janus, by their texts.</summary>
    /// <exception cref="CheckpointException">This is the tokenizer of another model.</exception>
    public SpecialTokens Special => field ??= new(Id(JanusChat.Bos), Id(JanusChat.Eos), Id(JanusChat.Pad), Id(JanusChat.BeginOfImage),
        Id(JanusChat.EndOfImage), Id(JanusChat.ImagePlaceholder));

    /// <summary>The id of an added token.</summary>
    /// <exception cref="CheckpointException">The file has no such token.</exception>
    public int Id(string token) => ids.TryGetValue(token, out var id) ? id : throw new CheckpointException(path,
        $"its added tokens lack '{token}': this is the tokenizer of another model", "use the tokenizer.json published with the model");

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
        [.. ids.Where(id => tokens.ContainsKey(id) && (keepSpecial || !special.Contains(id))).SelectMany(id => ByteLevelBpe.Bytes(tokens[id]))]);

    /// <summary>What the pre-tokenizer makes of a text, added tokens not cut out, in the vocabulary's spelling.</summary>
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
