using ReasonGen.Imaging;
using ReasonGen.Judges.UniDet;
using ReasonGen.Scoring;
using ReasonGen.Tests.Host;
using ReasonGen.Tests.Judges;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>score t2i --judge official about positions, numbers and depth, with the small detectors of the
/// fixtures.</summary>
[Trait("Category", "Golden")]
public sealed class UniDetScoreTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData("spatial", "RS200", "samples_spatial", null)]
    [InlineData("numeracy", "R50", "samples_numeracy", null)]
    [InlineData("3d", "R50", "samples_numeracy", "a bird in front of a boat")]
    public async Task Scores_from_image_files_are_those_of_the_rules_on_the_detectors_boxes(string category,
        string kind, string samples,
        string? prompt)
    {
        var images = Directory.CreateDirectory(Path.Combine(folder, "samples")).FullName;
        var depths = Directory.CreateDirectory(Path.Combine(folder, "depth")).FullName;
        foreach (var (i, path) in Directory.GetFiles(Golden.Path("unidet/" + samples)).Order().Index())
        {
            var name = prompt is null ? Path.GetFileName(path) : $"{prompt}_{i:000000}.png";
            File.Copy(path, Path.Combine(images, name));
            File.WriteAllBytes(Path.Combine(depths, name), Png.Encode(UniDetImage.Read(path)));
        }

        var (code, output) = await ScoreAsync(category, kind, ["--any-model", .. Objects(category),
            .. category == "3d" ? new[] { "--depth", depths } : []]);
        Assert.True(code == 0, output);
        Assert.Contains($"UniDet {kind} of other sizes: not T2I-CompBench's official detector", output);
        Assert.Contains("not comparable with published T2I-CompBench scores", output);
        using var detector = UniDetDetector.Load(UniDetFixture.File(kind), UniDetFixture.Labels, UniDetFixture.Target,
            anyModel: true);
        var scores = ScoreReport.Read(Path.Combine(folder, "samples-scores", "t2i-" + category)).Images;
        Assert.Equal(Directory.GetFiles(images).Length, scores.Count);
        Assert.All(scores, score =>
        {
            var found = detector.Detect(UniDetImage.Read(Path.Combine(images, score.Image)));
            var nouns = PromptNouns.Rule.Of(score.Prompt).Nouns;
            Assert.Equal(category switch
            {
                "spatial" => T2iSpatial.Score2D(score.Prompt, nouns, found),
                "numeracy" => T2iCompBench.Numeracy(score.Prompt, found,
                    T2iCompBench.ReadObjects(UniDetFixture.Objects)),
                _ => T2iSpatial.Score3D(score.Prompt, nouns, found, Depth(Path.Combine(depths, score.Image))),
            }, score.Score!.Value, 1e-4);
        });
    }

    [Theory]
    [InlineData("spatial", "RS200", "", "it is the label file of another detector")]
    [InlineData("numeracy", "../mask2former/mmdet", "--any-model", "it is a detector of mmdetection")]
    [InlineData("spatial", "nowhere", "--any-model", "nowhere")]
    public async Task Weights_of_another_model_are_refused_before_an_image_is_read(string category, string kind,
        string option, string message)
    {
        Directory.CreateDirectory(Path.Combine(folder, "samples"));
        File.Copy(Directory.GetFiles(Golden.Path("unidet/samples_spatial"))[0],
            Path.Combine(folder, "samples", "a dog_000000.png"));
        var (code, output) = await ScoreAsync(category, kind,
            [.. Objects(category), .. option.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
        Assert.True(code == 2, output);
        Assert.Contains(message, output);
        Assert.DoesNotContain("   at ", output);
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    private string[] Objects(string category)
    {
        var objects = Path.Combine(folder, "objects.txt");
        File.WriteAllLines(objects, UniDetFixture.Objects);
        return category == "numeracy" ? ["--objects", objects] : [];
    }

    private static DepthMap Depth(string path)
    {
        var resized = UniDetImage.Resize(UniDetImage.Read(path));
        return new(resized.Height, resized.Width, [.. resized.Rgb.Chunk(3).Select(pixel => pixel[0] / 255f)]);
    }

    private Task<(int Code, string Output)> ScoreAsync(string category, string kind, params string[] more) =>
        Reasongen.RunAsync(
    [
        "score", "t2i", Path.Combine(folder, "samples"), "--category", category, "--judge", "official", "--device",
            "cpu", "--unidet",
        UniDetFixture.File(kind), "--unidet-labels", UniDetFixture.LabelFile(Path.Combine(folder, "labels.pt"),
            UniDetFixture.Labels.Names), .. more,
    ]);
}
