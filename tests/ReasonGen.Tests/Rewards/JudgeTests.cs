using System.Security.Cryptography;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judging;
using ReasonGen.Qwen;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Rewards;

[Trait("Category", "Golden")]
public sealed class JudgeTests
{
    [Fact]
    public void Verdicts_equal_the_reference()
    {
        foreach (var c in Golden.Json("reward/boxed")["cases"]!)
        {
            var answer = (string)c["answer"]!;
            Assert.Equal((string)c["content"]!, BoxedAnswer.Parse(answer));
            Assert.Equal((float)c["reward"]!, BoxedAnswer.Score(answer));
        }
    }

    [Theory]
    [InlineData("an <image> of a cat", "<image>")]
    [InlineData("a sign that says <|image_pad|>", "<|image_pad|>")]
    [InlineData("<|vision_start|> a cat", "<|vision_start|>")]
    [InlineData("an image of a cat", null)]
    public void What_would_be_taken_for_an_image_is_found_in_a_prompt(string prompt, string? mark)
    {
        Assert.Equal(mark, JudgePrompt.Paper.MarkIn(prompt));
        Assert.Equal(mark is null, Record.Exception(() => JudgePrompt.Paper.Fill(prompt)) is null);
    }

    [Fact]
    public void The_question_equals_the_reference_byte_for_byte()
    {
        var json = Golden.Json("reward/judge_prompt");
        var judge = JudgePrompt.Paper;
        Assert.Equal(((string)json["template_after_hydra"]!).Replace("{{", "{").Replace("}}", "}"), judge.Template);
        foreach (var row in json["rows"]!)
        {
            var prompt = (string)row["raw_prompt"]!;
            if (row["error"] is not null)
            {
                Assert.Contains(prompt, Assert.Throws<ArgumentException>(() => judge.Fill(prompt)).Message);
                continue;
            }

            Assert.Equal((string)row["user_text"]!, judge.Turn(prompt));
            Assert.Equal((string)row["text_sent_to_engine"]!, judge.TurnWithImage(prompt));
            foreach (var expanded in ((JObject)row).Properties()
                .Where(p => p.Name.StartsWith("text_with_expanded_image_tokens_grid_")))
            {
                var grid = expanded.Name.Split('_')[^3..].Select(int.Parse).ToArray();
                Assert.Equal((string)expanded.Value!, judge.TurnWithImage(prompt, grid[0] * grid[1] * grid[2] / 4));
            }

            Assert.Equal(
                $"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
                + $"{row["text_sent_to_engine"]}<|im_end|>\n<|im_start|>assistant\n",
                judge.Fill(prompt));
        }

        Assert.Equal((int)json["sampling"]!["max_tokens"]!, JudgeConfig.Paper.MaxTokens);
    }

    [Fact]
    public void The_image_that_is_sent_equals_the_reference()
    {
        var json = Golden.Json("reward/judge_image");
        var t = Golden.Tensors("reward/judge_image");
        foreach (var (name, c) in json)
        {
            if (c is JObject)
            {
                var input = t[name + ".input"];
                var image = new JudgeImage((int)c["min_pixels"]!, (int?)c["max_pixels"] ?? new JudgeImage().MaxPixels);
                var sent = image.Prepare(new RgbImage((int)input.shape[1], (int)input.shape[0],
                    input.to(ScalarType.Byte).Values<byte>()));
                var output = t[name + ".output"];
                Assert.Equal(((int)output.shape[1], (int)output.shape[0]), (sent.Width, sent.Height));
                Assert.Equal(output.to(ScalarType.Byte).Values<byte>(), sent.Rgb);
            }
        }

        const string formula = "default_"; // and its side
        var key = json.Properties().Single(p => p.Name.StartsWith(formula)).Name;
        var made = new JudgeImage().Prepare(ByFormula(int.Parse(key[formula.Length..])));
        var pixels = tensor(made.Rgb, [made.Height, made.Width, 3]).to(ScalarType.Int64).Here();
        Golden.Equal(t[key + ".row_sums"], pixels.sum([1L]), "sums of rows");
        Golden.Equal(t[key + ".col_sums"], pixels.sum([0L]), "sums of columns");
        var corner = t[key + ".corner"];
        Golden.Equal(corner, pixels.narrow(0, 0, corner.shape[0]).narrow(1, 0, corner.shape[1]), "corner");

        foreach (var c in json["sizes_default_bounds"]!)
        {
            int width = (int)c["in_wh"]![0]!, height = (int)c["in_wh"]![1]!;
            var last = new JudgeImage().Sizes(width, height).Append((width, height)).ToArray();
            var (w, h) = last.Length > 1 ? last[^2] : last[0];
            Assert.Equal(((int)c["out_wh"]![0]!, (int)c["out_wh"]![1]!), (w, h));
        }
    }

    // the formula of judge_image.json
    private static RgbImage ByFormula(int side)
    {
        var rgb = new byte[side * side * 3];
        for (var at = 0; at < side * side; at++)
        {
            var (i, j) = (at / side, at % side);
            (rgb[3 * at], rgb[3 * at + 1], rgb[3 * at + 2]) =
                ((byte)(3 * i + j), (byte)(i * j / 97), (byte)(255 - (i + 2 * j) % 256));
        }

        return new(side, side, rgb);
    }

    [Fact]
    public void Large_images_are_sent_like_the_reference()
    {
        foreach (var c in Golden.List("resize/judge_image"))
        {
            int width = (int)c["formula"]!["width"]!, height = (int)c["formula"]!["height"]!,
                k = (int)c["formula"]!["k"]!;
            var rgb = new byte[width * height * 3];
            for (var at = 0; at < width * height; at++)
            {
                for (long x = at % width, y = at / width, channel = 0; channel < 3; channel++)
                {
                    rgb[at * 3 + channel] =
                        (byte)((x * x * (channel + 1) + y * y * 3 + x * y * (2 * channel + 1) + 17 * channel + k) >> 4);
                }
            }

            var sent = new JudgeImage().Prepare(new RgbImage(width, height, rgb));
            Assert.Equal(((int)c["width"]!, (int)c["height"]!), (sent.Width, sent.Height));
            Assert.Equal((string)c["sha256"]!, Convert.ToHexStringLower(SHA256.HashData(sent.Rgb)));
        }
    }

    [Fact]
    public void A_image_of_the_policy_gives_324_tokens()
    {
        var sent = JudgeConfig.Paper.Image.Prepare(new RgbImage(384, 384, new byte[384 * 384 * 3]));
        Assert.Equal((512, 512), (sent.Width, sent.Height));
        using var scope = NewDisposeScope();
        var (patches, grids) = JudgeConfig.Paper.Processor.Process([sent]);
        Assert.Equal(new ReasonGen.Qwen.PatchGrid(1, 36, 36), Assert.Single(grids));
        Assert.Equal([36 * 36, 1176], patches.shape);
    }
}
