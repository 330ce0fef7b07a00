using ReasonGen.Core;
using ReasonGen.Imaging;

namespace ReasonGen.World;

/// <summary>Draws scenes.</summary>
public static class Renderer
{
    /// <summary>Draws a scene with clean edges; the tones of its tiles come from the seed. Allocates nothing but the
    /// image.</summary>
    public static RgbImage Render(Scene scene, WorldConfig config, long seed)
    {
        config.Validate();
        const int size = WorldConfig.ImageSize, tile = WorldConfig.TileSize, tiles = size / tile;
        Span<int> steps = stackalloc int[tiles * tiles];
        for (var i = 0; i < steps.Length; i++)
        {
            steps[i] =
                config.Texture == Texture.Textured ? (int)(Seeds.Mix(seed, i) % WorldConfig.ShapeTones.Length) : -1;
        }

        var rgb = new byte[size * size * 3];
        var objects = scene.Objects;
        for (var at = 0; at < size * size; at++)
        {
            int x = at % size, y = at / size, step = steps[y / tile * tiles + x / tile];
            var (color, tone) = (WorldConfig.Background, step < 0 ? 1 : WorldConfig.BackgroundTones[step]);
            for (var i = 0; i < objects.Count; i++)
            {
                var o = objects[i];
                if (Covers(o.Shape, x - o.CenterX, y - o.CenterY))
                {
                    (color, tone) = (WorldConfig.Palette[o.Color], step < 0 ? 1 : WorldConfig.ShapeTones[step]);
                }
            }

            for (var c = 0; c < 3; c++)
            {
                rgb[at * 3 + c] = (byte)(color[c] * tone);
            }
        }

        return new RgbImage(size, size, rgb);
    }

    /// <summary>
    /// Whether a shape covers the pixel this far right of and below its centre. All reach 5 pixels at most, so
    /// neighbours stay 3 pixels apart, and no two outlines overlap by more than 0.77 (intersection over union).
    /// </summary>
    internal static bool Covers(int shape, int x, int y) => shape switch
    {
        0 => x * x + y * y <= 30,
        1 => Math.Abs(x) <= 4 && Math.Abs(y) <= 4,
        2 => y is >= -5 and <= 4 && 2 * Math.Abs(x) <= y + 6,
        3 => Math.Abs(x) + Math.Abs(y) <= 5,
        4 => (Math.Abs(x) <= 1 && Math.Abs(y) <= 5) || (Math.Abs(y) <= 1 && Math.Abs(x) <= 5),
        _ => throw new ArgumentOutOfRangeException(nameof(shape)),
    };
}
