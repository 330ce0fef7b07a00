using ReasonGen.Core;
using static TorchSharp.torch;

namespace ReasonGen.Imaging;

/// <summary>Images to tensors and back.</summary>
public static class ImageTensors
{
    /// <summary>Images of one size → [B, 3, H, W] fp32 in [-1, 1].</summary>
    public static Tensor ToTensor(IReadOnlyList<RgbImage> images, Device device)
    {
        using var scope = NewDisposeScope();
        var (width, height) = (images[0].Width, images[0].Height);
        if (images.FirstOrDefault(p => p.Width != width || p.Height != height) is { } other)
        {
            throw new ArgumentException(
                $"images of one batch have one size, not {width}x{height} and {other.Width}x{other.Height}",
                nameof(images));
        }

        var bytes = new byte[images.Count * height * width * 3];
        for (var i = 0; i < images.Count; i++)
        {
            images[i].Rgb.CopyTo(bytes, i * images[i].Rgb.Length);
        }

        var values = tensor(bytes, [images.Count, height, width, 3], ScalarType.Byte, device)
            .to(ScalarType.Float32)
            .div(127.5f).sub(1);
        return values.permute(0, 3, 1, 2).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>[B, 3, H, W] nominally in [-1, 1] → images: (x + 1) / 2 · 255, clipped, truncated as the reference
    /// does.</summary>
    public static RgbImage[] FromTensor(Tensor values)
    {
        using var scope = NewDisposeScope();
        int height = (int)values.shape[2], width = (int)values.shape[3], size = height * width * 3;
        var bytes = values.detach().to(ScalarType.Float32).add(Held.Of(1L)).div(Held.Of(2L)).mul(Held.Of(255L))
            .clamp(Held.Of(0L), Held.Of(255L)).to(ScalarType.Byte).permute(0, 2, 3, 1).Values<byte>();
        return Enumerable.Range(0, (int)values.shape[0])
            .Select(i => new RgbImage(width, height, bytes[(i * size)..((i + 1) * size)])).ToArray();
    }

    /// <summary>Side of the square that so many images form; null where they form none.</summary>
    public static int? SquareSide(int count) =>
        count > 0 && (int)Math.Sqrt(count) is var side && side * side == count ? side : null;

    /// <summary>Images of one size as one square image, row by row.</summary>
    /// <exception cref="ArgumentException">They form no square, or differ in size.</exception>
    public static RgbImage Grid(IReadOnlyList<RgbImage> images) => Grid(images, SquareSide(images.Count)
        ?? throw new ArgumentException($"{images.Count} images form no square", nameof(images)));

    /// <summary>Images of one size as one image, so many a row; what is left of the last row is black.</summary>
    /// <exception cref="ArgumentException">They differ in size.</exception>
    public static RgbImage Grid(IReadOnlyList<RgbImage> images, int columns)
    {
        var (width, height, rows) = (images[0].Width, images[0].Height, (images.Count + columns - 1) / columns);
        var rgb = new byte[columns * width * rows * height * 3];
        foreach (var (i, image) in images.Index())
        {
            if ((image.Width, image.Height) != (width, height))
            {
                throw new ArgumentException(
                    $"images of one grid have one size, not {width}x{height} and {image.Width}x{image.Height}");
            }

            for (var y = 0; y < height; y++)
            {
                image.Rgb.AsSpan(y * width * 3, width * 3)
                    .CopyTo(rgb.AsSpan(((i / columns * height + y) * columns + i % columns) * width * 3));
            }
        }

        return new(columns * width, rows * height, rgb);
    }
}
