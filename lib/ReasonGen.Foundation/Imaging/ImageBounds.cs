namespace ReasonGen.Imaging;

/// <summary>
/// What an image file may declare: sizes are believed, and memory taken, only where the file's own size makes them
/// likely. Every decoder asks before it takes memory.
/// </summary>
public static class ImageBounds
{
    /// <summary>Most pixels that are decoded.</summary>
    public const long MostPixels = 100_000_000;

    private const long AlwaysAllowed = 4096 * 4096, MostPixelsPerByte = 8192;

    /// <summary>Why an image is not decoded, as half a sentence; null where it may be.</summary>
    /// <param name="width">Pixels per row, as declared.</param>
    /// <param name="height">Rows, as declared.</param>
    /// <param name="bytes">Bytes of the file.</param>
    public static string? Refusal(int width, int height, long bytes) => ((long)width * height) switch
    {
        < 1 => "it has no pixels",
        > MostPixels => $"it declares {width}x{height} pixels, more than the {MostPixels:N0} that are read",
        var pixels when pixels > Math.Max(AlwaysAllowed, MostPixelsPerByte * bytes) =>
            $"it declares {width}x{height} pixels in {bytes} bytes, which no photograph does",
        _ => null,
    };
}
