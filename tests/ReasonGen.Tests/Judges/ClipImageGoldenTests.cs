using System.Security.Cryptography;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class ClipImageGoldenTests
{
    [Fact]
    public void Images_of_every_mode_are_prepared_like_OpenAis_transform()
    {
        var (json, t) = (Golden.Json("clip/image"), Golden.Tensors("clip/image"));
        var transform = new ClipTransform((int)json["size"]!, ClipImageRules.OpenAi);
        Assert.All(json["images"]!, row =>
        {
            var number = (int)row["image"]!;
            var image = ClipFixture.Image("clip", number);
            Assert.Equal((string)row["mode"]!, Mode(image));
            Assert.Equal(t[$"{number}.uint8"].Values<byte>(), transform.Prepare(image).Rgb);
            using var values = transform.PixelValues([image]);
            Golden.Close(t[$"{number}"], values[0], 1e-6, $"image {number}");
        });
        Assert.All(json["at_224"]!, row => Assert.Equal((string)row["uint8_sha256"]!, Convert.ToHexStringLower(
            SHA256.HashData(new ClipTransform(224, ClipImageRules.OpenAi).Prepare(ClipFixture.Image("clip",
                (int)row["image"]!)).Rgb))));
    }

    [Fact]
    public void Images_of_every_mode_are_prepared_like_Hugging_Faces_processor()
    {
        var (json, t) = (Golden.Json("clip/image"), Golden.Tensors("clip/image"));
        var transform = new ClipTransform((int)json["size"]!, ClipImageRules.HuggingFace);
        Assert.All(json["images"]!, row =>
        {
            var number = (int)row["image"]!;
            var image = ClipFixture.Image("clip", number);
            if (row["hf_error"] is not null)
            {
                Assert.Contains("rows", Assert.Throws<UnusableFileException>(() => transform.Prepare(image)).Message);
                return;
            }

            using var values = transform.PixelValues([image]);
            Golden.Close(t.GetValueOrDefault($"{number}.hf") ?? t[$"{number}"], values[0], 1e-5, $"image {number}");
        });
    }

    [Fact]
    public void GenEvals_images_of_every_mode_are_read_upright_as_RGB()
    {
        var t = Golden.Tensors("geneval/modes");
        Assert.All(Golden.List("geneval/modes").Where(row =>
            row["error"]!.Type == Newtonsoft.Json.Linq.JTokenType.Null).Some(), row =>
        {
            var image = ImageReader.Read(Golden.Path("geneval/" + (string)row["file"]!)).Upright();
            var expected = t[Path.GetFileNameWithoutExtension((string)row["file"]!)];
            Assert.Equal(((int)expected.shape[1], (int)expected.shape[0]), (image.Width, image.Height));
            Assert.Equal(expected.Values<byte>(), image.Rgb.Rgb);
        });
    }

    [Theory]
    [InlineData(20)]
    [InlineData(400)]
    public void A_damaged_image_is_refused_by_name(int kept)
    {
        using var copy = new ClipFixture.Copy("clip/images/0.png");
        File.WriteAllBytes(copy.In("0.png"), File.ReadAllBytes(copy.In("0.png"))[..kept]);
        Assert.Contains("0.png",
            Assert.Throws<UnusableFileException>(() => ImageReader.Read(copy.In("0.png"))).Message);
        Assert.Contains("no such file", Assert.Throws<UnusableFileException>(() =>
            ImageReader.Read(copy.In("1.png"))).Message);
    }

    private static string Mode(SourceImage image) => image.Mode switch
    {
        ImageMode.Rgb => "RGB", ImageMode.Rgba => "RGBA", ImageMode.Grey => "L", ImageMode.GreyAlpha =>
            "LA", ImageMode.Palette => "P", _ => "1",
    };
}
