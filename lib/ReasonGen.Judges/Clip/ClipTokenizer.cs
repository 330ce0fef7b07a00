// The byte-pair encoding of CLIP (openai/CLIP simple_tokenizer.py, open_clip tokenizer.py, tokenizers'
// CLIPTokenizerFast). A text is cleaned and
// lower-cased, cut into words, numerals one by one and runs of signs; a word's bytes, the last one marked </w>, are
// merged by rank.
//   open_clip, OpenAI: ftfy, HTML entities twice, strip, white space to one blank.   Hugging Face: NFC, white space
//   to one blank, and no more.
// Special tokens are matched in the text: <start_of_text> and <end_of_text> by open_clip, <|startoftext|> and
// <|endoftext|> by the others.
// clip_merges.txt.gz is the merges.txt that OpenAI published with CLIP (MIT licence).
using System.IO.Compression;
using System.Text;
using ADRaffy.ENSNormalize;
using ReasonGen.Checkpoints;
using ReasonGen.Tokenizers;

namespace ReasonGen.Judges.Clip;

/// <summary>Whose cleaning and special tokens.</summary>
public enum ClipTextRules
{
    /// <summary>open_clip: GenEval, HPSv2.</summary>
    OpenClip,

    /// <summary>openai/CLIP: T2I-CompBench. A text that is too long is an error there.</summary>
    OpenAi,

    /// <summary>Hugging Face's fast tokenizer: PickScore.</summary>
    HuggingFace,
}

/// <summary>Texts to ids. Safe for several threads.</summary>
public sealed class ClipTokenizer
{
    /// <summary>Most ids of a text in every published model, start and end included.</summary>
    public const int Context = 77;

    private const string StartText = "<|startoftext|>", EndText = "<|endoftext|>", Words =
        @"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

    private static readonly Lazy<ClipVocabulary> Embedded = new(() =>
    {
        using var zipped = typeof(ClipTokenizer).Assembly.GetManifestResourceStream("clip_merges.txt.gz")!;
        using var reader = new StreamReader(new GZipStream(zipped, CompressionMode.Decompress), Encoding.UTF8);
        return ClipVocabulary.Of("the vocabulary of CLIP", reader.ReadToEnd(), null);
    });

    private readonly ClipVocabulary vocabulary;
    private readonly ClipTextRules rules;
    private readonly PieceSplitter splitter;
    private readonly string[] specials;

    private ClipTokenizer(ClipVocabulary vocabulary, ClipTextRules rules)
    {
        (this.vocabulary, this.rules) = (vocabulary, rules);
        specials = rules == ClipTextRules.OpenClip ? ["<start_of_text>", "<end_of_text>"] : [StartText, EndText];
        var literal = rules == ClipTextRules.HuggingFace ? "" : string.Join("", specials.Select(token =>
            OnigurumaPattern.Literal(token) + "|"));
        splitter = new([literal + (rules == ClipTextRules.HuggingFace ? Words : Words.Replace("'s", "'(?i:s)"))]);
    }

    /// <summary>The id that begins every text.</summary>
    public int Start => vocabulary.Start;

    /// <summary>The id that ends it: the largest.</summary>
    public int End => vocabulary.End;

    /// <summary>The largest id and one.</summary>
    public int VocabularySize => vocabulary.End + 1;

    /// <summary>The published vocabulary, which all models share: 49,408 ids.</summary>
    public static ClipTokenizer Published(ClipTextRules rules) => new(Embedded.Value, rules);

    /// <summary>The vocabulary of a folder, from its vocab.json and merges.txt.</summary>
    /// <exception cref="UnusableFileException">One of them is missing or damaged.</exception>
    public static ClipTokenizer Load(string folder, ClipTextRules rules) => new(ClipVocabulary.Read(folder), rules);

