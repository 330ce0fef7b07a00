using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

/// <summary>A conversation with Janus about images, or about anything (deepseek-ai/Janus: inference.py): SigLIP →
/// aligner → text.</summary>
public sealed class JanusChatSession
{
    private readonly Janus model;
    private readonly ITokenizer tokenizer;
    private readonly ImageProcessor? processor;
    private readonly TextGenerator generator;
    private readonly List<JanusTurn> turns = [];
    private readonly List<RgbImage> images = [];

    /// <param name="model">Answers.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="processor">How images are prepared; null where the model reads none.</param>
    /// <param name="config">How answers are drawn; greedy by default.</param>
    /// <param name="system">Opens the chat; the reference's words by default.</param>
    public JanusChatSession(
        Janus model, ITokenizer tokenizer, ImageProcessor? processor, TextConfig? config = null,
        string system = JanusChat.UnderstandingSystem)
    {
        (this.model, this.tokenizer, this.processor, Opening) = (model, tokenizer, processor, system);
        generator = new TextGenerator(model, tokenizer.Special.Eos, config ?? new());
    }

    /// <summary>What the chat opens with.</summary>
    public string Opening { get; }

    /// <summary>What was said so far.</summary>
    public IReadOnlyList<JanusTurn> Turns => turns;

    /// <summary>Whether the last answer was cut at the most tokens that an answer may have.</summary>
    public bool WasCut { get; private set; }

    /// <summary>Asks; the answer comes piece by piece and is part of the conversation once it has been read to its
    /// end.</summary>
    /// <param name="question">The user's turn.</param>
    /// <param name="shown">Images that come with it.</param>
    /// <param name="seed">Of a sampled answer.</param>
    /// <param name="cancel">Ends the answer between tokens.</param>
    /// <exception cref="ArgumentException">Nothing is asked, the model reads no images, or the chat is too
    /// long.</exception>
    public IEnumerable<string> Ask(string question, IReadOnlyList<RgbImage>? shown = null, long seed = 0,
        CancellationToken cancel = default)
    {
        shown ??= [];
        if (PythonText.Strip(question).Length == 0 || question.Contains(JanusChat.ImagePlaceholder))
        {
            throw new ArgumentException(
                $"a question is a text of its own, without {JanusChat.ImagePlaceholder}: images are given beside it");
        }

        if (shown.Count > 0 && processor is null)
        {
            throw new ArgumentException("this Janus has no vision tower: it draws images, but cannot look at one");
        }

        JanusTurn[] asked = [.. turns,
            new(JanusChat.User, string.Concat(shown.Select(_ => JanusChat.ImagePlaceholder + "\n")) + question)];
        var text = JanusChat.Text([.. asked, new(JanusChat.Assistant, "")], Opening);
        var ids = JanusChat.ExpandImages([tokenizer.Special.Bos, .. tokenizer.Encode(text)], tokenizer.Special,
            model.Config.Vision?.Patches ?? 0);
        var (most, room) = (generator.Config.MaxTokens, model.Config.Language.Positions);
        return ids.Length + most <= room ? Answer(asked, ids, [.. images, .. shown], seed, cancel)
            : throw new ArgumentException(
                $"the chat has {ids.Length} tokens; with an answer of up to {most} it passes the {room} "
                + "that the model was made for. Start a new one.");
    }

    private IEnumerable<string> Answer(JanusTurn[] asked, int[] ids, RgbImage[] shown, long seed,
        CancellationToken cancel)
    {
        var (embeddings, mask) = Read(ids, shown);
        using var first = embeddings;
        using var second = mask;
        var (written, answer) = (new List<int>(), "");
        foreach (var next in generator.Write(embeddings, mask, seed, cancel)
            .TakeWhile(next => next[0] != tokenizer.Special.Eos))
        {
            written.Add((int)next[0]);
            var text = tokenizer.Decode(written);
            // a character may take several tokens; it is shown when it is whole
            if (text.Length > answer.Length && !text.EndsWith('\uFFFD'))
            {
                var piece = text[answer.Length..];
                answer = text;
                yield return piece;
            }
        }

        if (tokenizer.Decode(written) is var whole && whole.Length > answer.Length)
        {
            yield return whole[answer.Length..];
        }

        WasCut = written.Count >= generator.Config.MaxTokens;
        turns.Clear();
        turns.AddRange([.. asked, new(JanusChat.Assistant, whole)]);
        images.Clear();
        images.AddRange(shown);
    }

    private (Tensor Embeddings, Tensor Mask) Read(int[] ids, RgbImage[] shown)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var row = tensor(ids.Select(id => (long)id).ToArray(), [1, ids.Length], device: model.Target.Device);
        var embeddings = shown.Length == 0 ? model.Embed(row)
            : model.Embed(row, processor!.PixelValues(shown, model.Target.Device),
                row.eq(tokenizer.Special.ImagePlaceholder));
        return (embeddings.DetachFromDisposeScope(), ones_like(row).DetachFromDisposeScope());
    }
}
