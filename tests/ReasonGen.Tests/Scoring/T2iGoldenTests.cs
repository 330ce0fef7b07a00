using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Scoring;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>T2I-CompBench's rules against the official scripts.</summary>
[Trait("Category", "Golden")]
public sealed class T2iGoldenTests
{
    private const double Tolerance = 1e-6;

    [Fact]
    public void Positions_in_the_plane_are_the_official_ones()
    {
        var file = Golden.Json("t2icompbench/spatial_2d");
        Assert.All(file["position"]!, c => Assert.All(((JObject)c["scores"]!).Properties().Some(), pair =>
            Assert.Equal((double)pair.Value,
            T2iSpatial.Position(pair.Name == "None" ? null : pair.Name, GenEvalGoldenTests.Box(c["box1"]!),
                GenEvalGoldenTests.Box(c["box2"]!)), Tolerance)));
        var scores = file["images"]!.Select(c =>
        {
            var score = T2iSpatial.Score2D(T2iCompBench.PromptOf((string)c["file"]!), Nouns(c), Boxes(c));
            Assert.Equal((double)c["score"]!, score, Tolerance);
            return score;
        }).ToArray();
        Assert.Equal(Last((string)file["average_line"]!), scores.Average(), Tolerance);
    }

    [Fact]
    public void Positions_in_depth_are_the_official_ones()
    {
        var (file, tensor) = (Golden.Json("t2icompbench/spatial_3d"),
            Golden.Tensors("t2icompbench/spatial_3d")["depth"]);
        var depth = new DepthMap((int)tensor.shape[0], (int)tensor.shape[1], tensor.Values<float>());
        Assert.All(file["position"]!, c => Assert.All(((JObject)c["scores"]!).Properties().Some(), pair =>
            Assert.Equal((double)pair.Value, T2iSpatial.Position(pair.Name, GenEvalGoldenTests.Box(c["box1"]!),
                GenEvalGoldenTests.Box(c["box2"]!), depth), Tolerance)));
        var scores = file["images"]!.Select(c =>
        {
            var score = T2iSpatial.Score3D(T2iCompBench.PromptOf((string)c["file"]!), Nouns(c), Boxes(c), depth);
            Assert.Equal((double)c["score"]!, score, Tolerance);
            return score;
        }).ToArray();
        Assert.Equal(Last((string)file["average_line"]!), scores.Average(), Tolerance);
    }

    [Fact]
    public void Numbers_are_the_official_ones()
    {
        var file = Golden.Json("t2icompbench/numeracy");
        var objects = file["objects"]!.Select(pair => ((string)pair[0]!, (string)pair[1]!)).ToArray();
        Assert.All(file["duplicates"]!, c => Assert.Equal((int)c["duplicate"]! == 1,
            T2iCompBench.Duplicate(GenEvalGoldenTests.Box(c["a"]!), GenEvalGoldenTests.Box(c["b"]!))));
        var scores = file["images"]!.Select(c =>
        {
            var score = T2iCompBench.Numeracy(T2iCompBench.PromptOf((string)c["file"]!), Boxes(c), objects);
            Assert.Equal((double)c["score"]!, score, Tolerance);
            return score;
        }).ToArray();
        Assert.Equal(Last((string)file["score_line"]!), scores.Average(), Tolerance);
    }

