using System.Globalization;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Verification;

/// <summary>The checks of a model's image side.</summary>
internal sealed class ImageMeasures(JanusPipeline pipeline, VerifySuite suite)
{
    /// <summary>Images through the image tokenizer and back.</summary>
    internal VerifyCheck RoundTrip()
    {
        RgbImage[] before = [.. suite.Pictures.Select(item => item.Picture)];
        var codes = Codes(before);
        var after = ImageTensors.FromTensor(pipeline.Model.DecodeImage(codes));
        var psnr = before.Zip(after, Psnr).Average();
        var check = VerifyCheck.Of("image tokenizer", $"{before.Length} pictures to image tokens and back: signal "
            + "against error.", psnr, " dB",
            suite.Psnr, Diagnosis(before, after));
        return check with
        {
            Images = [.. before.Zip(after).SelectMany(pair =>
                new[] { ("as drawn", pair.First), ("there and back", pair.Second) })],
            Details = [$"{codes.reshape(-1).Values<long>().Distinct().Count()} different codes of "
                + $"{pipeline.Model.CodebookSize}"],
        };
    }

    /// <summary>How likely the model finds the tokens of images after the texts they belong to.</summary>
    internal VerifyCheck Loss()
    {
        var model = pipeline.Model;
        var codes = Codes([.. suite.Pictures.Select(item => item.Picture)]);
        var losses = new List<double>();
        foreach (var (i, (text, _)) in suite.Pictures.Index())
        {
            using var scope = NewDisposeScope();
            var (own, begin) = (codes.narrow(0, i, 1), pipeline.Tokenizer.Special.BeginOfImage);
            int[] tokens = [.. pipeline.Tokenizer.Encode(text)];
            long[] ids = [pipeline.Tokenizer.Special.Bos, .. tokens, .. tokens is [.., var last] && last == begin ? []
                : new long[] { begin }];
            var embeddings = cat([model.Embed(tensor(ids, [1, ids.Length], device: codes.device)),
                model.EmbedImageCodes(own.narrow(1, 0, own.shape[1] - 1))], 1);
            var logits = model.ImageLogits(model.Hidden(embeddings).narrow(1, ids.Length - 1, own.shape[1]));
            losses.Add(nn.functional.cross_entropy(logits.squeeze(0).to(ScalarType.Float32),
                own.squeeze(0)).ToDouble());
        }

        var noise = Math.Log(model.CodebookSize).ToString("0.0", CultureInfo.InvariantCulture);
        return VerifyCheck.Of("image tokens", "Mean loss of the tokens of the same pictures after their captions.",
            losses.Average(), " nats",
            suite.ImageLoss, "gen_head, gen_embed or gen_aligner of another model, a shuffled codebook, or what "
                + "the text check suggests; noise "
            + $"gives {noise}");
    }

    /// <summary>Whether drawn images are pictures: in noise a pixel says nothing of its neighbour.</summary>
    internal static VerifyCheck Neighbours(IReadOnlyList<RgbImage> drawn, VerifySuite suite)
    {
        var check = VerifyCheck.Of("drawing", $"{drawn.Count} images of \"{suite.Prompt}\", guidance "
            + $"{suite.Drawing.GuidanceScale}: correlation "
            + "of neighbouring pixels.", drawn.Average(NeighbourCorrelation), "", suite.Neighbours,
            "the codebook, where the image tokenizer was missed too; else gen_head, gen_embed or gen_aligner of "
                + "another model");
        return check with { Images = [.. drawn.Select(image => ("drawn", image))] };
    }

    /// <summary>Whether four seeds give four images.</summary>
    internal static VerifyCheck Difference(IReadOnlyList<RgbImage> drawn)
    {
        var pairs = drawn.SelectMany((one, i) => drawn.Skip(i + 1).Select(other => (one, other)));
        var least = pairs.Min(pair => pair.one.Rgb.Zip(pair.other.Rgb, (a, b) => Math.Abs(a - b)).Average());
        return VerifyCheck.Of("difference", "Mean difference of the two drawn images that are nearest to each "
            + "other, of 255.", least, "",
            VerifyBand.AtLeast(1), "sampling that does not sample (logits that are not finite, or a temperature "
                + "near 0)");
    }

    private Tensor Codes(IReadOnlyList<RgbImage> pictures) =>
        pipeline.Model.ImageTokenizer.Encode(ImageTensors.ToTensor(pictures, pipeline.Model.Target.Device));

    private static double Psnr(RgbImage one, RgbImage other) =>
        10 * Math.Log10(255.0 * 255 / Math.Max(1e-9,
            one.Rgb.Zip(other.Rgb, (a, b) => (double)(a - b) * (a - b)).Average()));

    // what came back, as a line through what went in
    private string Diagnosis(IReadOnlyList<RgbImage> before, IReadOnlyList<RgbImage> after)
    {
        double[] Values(IEnumerable<RgbImage> images) =>
            [.. images.SelectMany(image => image.Rgb.Select(value => (double)value))];
        double[] sent = Values(before), back = Values(after);
        var straight = Correlation(sent, back);
        var swapped = Correlation(sent, Values(after.Select(image => image with
        {
            Rgb = [.. image.Rgb.Chunk(3).SelectMany(pixel => pixel.Reverse())],
        })));
        var (slope, error) = (straight * Deviation(back) / Deviation(sent),
            Deviation(sent) * Math.Sqrt(1 - straight * straight));
        var rest = back.Average() - slope * sent.Average();
        return swapped > straight + .1 ? "channel order: red and blue are exchanged"
            : suite.Psnr.Holds(20 * Math.Log10(255 / error)) // it would be right but for the line
                ? "normalisation of pixels (values are in [-1, 1] on either side): what comes back is about "
                    + string.Create(CultureInfo.InvariantCulture, $"{slope:0.##} times what went in, {rest:+0;-0}")
            : "the codebook (another model's; its rows are normalised when used), or a wrong shard of the image "
                + "tokenizer";
    }

    private static double NeighbourCorrelation(RgbImage image)
    {
        var (width, height) = (image.Width, image.Height);
        double[] grey = [.. image.Rgb.Chunk(3).Select(pixel => (pixel[0] + pixel[1] + pixel[2]) / 3.0)];
        var right = Enumerable.Range(0, width * height).Where(at => at % width < width - 1)
            .Select(at => (grey[at], grey[at + 1]));
        var below = Enumerable.Range(0, width * (height - 1)).Select(at => (grey[at], grey[at + width]));
        (double, double)[] pairs = [.. right, .. below];
        return Correlation([.. pairs.Select(pair => pair.Item1)], [.. pairs.Select(pair => pair.Item2)]);
    }

    // NaN where one side does not vary
    private static double Correlation(double[] one, double[] other)
    {
        var (a, b) = (one.Average(), other.Average());
        return one.Zip(other, (x, y) => (x - a) * (y - b)).Average() / (Deviation(one) * Deviation(other));
    }

    private static double Deviation(double[] values)
    {
        var mean = values.Average();
        return Math.Sqrt(values.Average(value => (value - mean) * (value - mean)));
    }
}
