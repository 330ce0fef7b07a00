using ReasonGen.JanusPro;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Verification;

/// <summary>The checks of a model's text side.</summary>
internal sealed class TextMeasures(JanusPipeline pipeline, VerifySuite suite)
{
    private ITokenizer Tokenizer => pipeline.Tokenizer;

    /// <summary>Ids that are known, marks that are one token, and a text that comes back as it was.</summary>
    internal VerifyCheck Tokens()
    {
        List<string> wrong = [];
        foreach (var (words, ids) in suite.TokenVectors)
        {
            if (Tokenizer.Encode(words) is var found && !found.SequenceEqual(ids))
            {
                wrong.Add($"{Quote(words)} is {string.Join(' ', found)} and should be {string.Join(' ', ids)}");
            }
        }

        wrong.AddRange(suite.SingleTokens.Where(mark => Tokenizer.Encode(mark).Length != 1)
            .Select(mark => $"{mark} is {Tokenizer.Encode(mark).Length} tokens and should be one"));
        wrong.AddRange(suite.Texts.Select(pair => pair.Scored)
            .Where(words => Tokenizer.Decode(Tokenizer.Encode(words)) != words)
            .Select(words => $"{Quote(words)} comes back as {Quote(Tokenizer.Decode(Tokenizer.Encode(words)))}"));
        var all = suite.TokenVectors.Count + suite.SingleTokens.Count + suite.Texts.Count;
        var check = VerifyCheck.Of("tokenizer", "Ids of known texts; marks that are one token; a text there and "
            + "back.", wrong.Count,
            $" of {all} wrong", VerifyBand.AtMost(0), wrong.Any(line => line.EndsWith("should be one"))
                ? "the template's marks are no tokens: tokenizer.json without its added tokens, or of another model"
                : "tokenizer.json of another model or revision");
        return check with { Details = wrong };
    }

    /// <summary>How likely the model finds plain text.</summary>
    internal VerifyCheck Perplexity()
    {
        var (sum, count) = (0.0, 0);
        foreach (var (before, scored) in suite.Texts)
        {
            using var scope = NewDisposeScope();
            int[] given = [Tokenizer.Special.Bos, .. Tokenizer.Encode(before)], rest = Tokenizer.Encode(scored);
            var ids = Row([.. given, .. rest]);
            var hidden = pipeline.Model.Hidden(pipeline.Model.Embed(ids)).narrow(1, given.Length - 1, rest.Length);
            var logits = pipeline.Model.TextLogits(hidden).squeeze(0).to(ScalarType.Float32);
            sum += nn.functional.cross_entropy(logits, ids.squeeze(0).narrow(0, given.Length, rest.Length),
                reduction: nn.Reduction.Sum)
                .ToDouble();
            count += rest.Length;
        }

        return VerifyCheck.Of("text", $"Perplexity of {count} tokens of plain text.", Math.Exp(sum / count), "",
            suite.Perplexity,
            "rotary layout (halves against pairs) or its base, a missing bos, a wrong shard, or a tokenizer of "
                + "another model");
    }

    /// <summary>How the model goes on after the beginning of a sentence.</summary>
    internal VerifyCheck Sentence()
    {
        const string Name = "sentence", What = "The likeliest continuation of the beginning of a sentence.";
        return suite.Sentence is not { } sentence ? VerifyCheck.Skip(Name, What, "this model knows none")
            : Continued(Name, What, sentence.Begin, sentence.Begin, sentence.Words,
                "rotary layout, a wrong shard, a missing bos or a tokenizer of another model", default);
    }

    /// <summary>How it answers in its chat.</summary>
    internal VerifyCheck Turn(CancellationToken cancel)
    {
        const string Name = "template", What = "The likeliest answer to a turn of its chat.";
        return suite.Turn is not { } turn ? VerifyCheck.Skip(Name, What, "this model answers nothing")
            : Continued(Name, What, turn.Turn, suite.Chat(turn.Turn), turn.Words, "the chat's template (role "
                + "marks, blanks, line ends), where "
                + "the text check passes; else what that one suggests", cancel);
    }

    /// <summary>Where a word begins in a text, whatever its case; −1 where it does not stand there as a word.</summary>
    internal static int Place(string text, string word)
    {
        for (var at = text.IndexOf(word, StringComparison.OrdinalIgnoreCase); at >= 0;
            at = text.IndexOf(word, at + 1, StringComparison.OrdinalIgnoreCase))
        {
            bool Inside(int i) => i >= 0 && i < text.Length && char.IsLetterOrDigit(text[i]);
            var (starts, ends) = (char.IsLetterOrDigit(word[0]), char.IsLetterOrDigit(word[^1]));
            if (!(starts && Inside(at - 1)) && !(ends && Inside(at + word.Length)))
            {
                return at;
            }
        }

        return -1;
    }

    internal static string Quote(string text) =>
        $"\"{(text.Length > 300 ? text[..300] + "…" : text).Trim().ReplaceLineEndings(" ")}\"";

    private VerifyCheck Continued(string name, string what, string shown, string begin, string[] words,
        string suggestion,
        CancellationToken cancel)
    {
        var row = Row([Tokenizer.Special.Bos, .. Tokenizer.Encode(begin)]);
        var generator = new TextGenerator(pipeline.Model, Tokenizer.Special.Eos,
            new() { MaxTokens = suite.AnswerTokens });
        var written = generator.Write(pipeline.Model.Embed(row), ones_like(row), 0, cancel).Select(next => (int)next[0])
            .TakeWhile(id => id != Tokenizer.Special.Eos && id != Tokenizer.Special.BeginOfImage).ToArray();
        var answer = Tokenizer.Decode(written);
        var missing = words.Where(word => Place(answer, word) < 0).ToArray();
        return new(name, what, missing.Length == 0 ? VerifyOutcome.Passed : VerifyOutcome.Missed, $"{Quote(shown)} "
            + $"→ {Quote(answer)}",
            $"with {string.Join(", ", words.Select(Quote))}", missing.Length == 0 ? "" : suggestion);
    }

    private Tensor Row(int[] ids) =>
        tensor(ids.Select(id => (long)id).ToArray(), [1, ids.Length], device: pipeline.Model.Target.Device);
}
