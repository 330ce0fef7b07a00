using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judges.UniDet;
using ReasonGen.Scoring;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class UniDetGoldenTests
{
    public static TheoryData<string> Kinds => [.. UniDetFixture.Kinds];

    public static TheoryData<string, string> Images
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (var kind in UniDetFixture.Kinds)
            {
                foreach (var image in Golden.Json($"unidet/detections_{kind}")["pictures"]!)
                {
                    data.Add(kind, (string)image["file"]!);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Names_and_shapes_of_the_published_size_equal_detectron2(string kind)
    {
        var json = Golden.Json($"unidet/names_{kind}");
        var theirs = ((JObject)json["tensors"]!).Properties()
            .ToDictionary(tensor => tensor.Name, tensor => tensor.Value[1]!.ToObject<long[]>()!);
        var published = UniDetFixture.Config(kind, "published");
        Assert.True(published.IsPublished);
        var ours = UniDetNames.Shapes(published);
        Assert.Equal(theirs.Keys.Where(name => !UniDetNames.IsUnread(name)).Order(), ours.Keys.Order());
        Assert.All(ours, pair => Assert.Equal(theirs[pair.Key], pair.Value));
        Assert.Equal(published.Describe(), UniDetConfig.OfShapes(theirs)!.Describe());
        Assert.All(((JObject)json["may_also_be_in_a_file"]!).Properties(), extra =>
            Assert.True(UniDetNames.IsUnread(extra.Name)));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Every_step_equals_the_reference(string kind)
    {
        var t = Golden.Tensors($"unidet/trace_{kind}");
        using var model = UniDetFixture.Model(kind);
        using var scope = NewDisposeScope();
        var pixels = t["image"].flip(0).permute(1, 2, 0).to(ScalarType.Byte).Values<byte>();
        var image = new RgbImage((int)t["image"].shape[2], (int)t["image"].shape[1], pixels);
        var seen = new Dictionary<string, Tensor> { ["input"] = UniDetImage.Batch([image], model.Config) };
        model.Trace = (name, value) => seen[name] = value.detach().clone().DetachFromDisposeScope();
        var found = model.Detect([image])[0];
        seen["final.boxes"] = Box.ToTensor([.. found.Select(one => one.Box)]);
        seen["final.scores"] = tensor(found.Select(one => one.Score).ToArray());
        Assert.Equal(t["final.classes"].Values<long>(), found.Select(one => (long)one.Class));
        foreach (var (name, expected) in t.Where(pair => pair.Key is not ("image" or "columns" or "final.classes")))
        {
            Assert.True(seen.ContainsKey(name), $"nothing tells of {name}");
            var actual = seen[name];
            actual = name.StartsWith("head") ? actual.narrow(0, 0, expected.shape[0]) : actual;
            actual = actual.dim() == 2 && actual.shape[1] == model.Config.Classes + 1
                && expected.shape[1] != actual.shape[1]
                ? actual.index_select(1, t["columns"]) : actual;
            UniDetFixture.Near(expected, actual.numel() == expected.numel() ? actual.reshape(expected.shape) : actual,
                $"{kind} {name}");
        }
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Detections_of_files_equal_the_scripts(string kind, string file)
    {
        using var detector = UniDetFixture.Detector(kind);
        var row = Golden.Json($"unidet/detections_{kind}")["pictures"]!.Single(image => (string)image["file"]! == file);
        var image = UniDetFixture.Image($"images/{file}");
        var resized = UniDetImage.Resize(image);
        Assert.Equal(row["image_chw"]!.ToObject<int[]>()!, (int[])[3, resized.Height, resized.Width]);
        Assert.Equal(row["padded_hw"]!.ToObject<long[]>(), UniDetImage.Batch([resized], detector.Config).shape[2..]);
        UniDetFixture.Same(row["detections"]!, detector.Detect(image), $"{kind} {file}");
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Maps_and_stages_of_files_equal_the_reference(string kind, string file)
    {
        var (t, name) = (Golden.Tensors($"unidet/detections_{kind}"), Path.GetFileNameWithoutExtension(file));
        using var model = UniDetFixture.Model(kind);
        using var scope = NewDisposeScope();
        var seen = new Dictionary<string, Tensor>();
        model.Trace = (step, value) => seen[step] = value.detach().clone().DetachFromDisposeScope();
        model.Detect([UniDetImage.Resize(UniDetFixture.Image($"images/{file}"))]);
        Assert.Equal(t[name + ".levels0"].Values<long>(), Box.Of(seen["stage0.boxes_in"])
            .Select(box => CascadeHeads.LevelOf(box) + 3L));
        foreach (var (key, expected) in t.Where(pair => pair.Key.StartsWith(name + ".")
            && !pair.Key.EndsWith(".levels0")).Some())
        {
            var parts = key[(name.Length + 1)..].Split('.');
            var actual = seen[parts[0] is ['p', _] ? parts[0] : key[(name.Length + 1)..]];
            actual = parts is [_, "mean"] ? actual.to(ScalarType.Float64).mean([0L, 2L, 3L]).to(ScalarType.Float32)
                : parts is [_, "at"] ? actual[0, .., actual.shape[2] / 2, actual.shape[3] / 3]
                : parts is ["scores"] ? actual.index_select(1, t["columns"]) : actual;
            UniDetFixture.Near(expected, actual, $"{kind} {key}", parts[0] == "scores" ? 3e-4 : 1e-4);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_batch_of_several_sizes_equals_the_reference(string kind)
    {
        using var detector = UniDetFixture.Detector(kind);
        var rows = Golden.Json($"unidet/detections_{kind}")["pictures"]!;
        var found = detector.Detect([.. rows.Select(row => UniDetFixture.Image($"images/{(string)row["file"]!}"))]);
        Assert.All(rows.Paired(found), pair =>
            UniDetFixture.Same(pair.First["detections_in_one_batch_of_three"]!, pair.Second,
                $"{kind} {(string)pair.First["file"]!}"));
    }

    [Fact]
    public void Spatial_scores_equal_the_script() => Chain("RS200", "spatial", (row, prompt, found) =>
        T2iSpatial.Score2D(prompt, [.. row["nouns"]!.Select(noun => (string)noun!)], found));

    [Fact]
    public void Numeracy_scores_equal_the_script()
    {
        var objects = T2iCompBench.ReadObjects(UniDetFixture.Objects);
        Chain("R50", "numeracy", (_, prompt, found) => T2iCompBench.Numeracy(prompt, found, objects));
    }

    private static void Chain(string kind, string name, Func<JToken, string, IReadOnlyList<Detection>, double> score)
    {
        using var detector = UniDetFixture.Detector(kind);
        var json = Golden.Json($"unidet/chain_{name}");
        var answers = json["rows"]!.Select(row =>
        {
            var file = (string)row["file"]!;
            Assert.Equal((string)row["prompt"]!, T2iCompBench.PromptOf(file));
            Assert.Equal((int)row["question_id"]!, T2iCompBench.NumberOf(file));
            var found = detector.Detect(UniDetFixture.Image($"samples_{name}/{file}"));
            UniDetFixture.Same(row["detections"]!, found, file);
            var answer = score(row, (string)row["prompt"]!, found);
            Assert.Equal((double)row["answer"]!, answer, 3e-4);
            return answer;
        }).ToArray();
        var average = ((string)json["score_text"]!).Split("avg:")[^1].Trim();
        Assert.Equal(double.Parse(average, System.Globalization.CultureInfo.InvariantCulture), answers.Average(), 3e-4);
    }
}
