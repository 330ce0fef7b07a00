// WordPiece as BertTokenizer of transformers has it, lower case (the slow one):
//   texts of special tokens are cut out as they stand;  then: control characters (category C, U+FFFD) dropped, blanks
//   around Chinese characters, NFC, lower case one by one, accents (NFD, Mn) dropped, punctuation apart;  a word is cut
//   into the longest pieces of the vocabulary from its beginning, those inside it spelled "##…"; a word that cannot be
//   cut, or of more than 100 characters, is [UNK].
// bert_base_uncased_vocab.txt.gz is the vocab.txt that Google published with BERT (Apache 2.0 licence).
using ADRaffy.ENSNormalize;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using ReasonGen.Judges.Clip;
using ReasonGen.Checkpoints;

namespace ReasonGen.Judges.Bert;

/// <summary>Texts to the token ids of a BERT, and back.</summary>
public sealed class WordPiece
{
    private const int LongestWord = 100, LargestFile = 16 << 20;

    private static readonly string[] Usual = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

    private static readonly Lazy<string[]> Embedded = new(() =>
    {
        using var zipped = typeof(WordPiece).Assembly.GetManifestResourceStream("bert_base_uncased_vocab.txt.gz")!;
        using var reader = new StreamReader(new GZipStream(zipped, CompressionMode.Decompress));
        return reader.ReadToEnd().TrimEnd('\n').Split('\n');
    });

    private readonly List<string> tokens;
    private readonly Dictionary<string, int> ids = [], inner = []; // inner: without their "##"
    private readonly Dictionary<string, int> special;

    private WordPiece(IReadOnlyList<string> vocabulary, IReadOnlyList<string> added, string path)
    {
        tokens = [.. vocabulary.Concat(added.Except(vocabulary))];
        foreach (var (id, token) in tokens.Index())
        {
            ids[token] = id;
            if (token.StartsWith("##", StringComparison.Ordinal))
            {
                inner[token[2..]] = id;
            }
        }

        special = Usual.Concat(added).Where(ids.ContainsKey).ToDictionary(token => token, token => ids[token]);
        if (Usual[..4].Where(token => !ids.ContainsKey(token)).ToArray() is { Length: > 0 } lost)
        {
            throw new UnusableFileException(path, $"it is no vocabulary of a BERT: it lacks {string.Join(", ", lost)}",
                "give the vocab.txt that was published with the model, a token a line");
        }
    }

    /// <summary>Number of ids, added ones included.</summary>
    public int VocabularySize => tokens.Count;

    /// <summary>The id before every text.</summary>
    public int Start => ids["[CLS]"];

    /// <summary>The id behind it.</summary>
    public int End => ids["[SEP]"];

    /// <summary>The id that fills shorter texts up.</summary>
    public int Pad => ids["[PAD]"];

    /// <summary>The vocabulary of bert-base-uncased, 30,522 ids, and some more.</summary>
    public static WordPiece Published(params string[] added) => new(Embedded.Value, added, "bert-base-uncased");