    // words as spaCy cuts them; the list of objects is that of the benchmark
    [Theory]
    [InlineData("three couches, two keys, two women, four rabbits and one bowl", "rabbit 4, bowl 1", 0.4)]
    [InlineData("one frog, one sofa and one bee", "bee 1", 1.0 / 3)]
    [InlineData("two dogs.", "dog 2", 1.0)]
    [InlineData("(one frog) and \"two dogs\"!", "frog 1, dog 1", 0.75)]
    [InlineData("two dogs-and one frog's bee", "dog 2, frog 1", 1.0)]
    [InlineData("two dogs,one frog", "dog 2", 0.5)]
    [InlineData("a traffic light, two dogs", "traffic light 1, dog 2", 1.0)]
    public void What_stands_before_a_mark_is_counted(string prompt, string found, double expected)
    {
        string[] names = ["couch couches", "key keys", "woman women", "rabbit rabbits", "bowl bowls", "frog frogs",
            "sofa sofas", "bee bees", "dog dogs"];
        (string, string)[] objects = [.. names.Select(name => (name.Split(' ')[0], name.Split(' ')[1])),
            ("traffic light", "traffic lights")];
        var boxes = found.Split(", ").SelectMany(one => Enumerable.Range(0, one[^1] - '0').Select(i =>
            new Detection(one[..^2], 40 * i, 0, 40 * i + 20, 20, 0.9f)));
        Assert.Equal(expected, T2iCompBench.Numeracy(prompt, [.. boxes], objects), Tolerance);
    }

    [Theory]
    [InlineData("a T-shirt, two dogs' toys", "a|T|-|shirt|,|two|dogs|'|toys")]
    [InlineData("one cat's toy...", "one|cat|'s|toy|...")]
    [InlineData("(two  3.5 and/or 10-12)", "(|two||3.5|and|/|or|10|-|12|)")]
    [InlineData("--", "--")]
    public void Words_are_those_of_spaCy(string text, string words) =>
        Assert.Equal(words, string.Join('|', SpacyWords.Of(text)));

    [Fact]
    public void A_painting_counts_as_the_class_picture() => Assert.Equal(1, T2iCompBench.Numeracy("two paintings",
        [new("picture", 0, 0, 9, 9, 0.9f), new("picture", 90, 0, 99, 9, 0.8f)], [("painting", "paintings")]));

    [Fact]
    public void Attributes_are_the_official_ones()
    {
        var file = Golden.Json("t2icompbench/blip_vqa");
        var count = (int)file["np_num"]!;
        var scores = file["images"]!.Select(c =>
        {
            var questions = T2iCompBench.Questions([.. c["noun_chunks"]!.Select(chunk => (string)chunk!)], count);
            Assert.Equal(c["questions"]!.Select(q => (string)q!).Where(q => q.Length > 0), questions);
            var answer = T2iCompBench.AttributeScore(c["p_yes"]!.Take(questions.Count).Select(p => (double)p));
            Assert.Equal((string)c["answer"]!, answer);
            return double.Parse(answer, System.Globalization.CultureInfo.InvariantCulture);
        }).ToArray();
        Assert.Equal(Last((string)file["score_line"]!), scores.Average(), Tolerance);
    }

    [Fact]
    public void Complex_prompts_are_the_official_ones()
    {
        var file = Golden.Json("t2icompbench/three_in_one");
        string[] List(string name) => file["files"]![name]!.Select(line => (string)line!).ToArray();
        var prompts = List("complex_val.txt");
        var scores = file["scores"]!.Select((expected, i) =>
        {
            var score = T2iCompBench.ThreeInOne(prompts[i / (int)file["images_per_prompt"]!],
                List("complex_val_spatial.txt"), List("complex_val_action.txt"),
                (double)file["blip"]![i]!, (double)file["spatial"]![i]!, (double)file["clip"]![i]!);
            Assert.Equal((double)expected, score, Tolerance);
            return score;
        }).ToArray();
        Assert.Equal(Last((string)file["score_line"]!), scores.Average(), Tolerance);
    }

    private static string[] Nouns(JToken c) => c["nouns"]!.Select(noun => (string)noun!).ToArray();

    private static Detection[] Boxes(JToken c) => c["detections"]!.Select(d =>
        GenEvalGoldenTests.Box(d["box"]!, (string)d["label"]!, (float)d["score"]!)).ToArray();

    private static double Last(string line) => double.Parse(line.Split(' ', ':')[^1],
        System.Globalization.CultureInfo.InvariantCulture);
}
