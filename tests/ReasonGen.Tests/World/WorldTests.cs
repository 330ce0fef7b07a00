using ReasonGen.Rollouts;
using ReasonGen.Studies;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.World;

public class WorldTests
{
    private static readonly WordTokenizer Tokenizer = new(Rationales.Words);
    private static readonly WorldStream Stream = new(new WorldConfig(), 7);

    [Theory]
    [InlineData("single_object", @"^a photo of a \w+$")]
    [InlineData("two_object", @"^a photo of a \w+ and a \w+$")]
    [InlineData("counting", @"^a photo of (two|three|four) (circles|squares|triangles|diamonds|crosses)$")]
    [InlineData("colors", @"^a photo of a \w+ \w+$")]
    [InlineData("position", @"^a photo of a \w+ (left of|right of|above|below) a \w+$")]
    [InlineData("color_attr", @"^a photo of a \w+ \w+ and a \w+ \w+$")]
    public void Prompts_each_task_has_the_wording_of_geneval(string task, string wording)
    {
        Assert.Contains(task, Prompts.Tasks);
        for (var i = 0; i < 200; i++)
        {
            var prompt = Prompts.Draw(new Random(i), task);
            Assert.Equal(task, prompt.Task);
            Assert.Matches(wording, prompt.Text);
        }
    }

    [Fact]
    public void Prompts_unknown_task_is_named() =>
        Assert.Contains("'colour'",
            Assert.Throws<ArgumentException>(() => Prompts.Draw(new Random(0), "colour")).Message);

    public static TheoryData<Clause[]> Unsayable => new()
    {
        Array.Empty<Clause>(), new[] { new Clause("circle", 5) }, new[] { new Clause("circle", 0) },
        new[] { new Clause("circle", 2), new Clause("square", 1, null, "left of") },
        new[] { new Clause("circle"), new Clause("square", 1, null, "left of"), new Clause("cross", 1, null, "above") },
        new[] { new Clause("circle", 1, null, "left of", 1), new Clause("square") },
    };

    [Theory]
    [MemberData(nameof(Unsayable))]
    public void Prompts_what_has_no_words_is_refused(Clause[] include) =>
        Assert.All(Enum.GetValues<CaptionStyle>(), style => Assert.Contains("no words",
            Assert.Throws<ArgumentException>(() => Prompts.Word(include, style)).Message));

    [Theory]
    [InlineData("a scene : red cross top-left , blue cross top-right ;", true)]
    [InlineData("a scene : red cross top-left , blue cross bottom-left , red cross top-left ;", false)]
    public void A_plan_with_two_shapes_in_a_place_cannot_be_drawn(string rationale, bool drawable) =>
        Assert.Equal(drawable, Rationales.CanBeDrawn(Rationales.Parse(rationale)!));

    [Fact]
    public void The_detector_has_no_reward_for_a_prompt_that_does_not_say_what_it_asks_for()
    {
        var prompt = Prompts.Draw(new Random(1));
        var image = Renderer.Render(Scene.For(prompt, new Random(1)), new WorldConfig(), 1);
        Assert.Equal([1f, float.NaN],
            new DetectorReward().Score([new(prompt, "", image), new(prompt with { Include = [] }, "", image)]));
    }

    [Fact]
    public void Prompts_benchmark_is_the_same_for_a_seed_and_balanced()
    {
        var prompts = Prompts.Benchmark(20, 3);
        Assert.Equal(prompts.Select(p => p.Text), Prompts.Benchmark(20, 3).Select(p => p.Text));
        Assert.NotEqual(prompts.Select(p => p.Text), Prompts.Benchmark(20, 4).Select(p => p.Text));
        Assert.All(prompts.CountBy(p => p.Task), pair => Assert.Equal(20, pair.Value));
        Assert.Equal(120, prompts.Count);
    }

