using ReasonGen.Imaging;
using SkiaSharp;

namespace ReasonGen.Notebook;

/// <summary>One image of a grid.</summary>
/// <param name="Image">The pixels.</param>
/// <param name="Caption">Text below it; empty for none.</param>
/// <param name="Right">Draws a green or red frame; null draws none.</param>
/// <param name="Heat">Values laid over the image as a grid of squares, row by row; null for none.</param>
public sealed record Tile(RgbImage Image, string Caption = "", bool? Right = null, double[]? Heat = null)
{
    /// <summary>Rectangles drawn over the image: left, top, right, bottom in pixels of the image, right and bottom
    /// outside; none by default.</summary>
    public IReadOnlyList<(int Left, int Top, int Right, int Bottom)> Boxes { get; init; } = [];
}

/// <summary>Images in rows, enlarged so that each pixel is a square, as one PNG each with its caption as
/// text.</summary>
public sealed class ImageGrid(IReadOnlyList<Tile> tiles, int columns, int scale, string title) : IHtml
{
    private const int Gap = 10;

    public string ToHtml()
    {
        var cells = tiles.Select((tile, i) =>
        {
            var frame = tile.Right is { } right ? $"box-shadow:0 0 0 3px {(right ? Style.Right : Style.Wrong)};" : "";
            var mark = tile.Right is { } ok ? ok ? "✓ " : "✗ " : "";
            var caption = Html.Escape(mark + tile.Caption);
            var alt = tile.Caption.Length > 0 ? caption
                : Html.Escape($"{mark}{(title.Length > 0 ? title + ", " : "")}image {i + 1}");
            return $"<figure style=\"margin:0;text-align:center\"><img "
                + $"alt=\"{alt}\" style=\"{frame}image-rendering:pixelated;"
                + $"width:{tile.Image.Width * scale}px;max-width:100%\" "
                + $"src=\"data:image/png;base64,{Convert.ToBase64String(Png(tile))}\"/>"
                + (caption.Length == 0 ? "</figure>"
                    : $"<figcaption style=\"font-size:12px;line-height:1.3;margin-top:4px\">{caption}</figcaption>"
                        + $"</figure>");
        });
        // as many columns as asked for where there is room, first smaller and then fewer where there is not
        var width = tiles.Count == 0 ? 0 : tiles.Max(tile => tile.Image.Width) * scale;
        var least = Math.Min(width, Math.Max(64, width * 7 / 10));
        var across = Math.Min(columns, Math.Max(1, tiles.Count));
        var heading =
            title.Length == 0 ? "" : $"<div style=\"font-weight:600;margin:4px 0 8px\">{Html.Escape(title)}</div>";
        if (tiles.Any(tile => tile.Heat is not null))
        {
            heading += "<div style=\"font-size:12px;margin:0 0 8px\">least value of the image <span style=\"display:"
                + "inline-block;width:90px;height:10px;background:linear-gradient(90deg,rgba(255,200,0,.15),"
                + "rgba(255,40,0,.85))\"></span> largest</div>";
        }

        return $"<div class=\"rg-images\" style=\"{Style.Font};padding:3px\">{heading}<div style=\"display:grid;"
            + $"gap:{Gap}px;max-width:{across * (width + Gap)}px;grid-template-columns:repeat(auto-fill,"
            + $"minmax(min(100%,max({least}px,calc((100% "
            + $"- {(across - 1) * Gap + 1}px)/{across}))),1fr))\">{string.Concat(cells)}</div></div>";
    }

    // The browser enlarges; the file keeps the image's own pixels unless something is laid over it.
    private static byte[] Png(Tile tile)
    {
        var enlarge = tile.Heat is null && tile.Boxes.Count == 0 ? 1 : 4;
        var (width, height) = (tile.Image.Width * enlarge, tile.Image.Height * enlarge);
        var pixels = new byte[width * height * 4];
        var side = tile.Heat is null ? 1 : (int)Math.Sqrt(tile.Heat.Length);
        var (low, high) =
            tile.Heat is null ? (0, 1) : (tile.Heat.Min(), Math.Max(tile.Heat.Max(), tile.Heat.Min() + 1e-9));
        for (var y = 0; y < height; y++)
        {
            for (var x = 0; x < width; x++)
            {
                var at = (y / enlarge * tile.Image.Width + x / enlarge) * 3;
                var (r, g, b) = (tile.Image.Rgb[at], tile.Image.Rgb[at + 1], tile.Image.Rgb[at + 2]);
                if (tile.Heat is { } heat)
                {
                    var value = (heat[y * side / height * side + x * side / width] - low) / (high - low);
                    (r, g, b) = (Blend(r, 255, value), Blend(g, 200 - 160 * value, value), Blend(b, 0, value));
                }

                var to = (y * width + x) * 4;
                (pixels[to], pixels[to + 1], pixels[to + 2], pixels[to + 3]) = (r, g, b, 255);
            }
        }

        foreach (var box in tile.Boxes)
        {
            int left = Math.Max(0, box.Left * enlarge), top = Math.Max(0, box.Top * enlarge);
            int right = Math.Min(width, box.Right * enlarge) - 1, bottom = Math.Min(height, box.Bottom * enlarge) - 1;
            void White(int x, int y) => pixels.AsSpan((y * width + x) * 4, 3).Fill(255);
            for (var x = left; x <= right; x++)
            {
                White(x, top);
                White(x, bottom);
            }

            for (var y = top; y <= bottom; y++)
            {
                White(left, y);
                White(right, y);
            }
        }

        using var image =
            SKImage.FromPixelCopy(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque), pixels);
        using var data = image.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    private static byte Blend(byte pixel, double overlay, double value) =>
        (byte)(pixel + (overlay - pixel) * (0.15 + 0.7 * value));
}