    /// <summary>The vocabulary that lies beside a model, or the published one where none does, checked against the rows
    /// of its embedding.</summary>
    /// <exception cref="UnusableFileException">It is damaged, or of another model.</exception>
    public static ClipTokenizer For(ClipFiles model, ClipTextRules rules)
    {
        var folder = Directory.Exists(model.Path) ? model.Path : Path.GetDirectoryName(Path.GetFullPath(model.Path))!;
        var own = File.Exists(Path.Combine(folder, "merges.txt")) && File.Exists(Path.Combine(folder, "vocab.json"));
        var tokenizer = own ? Load(folder, rules) : Published(rules);
        return tokenizer.VocabularySize == model.Config.Text.Vocabulary ? tokenizer
            : throw new UnusableFileException(model.Path,
            $"its text tower has {model.Config.Text.Vocabulary} ids, the "
            + $"vocabulary {(own ? "beside it" : "of CLIP")} {tokenizer.VocabularySize}",
            "put the vocab.json and merges.txt it was published with beside it");
    }

    /// <summary>Ids with start and end, as many as the text takes.</summary>
    public int[] Encode(string text)
    {
        var ids = new List<int> { Start };
        text = Clean(text);
        if (rules == ClipTextRules.HuggingFace)
        {
            for (var at = 0; at < text.Length;) // special tokens are cut out before words are
            {
                var (next, token) = specials.Select((special, i) =>
                    (text.IndexOf(special, at, StringComparison.Ordinal), i))
                    .Where(found => found.Item1 >= 0).DefaultIfEmpty((text.Length, -1)).Min();
                CutWords(text[at..next], ids);
                if (token >= 0)
                {
                    ids.Add(token == 0 ? Start : End);
                }

                at = next + (token >= 0 ? specials[token].Length : 0);
            }
        }
        else
        {
            CutWords(text, ids);
        }

        ids.Add(End);
        return [.. ids];
    }

    /// <summary>Ids for a model: cut to its context with the end kept.</summary>
    /// <exception cref="ArgumentException">The text is too long, and the rules are OpenAI's, which refuse
    /// that.</exception>
    public int[] EncodeForModel(string text, int context = Context)
    {
        var ids = Encode(text);
        return ids.Length <= context ? ids : rules == ClipTextRules.OpenAi
            ? throw new ArgumentException(
                $"the text \"{(text.Length > 80 ? text[..80] + "…" : text)}\" takes {ids.Length} tokens, CLIP "
                + $"reads {context}. "
                + "OpenAI's code refuses it; shorten it, or use a scorer that cuts")
            : [.. ids[..(context - 1)], End];
    }

    /// <summary>Whether <see cref="EncodeForModel"/> takes the text.</summary>
    internal bool Fits(string text, int context) => rules != ClipTextRules.OpenAi || Encode(text).Length <= context;

    private void CutWords(string text, List<int> ids)
    {
        foreach (var range in splitter.Split(text))
        {
            var word = text.AsSpan(range);
            if (rules != ClipTextRules.HuggingFace && word.Length > 2 && word[0] == '<'
                && specials.IndexOf(word.ToString()) is >= 0 and var special)
            {
                ids.Add(special == 0 ? Start : End);
            }
            else if (!word.IsWhiteSpace())
            {
                vocabulary.Encode(word, ids);
            }
        }
    }

    private string Clean(string text)
    {
        text = text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF') ? string.Concat(text.EnumerateRunes()) : text;
        if (rules == ClipTextRules.HuggingFace)
        {
            text = text.AsSpan().ContainsAnyExceptInRange('\0', '\u02FF') ? ENSNormalize.NF.NFC(text) : text;
            return LowerCase.OneByOne(OneBlank(text, separators: false));
        }

        text = HtmlEntities.Unescape(HtmlEntities.Unescape(TextRepair.Fix(text)));
        return LowerCase.Python(PythonText.Strip(OneBlank(PythonText.Strip(text), separators: true)));
    }

    // str.split counts U+001C to U+001F as white space, the regular expressions of Hugging Face do not
    private static string OneBlank(string text, bool separators)
    {
        var result = new StringBuilder(text.Length);
        var blank = false;
        foreach (var c in text)
        {
            var space = char.IsWhiteSpace(c) || (separators && c is >= '\u001C' and <= '\u001F');
            _ = space ? blank ? result : result.Append(' ') : result.Append(c);
            blank = space;
        }

        return result.ToString();
    }
}
