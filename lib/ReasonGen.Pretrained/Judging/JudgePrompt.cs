using ReasonGen.Imaging;
using ReasonGen.Qwen;
using ReasonGen.Rollouts;

namespace ReasonGen.Judging;

/// <summary>What a judge is asked.</summary>
/// <param name="Template">The user's turn: "{prompt}" stands for the prompt, "&lt;image&gt;" for the image.</param>
/// <param name="Image">An image's place: its beginning, the token that its features replace, its end.</param>
/// <param name="Chat">The user's turn → the chat up to where the judge goes on.</param>
public sealed record JudgePrompt(string Template, (string Begin, string Patch, string End) Image,
    Func<string, string> Chat)
{
    private const string Placeholder = "<image>";

    /// <summary>
    /// The paper's, word for word, its spelling included (janus_rl.sh). The box is written with two backslashes: the
    /// command line's quotes do not unescape them.
    /// </summary>
    public static JudgePrompt Paper { get; } = new(string.Join('\n',
        "You are given a text prompt: \"{prompt}\" ",
        "Below is one generated image:",
        "<image>",
        "",
        "1. Describe the image thoroughly (objects, colors, layout, etc.), do not be affected by the prompt.",
        "2. Identify key visual elements and instructions from the prompt.",
        "3. Evaluate how well the image follows the prompt:",
        "   - Are all required elements present?",
        "   - Are object counts, colors, and positions accurate?",
        "",
        "Be extremly strict and precise:",
        @"Only if the image matches the prompt perfectly, respond with: \\boxed{1}",
        @"Otherwise, respond with: \\boxed{0}",
        "",
        "Reason before your final boxed answer. Only one number should appear inside the box."),
        ("<|vision_start|>", QwenChat.ImagePad, "<|vision_end|>"), turn => QwenChat.Render([new("user", turn)]));

    /// <summary>The miniature's: image and prompt, in the word tokenizer's marks.</summary>
    public static JudgePrompt Mini { get; } =
        new("<image> {prompt}", (JanusChat.BeginOfImage, JanusChat.ImagePlaceholder, JanusChat.EndOfImage),
            PromptTemplate.Mini.Chat);

    /// <summary>The user's turn; "A photo of " is dropped from the prompt wherever it stands, as in the
    /// reference.</summary>
    public string Turn(string prompt) => Template.Replace("{prompt}", prompt.Replace("A photo of ", ""));

    /// <summary>What a prompt holds that would be taken for an image, or a part of one; null where it may be asked
    /// about.</summary>
    public string? MarkIn(string prompt) =>
        new[] { Placeholder, Image.Begin, Image.Patch, Image.End }.FirstOrDefault(prompt.Contains);

    /// <summary>The user's turn with the image's tokens in it.</summary>
    /// <param name="prompt">The prompt the image was drawn for.</param>
    /// <param name="imageTokens">Tokens of the image.</param>
    /// <exception cref="ArgumentException">The prompt itself holds the mark of an image.</exception>
    public string TurnWithImage(string prompt, int imageTokens = 1) => MarkIn(prompt) is { } mark
        ? throw new ArgumentException(
            $"the prompt '{prompt}' contains {mark}, which marks the image's place in the judge's question",
            nameof(prompt))
        : Turn(prompt).Replace(Placeholder,
            Image.Begin + string.Concat(Enumerable.Repeat(Image.Patch, imageTokens)) + Image.End);

    /// <summary>The whole text that the judge goes on from.</summary>
    public string Fill(string prompt, int imageTokens = 1) => Chat(TurnWithImage(prompt, imageTokens));
}

/// <summary>The size in which an image is sent to the judge (fsdp_workers.py process_image).</summary>
/// <param name="MinPixels">Fewer are enlarged. Paper: 512².</param>
/// <param name="MaxPixels">More are shrunk. Paper: 2048².</param>
public sealed record JudgeImage(int MinPixels = 512 * 512, int MaxPixels = 2048 * 2048)
{
    /// <summary>The image, shrunk, then enlarged where needed; sides are rounded down.</summary>
    public RgbImage Prepare(RgbImage image) =>
        Sizes(image.Width, image.Height).Aggregate(image, (p, size) => Resampling.Resize(p, size.Width, size.Height));

    /// <summary>The sizes an image passes through; none when it stays as it is.</summary>
    public IEnumerable<(int Width, int Height)> Sizes(int width, int height)
    {
        if ((long)width * height > MaxPixels)
        {
            var shrink = Math.Sqrt(MaxPixels / ((double)width * height));
            (width, height) = ((int)(width * shrink), (int)(height * shrink));
            yield return (width, height);
        }

        if ((long)width * height < MinPixels)
        {
            var enlarge = Math.Sqrt(MinPixels / ((double)width * height));
            yield return ((int)(width * enlarge), (int)(height * enlarge));
        }
    }
}
