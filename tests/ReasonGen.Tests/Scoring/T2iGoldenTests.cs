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
