// What GenEval's colour judge sees and how it chooses (evaluate_images.py ImageCrops; CLIP_benchmark
// zeroshot_classification.py):
//   image on #999 outside the mask, cut out along the box (corners rounded half to even, black outside the image); 
//   short side to S, bicubic,
//   long side truncated;  the middle S×S;  (byte / 255 − mean) / std.
//   class vector = mean of the normalised text vectors of its templates, normalised;  colour = argmax of 100 · cos.
using ReasonGen.Core;
using ReasonGen.Imaging;
using static TorchSharp.torch;

namespace ReasonGen.Scoring;

/// <summary>Crops of objects, and CLIP's choice among colours.</summary>
public static class GenEvalColors
{
    private const long MostPixels = 1L << 28;

    /// <summary>The three texts of a colour and a class.</summary>
    public static string[] Texts(string color, string className) =>
        [$"a photo of a {color} {className}", $"a photo of a {color}-colored {className}",
            $"a photo of a {color} object"];

    /// <summary>An object on the background's colour outside its mask, cut out along its box.</summary>
    /// <exception cref="OfficialStopException">The mask has another size, or the box none.</exception>
    public static RgbImage Cut(RgbImage image, Detection box, GenEvalOptions options)
    {
        var masked = box.Mask is { } mask ? Composite(image, mask, options.Background) : image;
        if (!options.Crop)
        {
            return masked;
        }

        float[] corners = [box.X1, box.Y1, box.X2, box.Y2];
        if (corners.Any(corner => !float.IsFinite(corner)))
        {
            throw new OfficialStopException(corners.Any(float.IsNaN) ? "ValueError" : "OverflowError",
                $"the box of a {box.Class} has a corner that is no finite number");
        }

        if ((Math.Abs(box.X2 - box.X1) + 1.0) * (Math.Abs(box.Y2 - box.Y1) + 1.0) > MostPixels
            || corners.Any(corner => Math.Abs(corner) > MostPixels))
        {
            throw new OfficialStopException("MemoryError",
                $"the box of a {box.Class} has more pixels than any image: {string.Join(", ", corners)}");
        }

        if (box.X2 < box.X1 || box.Y2 < box.Y1)
        {
            throw new OfficialStopException("ValueError",
                $"the box of a {box.Class} ends before it begins: {string.Join(", ", corners)}");
        }

        var whole = corners.Select(corner => (int)MathF.Round(corner, MidpointRounding.ToEven)).ToArray();
        return whole[2] == whole[0] || whole[3] == whole[1]
            ? throw new OfficialStopException("ZeroDivisionError",
                $"the box of a {box.Class} has no area in whole pixels: {string.Join(", ", corners)}")
            : Window(masked, whole[0], whole[1], whole[2] - whole[0], whole[3] - whole[1]);
    }

    /// <summary>One vector a colour, [D, colours].</summary>
    /// <param name="textEmbeddings">[colours · templates, D], colour by colour.</param>
    /// <param name="colors">How many colours.</param>
    public static Tensor Classifier(Tensor textEmbeddings, int colors)
    {
        using var scope = NewDisposeScope();
        var mean = Unit(textEmbeddings).view(colors, -1, textEmbeddings.shape[^1]).mean([1]);
        return Unit(mean).t().contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>100 · cos of images and colours: [N, D] and [D, colours] → [N, colours].</summary>
    public static Tensor Logits(Tensor imageEmbeddings, Tensor classifier)
    {
        using var scope = NewDisposeScope();
        return Unit(imageEmbeddings).matmul(classifier).mul(100f).MoveToOuterDisposeScope();
    }

    /// <summary>The colour of each row of logits.</summary>
    public static string[] Choose(Tensor logits)
    {
        using var scope = NewDisposeScope();
        return [.. logits.argmax(-1).Values<long>().Select(i => GenEvalOptions.Colors[(int)i])];
    }

    private static Tensor Unit(Tensor vectors) => vectors.div(vectors.norm(-1, keepdim: true, p: 2f));

    private static RgbImage Composite(RgbImage image, DetectionMask mask, string background)
    {
        if ((mask.Width, mask.Height) != (image.Width, image.Height))
        {
            throw new OfficialStopException("AssertionError",
                $"the mask has {mask.Width}x{mask.Height} pixels, the image {image.Width}x{image.Height}");
        }

        if (background == "original")
        {
            return image;
        }

        var blank = HexColor(background);
        var rgb = (byte[])image.Rgb.Clone();
        for (var i = 0; i < rgb.Length; i++)
        {
            rgb[i] = mask.Inside[i / 3] != 0 ? rgb[i] : blank[i % 3];
        }

        return new(image.Width, image.Height, rgb);
    }

    private static byte[] HexColor(string text) => text.Length is 4 or 7 && text[0] == '#' && text[1..]
        .All(char.IsAsciiHexDigit)
        ? Convert.FromHexString(text.Length == 7 ? text[1..] : string.Concat(text[1..].Select(c => $"{c}{c}")))
        : throw new OfficialStopException("ValueError",
            $"the background '{text}' is no colour this kit reads; write #rgb, #rrggbb or original");

    /// <summary>A part of an image; black where it reaches beyond.</summary>
    internal static RgbImage Window(RgbImage image, int left, int top, int width, int height,
        (byte R, byte G, byte B) outside = default)
    {
        var rgb = new byte[(long)width * height * 3];
        for (var i = 0; outside != default && i < rgb.Length; i += 3)
        {
            (rgb[i], rgb[i + 1], rgb[i + 2]) = outside;
        }

        int from = Math.Max(0, -left), count = Math.Min(width, image.Width - left) - from;
        for (var y = Math.Max(0, -top); count > 0 && y < height && y + top < image.Height; y++)
        {
            image.Rgb.AsSpan(((y + top) * image.Width + left + from) * 3, count * 3)
                .CopyTo(rgb.AsSpan((y * width + from) * 3));
        }

        return new(width, height, rgb);
    }
}
