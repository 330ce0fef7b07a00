using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Judges.UniDet;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class UniDetFilesTests : IDisposable
{
    private readonly string room = Directory.CreateTempSubdirectory("unidet-").FullName;

    public static TheoryData<string> Kinds => [.. UniDetFixture.Kinds];

    public static TheoryData<string> Cases =>
        [.. Golden.Json("unidet/checkpoints/rules")["cases"]!.Select(one => (string)one["name"]!)];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Files_are_read_by_detectron2s_rules_and_what_it_would_make_up_is_refused(string name)
    {
        var rule = Golden.Json("unidet/checkpoints/rules")["cases"]!.Single(one => (string)one["name"]! == name);
        var (t, path) = (Golden.Tensors("unidet/checkpoints/expected"),
            Golden.Existing($"unidet/checkpoints/{name}.pth"));
        var plain = t.Where(pair => pair.Key.StartsWith("plain/") && !UniDetNames.IsUnread(pair.Key))
            .ToDictionary(pair => pair.Key["plain/".Length..], pair => pair.Value);
        var shapes = plain.ToDictionary(pair => pair.Key, pair => pair.Value.shape);
        if (rule["error"] is not null || rule["missing"]!.Any() || rule["incorrect_shapes"]!.Any())
        {
            var message = Assert.Throws<UnusableFileException>(() => Match()).Message;
            Assert.All(rule["missing"] ?? new JArray(), missing => Assert.Contains((string)missing!, message));
            return;
        }

        var targets = plain.ToDictionary(pair => pair.Key, pair => zeros_like(pair.Value));
        UniDetFiles.Fill(CheckpointFiles.Open(path).Unwrapped(), Match(), targets);
        Assert.All(targets, target => Golden.Equal(t[$"{name}/{target.Key}"], target.Value, target.Key));

        IReadOnlyDictionary<string, string> Match() => UniDetNames.Match(CheckpointFiles.Open(path).Unwrapped(),
            shapes);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_detector_of_other_sizes_is_refused_with_both_sizes(string kind)
    {
        var message = Refused(UniDetFixture.File(kind));
        Assert.Contains(UniDetFixture.Config(kind).Describe(), message);
        Assert.Contains(UniDetFixture.Config(kind, "published").Describe(), message);
        Assert.Contains("not T2I-CompBench's official",
            UniDetFiles.Describe(CheckpointFiles.Open(UniDetFixture.File(kind))));
    }

    [Theory]
    [InlineData("roi_heads.box_predictor.cls_score.weight", "one stage")]
    [InlineData("roi_heads.mask_head.mask_fcn1.weight", "Mask R-CNN")]
    [InlineData("roi_heads.box_predictor.0.cls_score.0.weight", "partitioned")]
    [InlineData("roi_heads.box_predictor.0.cls_score.weight", "a cascade of detectron2")]
    [InlineData("panoptic_head.cls_embed.weight", "mmdetection")]
    [InlineData("language_model.lm_head.weight", "no UniDet")]
    public void A_checkpoint_of_another_model_is_refused_with_what_it_is(string name, string what)
    {
        var path = Save(new() { [name] = zeros(2, 2) });
        var message = Refused(path);
        Assert.Contains(what, message);
        Assert.Contains(name, message);
        Assert.Contains("Expected was T2I-CompBench's detector", message);
        Assert.Null(UniDetFiles.Describe(CheckpointFiles.Open(path)));
    }

    [Theory]
    [InlineData("running_mean")]
    [InlineData("running_var")]
    public void Missing_statistics_of_a_norm_are_refused_with_what_detectron2_would_take(string statistics)
    {
        var lost = "backbone.bottom_up.res2.0.conv1.norm." + statistics;
        var tensors = CheckpointFiles.Open(UniDetFixture.File("R50")).Load();
        tensors.Remove(lost);
        var path = Save(tensors);
        var message = Refused(path, UniDetFixture.Config("R50"));
        Assert.Contains(lost, message);
        Assert.Contains("without a word", message);
        Assert.Contains(lost, UniDetFiles.Describe(CheckpointFiles.Open(path)));
    }

    [Fact]
    public void Tensors_that_are_not_read_are_named_by_inspect()
    {
        var tensors = CheckpointFiles.Open(UniDetFixture.File("R50")).Load();
        tensors["teacher.weight"] = zeros(2);
        Assert.Contains("1 tensors are not read, such as 'teacher.weight'",
            UniDetFiles.Describe(CheckpointFiles.Open(Save(tensors))));
    }

    [Fact]
    public void Labels_of_another_detector_are_refused()
    {
        Assert.Contains("it is the label file of another detector", RefusedLabels(["cat", "dog"]));
        Assert.Contains("it is the label file of another detector",
            RefusedLabels([.. Enumerable.Range(0, 722).Select(i => $"class {i}")]));
    }

    [Fact]
    public void A_file_that_holds_no_labels_is_refused()
    {
        Assert.Contains("no list of names", Assert.Throws<UnusableFileException>(() =>
            UniDetLabels.Read(UniDetFixture.File("R50"))).Message);
        var path = Path.Combine(room, "learned_mAP+M.json");
        File.WriteAllText(path, "{\"categories\": []}");
        Assert.Throws<UnusableFileException>(() => UniDetLabels.Read(path));
        Assert.Throws<UnusableFileException>(() => UniDetLabels.Read(Path.Combine(room, "nowhere.pt")));
    }

    [Fact]
    public void Another_number_of_names_than_classes_is_refused() =>
        Assert.Contains("722 classes", Assert.Throws<UnusableFileException>(() =>
        UniDetDetector.Load(UniDetFixture.File("R50"), new(["cat"]), UniDetFixture.Target, UniDetFixture.Config("R50")))
            .Message);

    [Fact]
    public void Only_published_sizes_and_labels_together_are_official()
    {
        using var detector = UniDetFixture.Detector("R50");
        Assert.False(detector.IsOfficial);
        Assert.Contains("not T2I-CompBench's official", detector.Label);
        Assert.Contains("other names", detector.Label);
        Assert.True(UniDetConfig.R50.IsPublished && UniDetConfig.RS200.IsPublished);
        Assert.False((UniDetConfig.R50 with { Proposals = 300 }).IsPublished);
    }

    public void Dispose() => Directory.Delete(room, recursive: true);

    private static string Refused(string path, UniDetConfig? expected = null) =>
        Assert.Throws<UnusableFileException>(() => UniDetFiles.Load(path, UniDetFixture.Target, expected)).Message;

    private string Save(Dictionary<string, Tensor> tensors)
    {
        var path = Path.Combine(room, "made.safetensors");
        Safetensors.Save(path, tensors);
        return path;
    }

    private string RefusedLabels(string[] labels) => Assert.Throws<UnusableFileException>(() =>
        UniDetLabels.Read(UniDetFixture.LabelFile(Path.Combine(room, $"labels{labels.Length}.pt"), labels))).Message;
}
