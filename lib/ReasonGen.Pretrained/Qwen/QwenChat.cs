using System.Text;

namespace ReasonGen.Qwen;

/// <summary>What a message is made of: text, an image or a video.</summary>
public abstract record QwenPart
{
    private QwenPart()
    {
    }

    /// <summary>Text, taken as it is.</summary>
    public sealed record Text(string Value) : QwenPart;

    /// <summary>A place for an image.</summary>
    public sealed record Image : QwenPart;

    /// <summary>A place for a video.</summary>
    public sealed record Video : QwenPart;
}

/// <summary>One message of a chat.</summary>
public sealed record QwenMessage(string Role, params IReadOnlyList<QwenPart> Parts)
{
    public QwenMessage(string role, string text)
        : this(role, new QwenPart.Text(text))
    {
    }
}

/// <summary>The chat of Qwen2.5-VL as text (chat_template.json, without tools).</summary>
public static class QwenChat
{
    /// <summary>Stands for one merged image patch; an image of h × w patches takes h·w/4 of them.</summary>
    public const string ImagePad = "<|image_pad|>";

    private const string DefaultSystem = "You are a helpful assistant.";

    /// <summary>The chat as one text; a default system message goes first where none does.</summary>
    /// <param name="messages">The messages in order.</param>
    /// <param name="generate">Ends with the head of the assistant's answer.</param>
    /// <param name="numberImages">Counts images and videos aloud: "Picture 1: ".</param>
    public static string Render(IReadOnlyList<QwenMessage> messages, bool generate = true, bool numberImages = false)
    {
        var (text, images, videos) = (new StringBuilder(), 0, 0);
        if (messages is [{ Role: not "system" }, ..])
        {
            text.Append($"<|im_start|>system\n{DefaultSystem}<|im_end|>\n");
        }

        foreach (var message in messages)
        {
            text.Append($"<|im_start|>{message.Role}\n");
            foreach (var part in message.Parts)
            {
                text.Append(part switch
                {
                    QwenPart.Image =>
                        $"{(numberImages ? $"Picture {++images}: " : "")}<|vision_start|>{ImagePad}<|vision_end|>",
                    QwenPart.Video =>
                        $"{(numberImages ? $"Video {++videos}: " : "")}<|vision_start|><|video_pad|><|vision_end|>",
                    QwenPart.Text words => words.Value,
                    _ => "",
                });
            }

            text.Append("<|im_end|>\n");
        }

        return text.Append(generate ? "<|im_start|>assistant\n" : "").ToString();
    }

    /// <summary>The text with each image's pad repeated, in order, as often as the image has merged patches.</summary>
    /// <exception cref="ArgumentException">The text has another number of pads.</exception>
    public static string ExpandImages(string text, params IReadOnlyList<int> mergedPatches)
    {
        var parts = text.Split(ImagePad);
        if (parts.Length - 1 != mergedPatches.Count)
        {
            throw new ArgumentException(
                $"the text has {parts.Length - 1} places for images, {mergedPatches.Count} images are given");
        }

        return string.Concat(
            parts.Select((part, i) =>
                i == 0 ? part : string.Concat(Enumerable.Repeat(ImagePad, mergedPatches[i - 1])) + part));
    }
}