    [Fact]
    public void Texts_of_the_world_tokenise_and_come_back()
    {
        Assert.InRange(Tokenizer.VocabularySize, 80, 110);
        foreach (var sample in Stream.Take(0, 3000))
        {
            string[] texts = [sample.Prompt.Text, sample.Rationale,
                .. Enum.GetValues<CaptionStyle>().Select(sample.Caption)];
            Assert.All(texts, text => Assert.Equal(text, Tokenizer.Decode(Tokenizer.Encode(text))));
            Assert.InRange(Tokenizer.Encode(sample.Rationale).Length, 8, 34);
        }
    }

    [Fact]
    public void Captions_name_what_the_prompt_asks_for()
    {
        foreach (var sample in Stream.Take(0, 600))
        {
            var captions = Enum.GetValues<CaptionStyle>().Select(sample.Caption).ToArray();
            Assert.Equal(sample.Prompt.Text, captions[0]);
            Assert.Equal(3, captions.Distinct().Count());
            foreach (var clause in sample.Prompt.Include)
            {
                Assert.All(captions, caption => Assert.Contains(clause.Class, caption));
                Assert.All(captions, caption => Assert.Contains(clause.Color ?? "", caption));
                Assert.All(captions, caption => Assert.Contains(clause.Relation ?? "", caption));
            }
        }
    }

    [Fact]
    public void Rationale_parses_back_to_its_scene_and_satisfies_its_prompt()
    {
        foreach (var sample in Stream.Take(0, 3000))
        {
            var plan = Rationales.Parse(sample.Rationale);
            Assert.NotNull(plan);
            var drawn = sample.Scene.Objects.Select(o => o.ToSeen());
            Assert.Equal(drawn.Select(o => (o.Class, o.Color, o.Cell)), plan.Select(o => (o.Class, o.Color, o.Cell)));
            Assert.True(Rationales.Satisfies(sample.Rationale, sample.Prompt), sample.Rationale);
        }
    }

    [Fact]
    public void Rationale_wordings_vary_and_use_the_words_the_paper_counts()
    {
        var texts = Stream.Take(0, 2000).Select(sample => sample.Rationale).ToArray();
        Assert.InRange(texts.Select(text => text[..text.IndexOf(':')].Replace("shapes", "shape")).Distinct().Count(),
            5 * 4, 200);
        Assert.InRange(texts.Select(text => text[text.IndexOf(';')..]).Distinct().Count(), 5, 50);
        string[] counted = ["sense", "scene", "natural", "soft", "highlights", "mood", "sleek", "highlighting",
            "emphasizing"];
        Assert.All(counted, word => Assert.Contains(texts, text => text.Split(' ').Contains(word)));
    }

    [Theory]
    [InlineData("the scene shows one shape : red circle top-left ; calm mood .", true)]
    [InlineData("one shape: a red circle at top-left.", true)]
    [InlineData(": red circle top-left", true)]
    [InlineData("; : red circle top-left", true)]
    [InlineData("a red circle top-left", false)]
    [InlineData(": red circle ; mood", false)]
    [InlineData(": red red circle top-left ;", false)]
    [InlineData(": red circle top-left , ; mood", false)]
    [InlineData(": ;", false)]
    [InlineData("", false)]
    public void Rationale_parse_is_tolerant_but_not_credulous(string text, bool readable)
    {
        var plan = Rationales.Parse(text);
        Assert.Equal(readable, plan is not null);
        Assert.True(!readable || plan is [{ Class: "circle", Color: "red", Cell: 0 }]);
    }

    [Fact]
    public void Follows_matches_one_for_one()
    {
        Seen Thing(int shape, int cell) => new SceneObject(shape, 0, cell, 1, -1).ToSeen();
        Assert.True(Rationales.Follows([Thing(0, 0), Thing(1, 3)], [Thing(1, 3), Thing(0, 0)]));
        Assert.False(Rationales.Follows([Thing(0, 0), Thing(1, 3)], [Thing(0, 0), Thing(0, 0)]));
        Assert.False(Rationales.Follows([Thing(0, 0), Thing(1, 3)], [Thing(0, 0), Thing(1, 2)]));
        Assert.False(Rationales.Follows([Thing(0, 0)], [Thing(0, 0), Thing(1, 3)]));
    }

