using System.Security.Cryptography;
using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Core;

[Trait("Category", "Golden")]
public sealed class ResizeGoldenTests
{
    [Fact]
    public void Every_filter_equals_the_reference_to_the_byte()
    {
        Dictionary<string, Tensor> expected = Golden.Tensors("resize/resized"),
            inputs = Golden.Tensors("resize/inputs");
        Assert.All(expected, pair =>
        {
            var parts = pair.Key.Split('.');
            var size = parts[2].Split('x').Select(int.Parse).ToArray();
            var resized = Resampling.Resize(Of(inputs[parts[0]]), size[0], size[1],
                Enum.Parse<ResizeFilter>(parts[1], ignoreCase: true));
            Assert.Equal(pair.Value.Values<byte>(), resized.Rgb);
        });
        Assert.Throws<ArgumentException>(() => Resampling.Resize(Of(inputs.Values.First()), 0, 4));
    }

    [Fact]
    public void Large_images_equal_the_reference_to_the_byte()
    {
        foreach (var row in Golden.List("resize/large"))
        {
            var image = ByFormula(row["formula"]!);
            Assert.Equal((string?)row["input_sha256"], Hash(image));
            foreach (var step in row["steps"]!.Some())
            {
                image = Resampling.Resize(image, (int)step["width"]!, (int)step["height"]!,
                    Enum.Parse<ResizeFilter>((string)step["filter"]!, ignoreCase: true));
                Assert.Equal((string?)step["sha256"], Hash(image));
            }
        }
    }

    [Fact]
    public void What_the_judge_is_shown_equals_the_reference()
    {
        foreach (var row in Golden.List("resize/judge_image"))
        {
            var fitted = Resampling.FitPixels(ByFormula(row["formula"]!));
            Assert.Equal(((int)row["width"]!, (int)row["height"]!), (fitted.Width, fitted.Height));
            Assert.Equal((string?)row["sha256"], Hash(fitted));
        }
    }

    [Fact]
    public void Crops_and_prepared_images_equal_the_reference()
    {
        Dictionary<string, Tensor> expected = Golden.Tensors("resize/crop"), inputs = Golden.Tensors("resize/inputs");
        foreach (var (name, values) in expected)
        {
            using var scope = NewDisposeScope();
            var cropped = Resampling.CropCentre(Of(inputs[name.Split('.')[0]]));
            if (name.EndsWith("center_crop"))
            {
                Assert.Equal(values.Values<byte>(), cropped.Rgb);
                continue;
            }

            var side = int.Parse(name.Split('_')[^1]);
            Golden.Close(values, ImageTensors.ToTensor([Resampling.Resize(cropped, side, side)], CPU)[0], 1.2e-7, name);
        }
    }

    [Fact]
    public void Image_files_are_read_and_written_to_the_byte()
    {
        foreach (var (name, pixels) in Golden.Tensors("resize/inputs"))
        {
            var image = ImageFile.Read(Golden.Path($"resize/images/{name}.png"));
            Assert.Equal(pixels.Values<byte>(), image.Rgb);
            var file = Path.GetTempFileName();
            File.WriteAllBytes(file, Png.Encode(image));
            Assert.Equal(image.Rgb, ImageFile.Read(file).Rgb);
            File.WriteAllText(file, "no image");
            Assert.Contains("image",
                Assert.Throws<ReasonGen.Checkpoints.UnusableFileException>(() => ImageFile.Read(file)).Message);
            File.Delete(file);
        }
    }

    private static RgbImage Of(Tensor hwc) => new((int)hwc.shape[1], (int)hwc.shape[0], hwc.Values<byte>());

    private static string Hash(RgbImage image) => Convert.ToHexStringLower(SHA256.HashData(image.Rgb));

    // the formula of golden/resize/README.md
    private static RgbImage ByFormula(JToken formula)
    {
        int width = (int)formula["width"]!, height = (int)formula["height"]!, k = (int)formula["k"]!;
        var rgb = new byte[width * height * 3];
        for (long y = 0, at = 0; y < height; y++)
        {
            for (long x = 0; x < width; x++)
            {
                for (long c = 0; c < 3; c++)
                {
                    rgb[at++] = (byte)((x * x * (c + 1) + y * y * 3 + x * y * (2 * c + 1) + 17 * c + k) >> 4);
                }
            }
        }

        return new(width, height, rgb);
    }
}
