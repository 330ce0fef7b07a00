namespace ReasonGen.Imaging;

/// <summary>An RGB image of 8 bits per channel.</summary>
/// <param name="Width">Pixels per row, at least 1.</param>
/// <param name="Height">Rows, at least 1.</param>
/// <param name="Rgb">Row by row, red, green, blue: <c>Width * Height * 3</c> bytes.</param>
public sealed record RgbImage(int Width, int Height, byte[] Rgb)
{
    /// <summary>The bytes, checked against the size.</summary>
    public byte[] Rgb { get; init; } = Rgb.Length == Width * Height * 3 ? Rgb
        : throw new ArgumentException($"a {Width}x{Height} image has {Width * Height * 3} bytes, not {Rgb.Length}",
            nameof(Rgb));
}
