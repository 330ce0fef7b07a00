using ReasonGen.Imaging;

namespace ReasonGen.Verification;

/// <summary>A question that has a yes or a no, about a picture of which the answer is known.</summary>
public sealed record VerifyQuestion(RgbImage Picture, string Question, bool Yes);

/// <summary>The pictures that published models are checked on: drawn here, so that what they show is known.</summary>
internal static class DrawnPictures
{
    internal const int Side = 384;
    private const int Samples = 3; // a side of the square that a pixel's colour is the mean of

    private static readonly (double R, double G, double B) White = (250, 250, 248), Black = (20, 20, 22),
        Red = (214, 40, 36),
        Green = (34, 150, 70), Blue = (36, 74, 200), Yellow = (246, 208, 40), Sky = (126, 180, 236),
            Grass = (92, 156, 70);

    /// <summary>Twelve questions about six pictures, half of them to be answered with yes.</summary>
    internal static IReadOnlyList<VerifyQuestion> Questions()
    {
        var redSquare = Draw(White, (Red, (x, y) => Square(x, y, .5, .5, .24)));
        var blueCircle = Draw(White, (Blue, (x, y) => Circle(x, y, .5, .5, .28)));
        var greenTriangle = Draw(White, (Green, (x, y) => Triangle(x, y)));
        var sun = Draw(Black, (Yellow, (x, y) => Circle(x, y, .5, .5, .26)));
        var pair = Draw(White, (Red, (x, y) => Circle(x, y, .27, .5, .17)),
            (Blue, (x, y) => Square(x, y, .73, .5, .16)));
        var squares = Draw(White, (Green, (x, y) => Square(x, y, .27, .5, .15) || Square(x, y, .73, .5, .15)));
        return
        [
            new(redSquare, "Is the square red?", true), new(redSquare, "Is the square green?", false),
            new(blueCircle, "Is there a triangle in the picture?", false),
            new(blueCircle, "Is there a circle in the picture?", true),
            new(greenTriangle, "Is the triangle green?", true), new(greenTriangle, "Is the triangle red?", false),
            new(sun, "Is the background white?", false), new(sun, "Is the circle yellow?", true),
            new(pair, "Is the blue shape a square?", true), new(pair, "Is the circle blue?", false),
            new(squares, "Are there five squares?", false), new(squares, "Are there two squares?", true),
        ];
    }

    /// <summary>Pictures to take there and back, each with a caption: smooth colours, edges, several shapes.</summary>
    internal static IReadOnlyList<(string Caption, RgbImage Picture)> Scenes() =>
    [
        ("a yellow sun in a blue sky above a green hill", Paint((x, y) =>
            Circle(x, y, .7, .25, .1) ? Yellow : y > .62 + .12 * Math.Sin(3 * x + .4) ? Shade(Grass, 1.25 - .5 * y)
                : Shade(Sky, .8 + .35 * y))),
        ("a red circle and a blue square on a white background", Draw(White,
            (Red, (x, y) => Circle(x, y, .3, .4, .18)), (Blue, (x, y) => Square(x, y, .7, .62, .16)))),
        ("a smooth gradient from red to blue", Paint((x, y) => (230 - 180 * x, 60 + 60 * y, 50 + 180 * x))),
        ("black and white stripes", Paint((x, _) => (int)(x * 8) % 2 == 0 ? White : Black)),
    ];

    private static bool Circle(double x, double y, double cx, double cy, double r) =>
        (x - cx) * (x - cx) + (y - cy) * (y - cy) <= r * r;

    private static bool Square(double x, double y, double cx, double cy, double half) =>
        Math.Abs(x - cx) <= half && Math.Abs(y - cy) <= half;

    private static bool Triangle(double x, double y) => y is >= .24 and <= .76 && Math.Abs(x - .5) <= (y - .24) * .6;

    private static (double R, double G, double B) Shade((double R, double G, double B) c, double by) =>
        (c.R * by, c.G * by, c.B * by);

    private static RgbImage Draw((double, double, double) background,
        params ((double, double, double) Color, Func<double, double, bool> Covers)[] shapes) =>
        Paint((x, y) => shapes.LastOrDefault(shape => shape.Covers(x, y)) is { Covers: not null } top ? top.Color
            : background);

    // x and y in [0, 1), from the upper left
    private static RgbImage Paint(Func<double, double, (double R, double G, double B)> color)
    {
        var rgb = new byte[Side * Side * 3];
        for (var at = 0; at < Side * Side; at++)
        {
            var (r, g, b) = (0.0, 0.0, 0.0);
            for (var i = 0; i < Samples * Samples; i++)
            {
                var part = color((at % Side + (i % Samples + .5) / Samples) / Side,
                    (at / Side + (i / Samples + .5) / Samples) / Side);
                (r, g, b) = (r + part.R, g + part.G, b + part.B);
            }

            foreach (var (c, sum) in new[] { r, g, b }.Index())
            {
                rgb[at * 3 + c] = (byte)Math.Clamp(sum / (Samples * Samples) + .5, 0, 255);
            }
        }

        return new(Side, Side, rgb);
    }
}
