// What the scripts of T2I-CompBench show the detector (UniDet_eval: generate_dataset.py; torchvision: Resize(479,
// max_size=480)):
//   short side 479, long ⌊479·long/short⌋; where that exceeds 480, long 480 and short ⌊480·479/long⌋; Pillow's bilinear
//   filter
//   blue, green, red; (x − mean)/deviation in fp32; then padded right and bottom with 0 to multiples of 32, a batch to
//   its largest image
using ReasonGen.Imaging;
using ReasonGen.Judges.Images;
using static TorchSharp.torch;

namespace ReasonGen.Judges.UniDet;

internal static class UniDetImage
{
    private const int ShortSide = 479, LongSide = 480;

    /// <summary>The image in a file as Pillow's convert("RGB") gives it: transparency dropped, 16 bits clipped at 255,
    /// EXIF's orientation passed over.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">The file is missing, no image, or damaged.</exception>
    internal static RgbImage Read(string path) => ImageReader.Read(path).Rgb;

    /// <summary>Width and height after resizing; a side of 0 is one that the reference stops at.</summary>
    internal static (int Width, int Height) Size(int width, int height)
    {
        var (small, large) = (Math.Min(width, height), Math.Max(width, height));
        var (toSmall, toLarge) = (ShortSide, (int)((double)ShortSide * large / small));
        (toSmall, toLarge) = toLarge > LongSide ? ((int)((double)LongSide * toSmall / toLarge), LongSide)
            : (toSmall, toLarge);
        return width <= height ? (toSmall, toLarge) : (toLarge, toSmall);
    }

    /// <summary>Resized as the scripts do it: boxes stay in this scale.</summary>
    /// <exception cref="ArgumentException">The image is so narrow that nothing of it would be left.</exception>
    internal static RgbImage Resize(RgbImage image)
    {
        var (width, height) = Size(image.Width, image.Height);
        return width > 0 && height > 0 ? Resampling.Resize(image, width, height, ResizeFilter.Bilinear)
            : throw new ArgumentException($"an image of {image.Width}x{image.Height} pixels would be resized to "
                + $"{width}x{height}: it is too narrow for the detector");
    }

    /// <summary>Resized images, normalised and padded: [B, 3, H, W] on the CPU.</summary>
    internal static Tensor Batch(IReadOnlyList<RgbImage> images, UniDetConfig config)
    {
        static int Padded(int side) =>
            (side + UniDetConfig.SizeDivisor - 1) / UniDetConfig.SizeDivisor * UniDetConfig.SizeDivisor;
        int width = Padded(images.Max(image => image.Width)), height = Padded(images.Max(image => image.Height));
        var values = new float[images.Count * 3 * height * width];
        foreach (var (number, image) in images.Index())
        {
            for (var channel = 0; channel < 3; channel++)
            {
                float[] table =
                    [.. Enumerable.Range(0, 256).Select(x => (x - config.Mean[channel]) / config.Deviation[channel])];
                var plane = values.AsSpan((number * 3 + channel) * height * width, height * width);
                for (var i = 0; i < image.Width * image.Height; i++)
                {
                    plane[i / image.Width * width + i % image.Width] = table[image.Rgb[3 * i + 2 - channel]];
                }
            }
        }

        return tensor(values, [images.Count, 3, height, width], device: CPU);
    }
}