    [Fact]
    public void Checker_relations_follow_the_centres()
    {
        Seen At(string name, double x, double y) => new(name, "red", x, y);
        foreach (var (relation, x, y) in new[] { ("left of", -14, 0), ("right of", 14, 0), ("above", 0, -14),
            ("below", 0, 14) })
        {
            var prompt = new Prompt("", "position", [new("square"), new("circle", 1, null, relation)]);
            Assert.True(Checker.Check([At("circle", 16 + x, 16 + y), At("square", 16, 16)], prompt).Correct);
            Assert.False(Checker.Check([At("circle", 16 - x, 16 - y), At("square", 16, 16)], prompt).Correct);
            Assert.False(Checker.Check([At("circle", 16 + y, 16 + x), At("square", 16, 16)], prompt).Correct);
        }

        var dangling = new Prompt("", "", [new("circle", 1, null, "above", 1)]);
        Assert.Throws<ArgumentException>(() => Checker.Check([At("circle", 0, 0)], dangling));
    }

    [Fact]
    public void Scene_leaves_places_and_free_colours_uniform()
    {
        var scenes =
            Stream.Take(0, 6000).Select(sample => sample.Scene.Objects.Select(o => o.ToSeen()).ToArray()).ToArray();
        Assert.InRange(Scene.LayoutEntropy(scenes), Math.Log(4) - 0.001, Math.Log(4) + 1e-9);
        var total = (double)scenes.Sum(s => s.Length);
        Assert.All(scenes.SelectMany(s => s).CountBy(o => o.Color),
            pair => Assert.InRange(pair.Value / total, 0.15, 0.185));

        var prompt = new Prompt("", "position", [new("square"), new("circle", 1, null, "left of")]);
        var layouts = Enumerable.Range(0, 4000).Select(i => Scene.For(prompt, new Random(i)).Objects)
            .CountBy(o => (o[0].Cell, o[1].Cell)).ToArray();
        Assert.Equal(4, layouts.Length);
        Assert.All(layouts, pair => Assert.InRange(pair.Value, 880, 1120));
    }

    [Fact]
    public void LayoutEntropy_of_one_cell_one_row_and_nothing()
    {
        Seen In(int cell) => new SceneObject(0, 0, cell).ToSeen();
        Assert.Equal(0, Scene.LayoutEntropy([]));
        Assert.Equal(0, Scene.LayoutEntropy([[In(2)], [In(2)]]));
        Assert.Equal(Math.Log(2), Scene.LayoutEntropy([[In(0), In(1)]]), 9);
    }

    [Fact]
    public void Scene_impossible_prompt_is_refused()
    {
        Assert.Throws<ArgumentException>(() => Scene.For(new Prompt("", "", [new("hexagon")]), new Random(0)));
        Assert.Throws<ArgumentException>(() => Scene.For(new Prompt("", "", [new("circle", 5)]), new Random(0)));
        var impossible = new Prompt("", "", [new("circle", 3), new("square", 1, null, "above")]);
        Assert.Throws<ArgumentException>(() => Scene.For(impossible, new Random(0)));
    }

    [Fact]
    public void Stream_same_index_is_the_same_sample_whatever_was_drawn_before()
    {
        var config = new WorldConfig();
        var first = new WorldStream(config, 11)[42];
        var stream = new WorldStream(config, 11);
        _ = stream.Take(0, 10);
        var again = stream[42];
        Assert.Equal((first.Prompt.Text, first.Rationale, first.RenderSeed),
            (again.Prompt.Text, again.Rationale, again.RenderSeed));
        Assert.Equal(first.Scene.Objects, again.Scene.Objects);
        Assert.Equal(first.Image(config).Rgb, again.Image(config).Rgb);
        Assert.NotEqual(first.Image(config).Rgb, new WorldStream(config, 12)[42].Image(config).Rgb);
        Assert.All(Enumerable.Range(0, 50), i => Assert.Equal("counting", stream[i, "counting"].Prompt.Task));
    }

    [Fact]
    public void WorldConfig_undefined_texture_is_refused() =>
        Assert.Contains("Texture",
            Assert.Throws<ArgumentException>(() => new WorldConfig { Texture = (Texture)7 }.Validate()).Message);
}
