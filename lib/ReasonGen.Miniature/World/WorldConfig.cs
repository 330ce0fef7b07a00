namespace ReasonGen.World;

/// <summary>How surfaces look.</summary>
public enum Texture
{
    /// <summary>One colour a shape, one for the background: image tokens are all but certain once the scene is
    /// known.</summary>
    Plain,

    /// <summary>Every tile of 4x4 pixels has a tone of its own: image tokens stay uncertain by nature.</summary>
    Textured,
}

/// <summary>The drawn world: up to four shapes on a 2x2 grid of cells.</summary>
public sealed record WorldConfig
{
    /// <summary>What shapes there are, in the order of their index.</summary>
    public static IReadOnlyList<string> Shapes { get; } = ["circle", "square", "triangle", "diamond", "cross"];

    /// <summary>
    /// What colours there are, in the order of their index: GenEval's names, hues far enough apart to survive a lossy
    /// tokenizer.
    /// </summary>
    public static IReadOnlyList<string> Colors { get; } = ["red", "green", "blue", "yellow", "purple", "white"];

    /// <summary>Where a shape can be, in the order of the cells.</summary>
    public static IReadOnlyList<string> Places { get; } = ["top-left", "top-right", "bottom-left", "bottom-right"];

    /// <summary>Pixels a side. The world is drawn for 32.</summary>
    public const int ImageSize = 32;

    /// <summary>Pixels a side of one cell.</summary>
    public const int CellSize = 16;

    /// <summary>Pixels a side of a tile with a tone of its own: what one image token covers.</summary>
    public const int TileSize = 4;

    /// <summary>A shape's centre is off its cell's centre by up to this many pixels.</summary>
    public const int Jitter = 1;

    /// <summary>How surfaces look. Default: textured.</summary>
    public Texture Texture { get; init; } = Texture.Textured;

    /// <exception cref="ArgumentException">A property is out of its range.</exception>
    public void Validate()
    {
        if (!Enum.IsDefined(Texture))
        {
            throw new ArgumentException(
                $"{nameof(Texture)} is {(int)Texture}; it must be {string.Join(" or ", Enum.GetNames<Texture>())}");
        }
    }

    /// <summary>RGB of each colour at full tone: hues at least 55 degrees apart, and white.</summary>
    internal static byte[][] Palette { get; } =
        [[245, 45, 45], [40, 220, 80], [40, 95, 255], [250, 235, 40], [200, 50, 240], [245, 245, 245]];

    /// <summary>RGB of the background at tone 1.</summary>
    internal static byte[] Background { get; } = [24, 24, 30];

    /// <summary>Tones of background tiles, relative to <see cref="Background"/>; the brightest stays far below any
    /// shape.</summary>
    internal static float[] BackgroundTones { get; } = [0.4f, 1f, 1.6f, 2.2f, 2.8f, 3.4f];

    /// <summary>
    /// Tones of tiles on a shape, relative to its colour. A tile takes the same step of both scales: ln 6 nats a tile,
    /// not ln 36.
    /// </summary>
    internal static float[] ShapeTones { get; } = [0.78f, 0.824f, 0.868f, 0.912f, 0.956f, 1f];
}
