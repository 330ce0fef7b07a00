using ReasonGen.Core;

namespace ReasonGen.World;

/// <summary>Draws scenes.</summary>
public static class Renderer
{
    /// <summary>Draws a scene; the tones of its tiles come from the seed.</summary>
    public static Picture Render(Scene scene, WorldConfig config, long seed)
    {
        const int size = WorldConfig.PictureSize, tile = WorldConfig.TileSize, tiles = size / tile;
        var random = Seeds.Random(seed);
        Span<float> backgroundTones = stackalloc float[tiles * tiles], shapeTones = stackalloc float[tiles * tiles];
        for (var i = 0; i < tiles * tiles; i++)
        {
            var textured = config.Look == Look.Textured;
            backgroundTones[i] = textured ? WorldConfig.BackgroundTones[random.Next(WorldConfig.BackgroundTones.Length)] : 1;
            shapeTones[i] = textured ? WorldConfig.ShapeTones[random.Next(WorldConfig.ShapeTones.Length)] : 1;
        }

        var rgb = new byte[size * size * 3];
        for (var y = 0; y < size; y++)
        {
            for (var x = 0; x < size; x++)
            {
                var at = y / tile * tiles + x / tile;
                var (color, tone) = (WorldConfig.Background, backgroundTones[at]);
                foreach (var o in scene.Objects)
                {
                    if (Covers(o.Shape, x - o.CenterX, y - o.CenterY))
                    {
                        (color, tone) = (WorldConfig.Palette[o.Color], shapeTones[at]);
                    }
                }

                for (var c = 0; c < 3; c++)
                {
                    rgb[(y * size + x) * 3 + c] = (byte)(color[c] * tone);
                }
            }
        }

        return new Picture(size, size, rgb);
    }

    /// <summary>Whether a shape covers the pixel this far right of and below its centre.</summary>
    internal static bool Covers(int shape, int x, int y) => shape switch
    {
        0 => x * x + y * y <= 27,
        1 => Math.Abs(x) <= 4 && Math.Abs(y) <= 4,
        2 => y is >= -5 and <= 4 && 2 * Math.Abs(x) <= y + 6,
        3 => Math.Abs(x) + Math.Abs(y) <= 6,
        4 => (Math.Abs(x) <= 1 && Math.Abs(y) <= 5) || (Math.Abs(y) <= 1 && Math.Abs(x) <= 5),
        _ => throw new ArgumentOutOfRangeException(nameof(shape)),
    };
}