    /// <summary>The vocabulary of a vocab.txt, a token a line, and some more.</summary>
    /// <exception cref="UnusableFileException">It is missing or damaged.</exception>
    public static WordPiece Load(string path, params string[] added)
    {
        try
        {
            return FileKinds.Length(path) <= LargestFile
                ? new([.. File.ReadLines(path, new UTF8Encoding(false, throwOnInvalidBytes: true))], added, path)
                : throw new UnusableFileException(path, "it is larger than any vocabulary", "give a vocab.txt");
        }
        catch (DecoderFallbackException e)
        {
            throw new UnusableFileException(path, "it is no UTF-8 text", "download the file again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }

    /// <summary>The vocabulary beside a model (vocab.txt in its folder), or the published one where none lies there,
    /// checked against the rows of its embedding.</summary>
    /// <exception cref="UnusableFileException">It is damaged, or of another model.</exception>
    internal static WordPiece For(string model, int vocabulary, string? file, params string[] added)
    {
        var folder = Directory.Exists(model) ? model : Path.GetDirectoryName(Path.GetFullPath(model))!;
        var beside = Path.Combine(folder, "vocab.txt");
        var read = file ?? (File.Exists(beside) ? beside : null);
        var tokenizer = read is null ? Published(added) : Load(read, added);
        return tokenizer.VocabularySize == vocabulary ? tokenizer : throw new UnusableFileException(read ?? model,
            $"the model has {vocabulary} ids, "
            + $"{(read is null ? "the vocabulary of bert-base-uncased" : "this vocabulary")}"
            + $"{(added.Length > 0 ? $" with {string.Join(" and ", added)}" : "")} has {tokenizer.VocabularySize}",
            "put the vocab.txt it was published with beside it");
    }

    /// <summary>The id of a token; null for none of the vocabulary.</summary>
    public int? IdOf(string token) => ids.TryGetValue(token, out var id) ? id : null;

    /// <summary>Ids of a text with start and end, cut to <paramref name="most"/> with the end kept.</summary>
    public int[] Encode(string text, int most = int.MaxValue) => [Start, .. Pieces(text).Take(most - 2), End];

    /// <summary>The text of ids, special ones left out wherever they stand.</summary>
    /// <param name="ids">Ids.</param>
    /// <param name="cleanUp">Takes away blanks before punctuation, as transformers did by default.</param>
    public string Decode(IEnumerable<int> ids, bool cleanUp = true)
    {
        var text = string.Join(' ', ids.Select(id => tokens[id]).Where(token => !special.ContainsKey(token)))
            .Replace(" ##", "").Trim();
        string[] tight = cleanUp ? [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"] : [];
        return tight.Aggregate(text, (cleaned, loose) => cleaned.Replace(loose, loose.Trim()));
    }

    private IEnumerable<int> Pieces(string text)
    {
        for (var at = 0; at < text.Length;)
        {
            var (next, token) =
                special.Keys.Select(name => (At: text.IndexOf(name, at, StringComparison.Ordinal), name))
                .Where(found => found.At >= 0).DefaultIfEmpty((At: text.Length, name: "")).MinBy(found => found.At);
            foreach (var word in Words(text[at..next]))
            {
                foreach (var id in Cut(word))
                {
                    yield return id;
                }
            }

            if (token.Length > 0)
            {
                yield return special[token];
            }

            at = next + token.Length;
        }
    }

    private List<int> Cut(string word)
    {
        List<int> unknown = [ids["[UNK]"]], pieces = [];
        if (word.EnumerateRunes().Count() > LongestWord)
        {
            return unknown;
        }

        for (var at = 0; at < word.Length;)
        {
            var known = (at == 0 ? ids : inner).GetAlternateLookup<ReadOnlySpan<char>>();
            var (end, id) = (word.Length, 0);
            while (end > at && !known.TryGetValue(word.AsSpan(at, end - at), out id))
            {
                end--;
            }

            if (end == at)
            {
                return unknown;
            }

            pieces.Add(id);
            at = end;
        }

        return pieces;
    }

    private static string[] Words(string text)
    {
        var clean = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            var category = Rune.GetUnicodeCategory(rune);
            if (rune.Value is '\t' or '\n' or '\r' || category == UnicodeCategory.SpaceSeparator)
            {
                clean.Append(' ');
            }
            else if (IsChinese(rune.Value))
            {
                clean.Append($" {rune} ");
            }
            else if (rune.Value != 0xFFFD && category is not (UnicodeCategory.Control or UnicodeCategory.Format
                or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned))
            {
                clean.Append(rune.ToString());
            }
        }

        var plain = ENSNormalize.NF.NFD(LowerCase.OneByOne(ENSNormalize.NF.NFC(clean.ToString())));
        clean.Clear();
        foreach (var rune in plain.EnumerateRunes().Where(rune =>
            Rune.GetUnicodeCategory(rune) != UnicodeCategory.NonSpacingMark))
        {
            clean.Append(IsPunctuation(rune) ? $" {rune} " : rune.ToString());
        }

        return clean.ToString().Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
    }

    private static bool IsPunctuation(Rune rune) => rune.Value is >= 33 and <= 47 or >= 58 and <= 64 or >= 91 and <= 96
        or >= 123 and <= 126 || Rune.IsPunctuation(rune);

    private static bool IsChinese(int c) => c is >= 0x4E00 and <= 0x9FFF or >= 0x3400 and <= 0x4DBF
        or >= 0x20000 and <= 0x2A6DF or >= 0x2A700 and <= 0x2B73F or >= 0x2B740 and <= 0x2B81F
        or >= 0x2B820 and <= 0x2CEAF or >= 0xF900 and <= 0xFAFF or >= 0x2F800 and <= 0x2FA1F;
}
