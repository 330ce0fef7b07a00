using ReasonGen.Imaging;

namespace ReasonGen.Tests.World;

/// <summary>
/// What a lossy image tokenizer does, roughly: a slight 3x3 blur (1 2 1, half mixed with the original), then Gaussian
/// noise.
/// </summary>
internal static class Spoil
{
    internal static RgbImage Apply(RgbImage image, double sigma, bool blur, Random random)
    {
        var rgb = new byte[image.Rgb.Length];
        for (var y = 0; y < image.Height; y++)
        {
            for (var x = 0; x < image.Width; x++)
            {
                for (var c = 0; c < 3; c++)
                {
                    double value = At(x, y, c);
                    if (blur)
                    {
                        var sum = 0.0;
                        for (var k = 0; k < 9; k++)
                        {
                            int dx = k % 3 - 1, dy = k / 3 - 1;
                            sum += At(x + dx, y + dy, c) * (2 - Math.Abs(dx)) * (2 - Math.Abs(dy)) / 16.0;
                        }

                        value = (value + sum) / 2;
                    }

                    var noise =
                        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
                    rgb[(y * image.Width + x) * 3 + c] = (byte)Math.Clamp(Math.Round(value + sigma * noise), 0, 255);
                }
            }
        }

        return image with { Rgb = rgb };

        byte At(int x, int y, int c) =>
            image.Rgb[(Math.Clamp(y, 0, image.Height - 1) * image.Width + Math.Clamp(x, 0, image.Width - 1)) * 3 + c];
    }
}
