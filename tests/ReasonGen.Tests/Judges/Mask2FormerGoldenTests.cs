using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Core;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class Mask2FormerGoldenTests
{
    [Fact]
    public void Names_and_shapes_of_the_published_size_equal_mmdetection()
    {
        var json = Golden.Json("mask2former/names_mmdet");
        var ours = Mask2FormerNames.Shapes(Mask2FormerConfig.Published).ToDictionary(pair => pair.Name, pair =>
            pair.Shape);
        Assert.Equal((long)json["parameters"]!, ours.Values.Sum(shape => shape.Aggregate(1L, (product, size) =>
            product * size)));
        var theirs = ((JObject)json["tensors"]!).Properties()
            .Where(tensor => !tensor.Name.EndsWith("relative_position_index"))
            .ToDictionary(tensor => tensor.Name, tensor => tensor.Value[1]!.ToObject<long[]>()!);
        Assert.Equal(theirs.Keys.Order(), ours.Keys.Order());
        Assert.All(theirs, pair => Assert.Equal(pair.Value, ours[pair.Key]));
        Assert.Equal(Mask2FormerConfig.Published.Describe(), Mask2FormerConfig.OfShapes(theirs).Describe());
    }

    [Fact]
    public void Names_of_the_published_size_equal_the_transformers_library()
    {
        var theirs = ((JObject)Golden.Json("mask2former/names_hf")["tensors"]!).Properties()
            .ToDictionary(tensor => tensor.Name, tensor => string.Join(", ", tensor.Value[1]!));
        using var scope = NewDisposeScope();
        var ours = Mask2FormerNames.Shapes(Mask2FormerConfig.Published)
            .SelectMany(pair => Mask2FormerNames.HuggingFace(pair.Name, empty(pair.Shape, device: META)))
                .ToDictionary(pair => pair.Name, pair => string.Join(", ", pair.Part.shape));
        Assert.Equal(theirs.Keys.Where(name => !name.EndsWith("relative_position_index")
            && name != "criterion.empty_weight").Order(), ours.Keys.Order());
        Assert.All(ours, pair => Assert.Equal(theirs[pair.Key], pair.Value));
    }

    [Fact]
    public void Names_equal_mmdetection_3()
    {
        var rules = Golden.Json("mask2former/mmdet3")["renaming"]!.Select(rule =>
            ((string)rule["pattern"]!, ((string)rule["replacement"]!).Replace(@"\1", "$1"))).ToArray();
        Assert.All(Mask2FormerNames.Shapes(Mask2FormerConfig.Published), weight =>
        {
            var theirs = rules.Aggregate(weight.Name, (name, rule) => Regex.Replace(name, rule.Item1, rule.Item2));
            Assert.Equal(theirs, Mask2FormerNames.Mmdetection3(weight.Name));
            Assert.Equal(weight.Name, Mask2FormerNames.FromMmdetection3(theirs));
        });
    }

    [Fact]
    public void Every_step_equals_the_reference()
    {
        var t = Golden.Tensors("mask2former/trace");
        var (model, _) = Mask2FormerFiles.Load(Mask2FormerFixture.File, Mask2FormerFixture.Target,
            Mask2FormerFixture.Config);
        using var owned = model;
        var seen = new Dictionary<string, Tensor>();
        model.Trace = (name, value) => seen[name] = value.detach().clone().DetachFromDisposeScope();
        using var scope = NewDisposeScope();
        model.Forward(t["img"]);
        foreach (var (name, expected) in t.Where(pair =>
            pair.Key is not ("img" or "pixel.level_start_index" or "pixel.spatial_shapes")))
        {
            Assert.True(seen.ContainsKey(name), $"nothing tells of {name}");
            var actual = seen[name];
            if (name.EndsWith("blocked"))
            {
                Golden.Equal(expected[0], actual, name);
                continue;
            }

            // maps [1, C, h, w] of the reference lie channels last here; logits and tokens lie as there
            var isMap = expected.dim() == 4 && !name.EndsWith("logits") && !name.EndsWith("reference_points");
            Golden.Close(isMap ? expected[0].permute(1, 2, 0) : expected[0], isMap
                ? actual.view(expected.shape[2], expected.shape[3], -1) : actual,
                name.EndsWith("class_logits") ? 5e-4 : name.EndsWith("mask_logits") ? 1e-3 : 5e-5, name);
        }
    }

    [Fact]
    public void The_network_of_published_size_equals_the_reference()
    {
        var (t, json) = (Golden.Tensors("mask2former/large"), Golden.Json("mask2former/large"));
        using var model = new Mask2FormerModel(Mask2FormerConfig.Published, Mask2FormerFixture.Target);
        using var scope = NewDisposeScope();
        using var free = no_grad();
        foreach (var (name, weight) in model.Tensors)
        {
            using var values = Mask2FormerFixture.ByRule(name, weight.shape);
            weight.copy_(values);
        }

        foreach (var (name, expected) in (JObject)json["weights"]!)
        {
            Assert.Equal(expected!["first"]!.Select(value => (float)value),
                model.Tensors[name].flatten().narrow(0, 0, 4)
                .Values<float>());
        }

        var pixels = json["pixels"]!;
        var image = Mask2FormerFixture.Unit((string)pixels["name"]!, pixels["shape"]!.ToObject<long[]>()!,
            (double)pixels["factor"]!);
        var seen = new Dictionary<string, Tensor>();
        model.Trace = (name, value) => seen[name] = value.detach().clone().DetachFromDisposeScope();
        var (classes, masks) = model.Forward(image);
        Golden.Close(t["class_logits"][0], classes, 1e-4, "class logits");
        Golden.Close(t["mask_logits"][0], masks.index_select(0, t["queries"]), 1e-3, "mask logits");
        foreach (var (name, expected) in t.Where(pair => pair.Key.EndsWith("_mean")).Some())
        {
            var map = seen[name[..^5]];
            Golden.Close(expected[0], map.view(-1, map.shape[^1]).mean([0L], type: ScalarType.Float64)
                .to(ScalarType.Float32), 5e-5, name);
        }

        foreach (var (name, expected) in t.Where(pair => pair.Key.EndsWith(".rows")).Some())
        {
            Golden.Close(expected[0], seen[name[..^5]].index_select(0, t["queries"]), 5e-5, name);
        }
    }
}
