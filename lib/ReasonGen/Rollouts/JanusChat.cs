using System.Text;
using ReasonGen.Tokenizers;

namespace ReasonGen.Rollouts;

/// <summary>One turn of a chat.</summary>
/// <param name="Role">Who speaks, as the chat writes it: "&lt;|User|&gt;" or "&lt;|Assistant|&gt;" for
/// Janus-Pro.</param>
/// <param name="Content">What is said; empty where the model goes on.</param>
public sealed record JanusTurn(string Role, string Content);

/// <summary>The chat of Janus as text (conversation.py, template "deepseek") and its images as ids
/// (processing_vlm.py).</summary>
public static class JanusChat
{
    public const string User = "<|User|>", Assistant = "<|Assistant|>";
    public const string Bos = "<｜begin▁of▁sentence｜>", Eos = "<｜end▁of▁sentence｜>", Pad = "<｜▁pad▁｜>";
    public const string BeginOfImage = "<begin_of_image>", EndOfImage = "<end_of_image>",
        ImagePlaceholder = "<image_placeholder>";

    /// <summary>The special tokens of Janus' tokenizer.json.</summary>
    public static SpecialTokenNames SpecialNames { get; } =
        new(Bos, Eos, Pad, BeginOfImage, EndOfImage, ImagePlaceholder);

    /// <summary>Opens the understanding chat; generation has none.</summary>
    public const string UnderstandingSystem =
        "You are a helpful language and vision assistant. You are able to understand the visual "
        + "content that the user provides, and assist the user with a variety of tasks using natural language.";

    /// <summary>The chat as one text: every content stripped, odd turns closed by end-of-sentence, the whole
    /// stripped.</summary>
    /// <param name="turns">The turns in order; their place, not their role, decides what closes them.</param>
    /// <param name="system">Opening words, or nothing.</param>
    /// <param name="plain">The format "plain" of pretraining: contents one after the other and nothing else.</param>
    public static string Text(IEnumerable<JanusTurn> turns, string system = "", bool plain = false)
    {
        var text = new StringBuilder(plain || system.Length == 0 ? "" : system + "\n\n");
        foreach (var (i, turn) in turns.Index())
        {
            var content = PythonText.Strip(turn.Content);
            text.Append(plain ? content
                : content.Length == 0 ? turn.Role + ":" : $"{turn.Role}: {content}{(i % 2 == 0 ? "\n\n" : Eos)}");
        }

        return PythonText.Strip(text.ToString());
    }

    /// <summary>The text of one user's turn, up to where the assistant goes on.</summary>
    public static string Prompt(string content, string system = "") =>
        Text([new(User, content), new(Assistant, "")], system);

    /// <summary>The text of a question about images, one placeholder each.</summary>
    public static string Question(string question, int images = 1) =>
        Prompt(string.Concat(Enumerable.Repeat(ImagePlaceholder + "\n", images)) + question, UnderstandingSystem);

    /// <summary>Ids in which each placeholder has become begin-of-image, the image's placeholders, end-of-image
    /// (add_image_token).</summary>
    /// <param name="ids">Ids with one placeholder an image.</param>
    /// <param name="special">Gives the three ids.</param>
    /// <param name="imageTokens">Placeholders an image; 576 for Janus-Pro.</param>
    /// <param name="keepPlaceholder">Leaves the original placeholder standing in front (add_special_token).</param>
    public static int[] ExpandImages(IEnumerable<int> ids, SpecialTokens special, int imageTokens = 576,
        bool keepPlaceholder = false)
    {
        int[] image = [special.BeginOfImage, .. Enumerable.Repeat(special.ImagePlaceholder, imageTokens),
            special.EndOfImage];
        int[] kept = keepPlaceholder ? [special.ImagePlaceholder] : [];
        return [.. ids.SelectMany(id => id == special.ImagePlaceholder ? [.. kept, .. image] : new[] { id })];
    }
}
