using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class ColorClassifierGoldenTests
{
    [Fact]
    public void The_chain_from_crop_to_colour_equals_the_reference()
    {
        using var classifier = Chain(out var clip);
        using var scope = NewDisposeScope();
        var (json, t) = (Golden.Json("clip/geneval_chain"), Golden.Tensors("clip/geneval_chain"));
        var texts = ColorClassifier.Texts((string)json["class"]!);
        Assert.Equal(json["texts"]!.ToObject<string[]>()!, texts);
        Assert.Equal(json["colors"]!.ToObject<string[]>()!, GenEvalOptions.Colors);
        using var ids = ClipScorer.Padded([.. texts.Select(text => clip.Tokenizer.EncodeForModel(text))], 0);
        Golden.Equal(t["input_ids"].narrow(1, 0, ids.shape[1]), ids, "ids");
        Golden.Close(t["text_embeds"], clip.Model.EncodeTexts(ids), 2e-5, "texts");
        Golden.Close(t["classifier"], classifier.Classifier((string)json["class"]!), 2e-5, "classifier");
        var crops = Golden.Tensors("geneval/crops");
        SourceImage[] images =
        [
            .. json["rows"]!.Select(row => (string)row!).Select(row => row.StartsWith("crop ")
                ? (SourceImage)ClipFixture.Image(crops[row[5..]])
                : ImageReader.Read(Golden.Path("clip/" + row.Split(' ')[0])).Rgb),
        ];
        using var pixels = clip.Transform.PixelValues(images);
        Golden.Close(t["pixel_values"], pixels, 1e-6, "pixels");
        Golden.Close(t["image_embeds"], clip.Model.EncodeImages(pixels), 2e-5, "images");
        var answers = images.Select(image => classifier.Classify(image.Rgb,
            [new((string)json["class"]!, 0, 0, image.Width, image.Height, 1)], (string)json["class"]!)[0]).ToArray();
        Assert.Equal(json["predicted"]!.ToObject<string[]>()!, answers.Select(answer => answer.Color));
        Golden.Close(t["logits"], tensor(answers.SelectMany(answer => answer.Logits).ToArray(), [answers.Length, 10]),
            1e-4, "logits");
    }

    [Fact]
    public void A_mask_of_another_size_is_refused_before_the_model_runs()
    {
        using var classifier = Chain(out _);
        var image = new RgbImage(4, 3, new byte[36]);
        Assert.Contains("11x1 pixels", Assert.Throws<OfficialStopException>(() =>
            classifier.Classify(image, [new("cat", 0, 0, 4, 3, 1) { Mask = new(11, 1, new byte[11]) }],
                "cat")).Message);
        Assert.Empty(classifier.Classify(image, [], "cat"));
    }

    private static ColorClassifier Chain(out ClipScorer clip)
    {
        clip = ClipScorer.ForColors(Golden.Path("clip/hf"), ClipFixture.Target, anyModel: true);
        return new(clip);
    }
}
