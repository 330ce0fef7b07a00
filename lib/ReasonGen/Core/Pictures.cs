using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Pictures to tensors and back.</summary>
public static class Pictures
{
    /// <summary>Pictures of one size → [B, 3, H, W] fp32 in [-1, 1].</summary>
    public static Tensor ToTensor(IReadOnlyList<Picture> pictures, Device device)
    {
        using var scope = NewDisposeScope();
        var (width, height) = (pictures[0].Width, pictures[0].Height);
        if (pictures.FirstOrDefault(p => p.Width != width || p.Height != height) is { } other)
        {
            throw new ArgumentException($"pictures of one batch have one size, not {width}x{height} and {other.Width}x{other.Height}", nameof(pictures));
        }

        var bytes = new byte[pictures.Count * height * width * 3];
        for (var i = 0; i < pictures.Count; i++)
        {
            pictures[i].Rgb.CopyTo(bytes, i * pictures[i].Rgb.Length);
        }

        var values = tensor(bytes, [pictures.Count, height, width, 3], ScalarType.Byte).to(device).to(ScalarType.Float32).div(127.5f).sub(1);
        return values.permute(0, 3, 1, 2).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>[B, 3, H, W] nominally in [-1, 1] → pictures: (x + 1) / 2 · 255, clipped, truncated as the reference does.</summary>
    public static Picture[] FromTensor(Tensor values)
    {
        using var scope = NewDisposeScope();
        int height = (int)values.shape[2], width = (int)values.shape[3], size = height * width * 3;
        var bytes = values.detach().to(ScalarType.Float32).add(1).div(2).mul(255).clamp(0, 255).to(ScalarType.Byte).permute(0, 2, 3, 1)
            .Values<byte>();
        return Enumerable.Range(0, (int)values.shape[0]).Select(i => new Picture(width, height, bytes[(i * size)..((i + 1) * size)])).ToArray();
    }

    /// <summary>Side of the square that so many pictures form; null where they form none.</summary>
    public static int? SquareSide(int count) => count > 0 && (int)Math.Sqrt(count) is var side && side * side == count ? side : null;

    /// <summary>Pictures of one size as one square picture, row by row.</summary>
    /// <exception cref="ArgumentException">They form no square, or differ in size.</exception>
    public static Picture Grid(IReadOnlyList<Picture> pictures)
    {
        var side = SquareSide(pictures.Count) ?? throw new ArgumentException($"{pictures.Count} pictures form no square", nameof(pictures));
        var (width, height) = (pictures[0].Width, pictures[0].Height);
        var rgb = new byte[side * width * side * height * 3];
        foreach (var (i, picture) in pictures.Index())
        {
            if ((picture.Width, picture.Height) != (width, height))
            {
                throw new ArgumentException($"pictures of one square have one size, not {width}x{height} and {picture.Width}x{picture.Height}");
            }

            for (var y = 0; y < height; y++)
            {
                picture.Rgb.AsSpan(y * width * 3, width * 3).CopyTo(rgb.AsSpan(((i / side * height + y) * side + i % side) * width * 3));
            }
        }

        return new(side * width, side * height, rgb);
    }
}
