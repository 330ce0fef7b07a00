using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.World;

public class DetectorTests
{
    [Theory]
    [InlineData(Texture.Plain)]
    [InlineData(Texture.Textured)]
    public void Detector_every_rendered_scene_satisfies_its_prompt_and_shows_its_plan(Texture look)
    {
        var config = new WorldConfig { Texture = look };
        foreach (var sample in new WorldStream(config, 1).Take(0, 3000))
        {
            var seen = Detector.Detect(sample.Image(config));
            Assert.True(Checker.Check(seen, sample.Prompt).Correct, sample.Prompt.Text);
            Assert.True(Rationales.Follows(seen, sample.Scene.Objects.Select(o => o.ToSeen()).ToArray()),
                sample.Rationale);
            Assert.All(sample.Scene.Objects,
                o => Assert.Single(seen, s => s.X == o.CenterX && s.Y == o.CenterY && s.Score == 1));
        }
    }

    [Theory]
    [InlineData(Texture.Plain)]
    [InlineData(Texture.Textured)]
    public void Detector_another_prompt_is_wrong_unless_the_scene_really_satisfies_it(Texture look)
    {
        var config = new WorldConfig { Texture = look };
        var samples = new WorldStream(config, 2).Take(0, 3000);
        var accepted = 0;
        for (var i = 0; i < samples.Length; i++)
        {
            var other = samples[(i + 1) % samples.Length].Prompt;
            var truly = Matches(samples[i].Scene, other);
            accepted += truly ? 1 : 0;
            Assert.Equal(truly, Detector.Check(samples[i].Image(config), other).Correct);
        }

        Assert.InRange(accepted, 1, 300);
    }

    [Theory]
    [InlineData(Texture.Plain, 10, false)]
    [InlineData(Texture.Plain, 0, true)]
    [InlineData(Texture.Plain, 10, true)]
    [InlineData(Texture.Textured, 10, false)]
    [InlineData(Texture.Textured, 12, false)]
    [InlineData(Texture.Textured, 0, true)]
    [InlineData(Texture.Textured, 10, true)]
    public void Detector_noise_and_slight_blur_leave_99_percent_right(Texture look, double sigma, bool blur)
    {
        var config = new WorldConfig { Texture = look };
        var random = new Random(3);
        var right = new WorldStream(config, 3).Take(0, 3000).Count(sample =>
            Detector.Check(Spoil.Apply(sample.Image(config), sigma, blur, random), sample.Prompt).Correct);
        TestContext.Current.TestOutputHelper?.WriteLine($"{look}, sigma {sigma}, blur {blur}: {right} of 3000");
        Assert.InRange(right, 2970, 3000);
    }

    [Fact]
    public void Detector_extra_shape_missing_shape_and_blob_are_wrong()
    {
        var config = new WorldConfig();
        var prompt = new Prompt("a photo of a red circle", "colors", [new("circle", 1, "red")]);
        RgbImage Draw(params SceneObject[] objects) => Renderer.Render(new Scene(objects), config, 5);
        Assert.True(Detector.Check(Draw(new SceneObject(0, 0, 3)), prompt).Correct);
        Assert.False(Detector.Check(Draw(), prompt).Correct);
        Assert.False(Detector.Check(Draw(new SceneObject(0, 1, 3)), prompt).Correct);
        Assert.False(Detector.Check(Draw(new SceneObject(0, 0, 3), new SceneObject(0, 0, 1)), prompt).Correct);
        Assert.False(Detector.Check(Draw(new SceneObject(0, 0, 3), new SceneObject(1, 2, 1)), prompt).Correct);

        var half = Draw(new SceneObject(0, 0, 3), new SceneObject(1, 2, 0));
        for (var x = 0; x < 8; x++)
        {
            half.Rgb.AsSpan(x * 3).Slice(0, 3).Clear();
            for (var y = 0; y < 16; y++)
            {
                half.Rgb.AsSpan((y * 32 + x) * 3, 3).Clear();
            }
        }

        Assert.Contains(Detector.Detect(half), seen => seen is { Class: "blob", Color: "blue" });
        Assert.False(Detector.Check(half, prompt).Correct);
    }

    [Fact]
    public void Detector_half_red_half_blue_shape_is_no_shape()
    {
        var red =
            Renderer.Render(new Scene([new SceneObject(1, 0, 0)]), new WorldConfig { Texture = Texture.Plain }, 0);
        var blue =
            Renderer.Render(new Scene([new SceneObject(1, 2, 0)]), new WorldConfig { Texture = Texture.Plain }, 0);
        blue.Rgb.AsSpan(0, 8 * 32 * 3).CopyTo(red.Rgb);
        Assert.Equal("blob", Assert.Single(Detector.Detect(red)).Class);
    }

    [Fact]
    public void Detector_image_of_another_size_names_both_sizes()
    {
        var error = Assert.Throws<ArgumentException>(() => Detector.Detect(new RgbImage(16, 8, new byte[16 * 8 * 3])));
        Assert.Contains("32x32", error.Message);
        Assert.Contains("16x8", error.Message);
    }

    [Fact]
    public void Renderer_outlines_stay_in_reach_and_apart_in_overlap()
    {
        var config = new WorldConfig { Texture = Texture.Plain };
        var outlines =
            Enumerable.Range(0, 5).Select(s => Renderer.Render(new Scene([new SceneObject(s, 5, 0)]), config, 0).Rgb)
            .Select(rgb => Enumerable.Range(0, 32 * 32).Where(i => rgb[3 * i] > 200)
                .Select(i => (x: i % 32 - 8, y: i / 32 - 8)).ToHashSet()).ToArray();
        Assert.All(outlines,
            outline => Assert.All(outline, p => Assert.InRange(Math.Max(Math.Abs(p.x), Math.Abs(p.y)), 0, 5)));
        for (var a = 0; a < 5; a++)
        {
            for (var b = 0; b < a; b++)
            {
                var both = outlines[a].Count(outlines[b].Contains);
                Assert.InRange(both / (double)(outlines[a].Count + outlines[b].Count - both), 0, 0.77);
            }
        }
    }

    // The answer from the scene alone, written apart from Checker.
    private static bool Matches(Scene scene, Prompt prompt)
    {
        var all = scene.Objects.Select(o =>
            (Class: WorldConfig.Shapes[o.Shape], Color: WorldConfig.Colors[o.Color], Column: o.Cell % 2, Row: o.Cell
                / 2)).ToArray();
        if (all.Length != prompt.Include.Sum(c => c.Count)
            || prompt.Include.Any(c =>
                all.Count(o => o.Class == c.Class && (c.Color ?? o.Color) == o.Color) != c.Count))
        {
            return false;
        }

        return prompt.Include.Where(c => c.Relation is not null).All(c =>
        {
            var (a, b) =
                (all.Single(o => o.Class == c.Class), all.Single(o => o.Class == prompt.Include[c.Target].Class));
            return c.Relation switch
            {
                "left of" => a.Column < b.Column,
                "right of" => a.Column > b.Column,
                "above" => a.Row < b.Row,
                _ => a.Row > b.Row,
            };
        });
    }
}
