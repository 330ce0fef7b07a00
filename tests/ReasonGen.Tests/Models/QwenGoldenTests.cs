using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Qwen;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

[Trait("Category", "Golden")]
public sealed class QwenGoldenTests
{
    private static readonly string[] Cases = [.. Golden.Json("qwen25vl/cases").Properties().Select(p => p.Name)];

    public static TheoryData<string, QwenConfig> Published =>
        new() { { "state_dict_3b", QwenConfig.Qwen3B }, { "state_dict_7b", QwenConfig.Qwen7B } };

    [Theory]
    [MemberData(nameof(Published))]
    public void Names_and_shapes_equal_the_published_model(string file, QwenConfig config)
    {
        var json = Golden.Json("qwen25vl/" + file);
        using var model = new QwenVl(config, new ComputeTarget(META, ScalarType.BFloat16));
        Assert.Equal((bool)json["tie_word_embeddings"]!, config.TiedHead);
        // the same tensor as the embedding
        var expected =
            ((JObject)json["tensors"]!).Properties().Where(p => !config.TiedHead || p.Name != "lm_head.weight")
            .Select(p => $"{p.Name} [{string.Join(", ", p.Value.Select(size => (long)size))}]")
            .Order(StringComparer.Ordinal);
        Assert.Equal(expected,
            model.state_dict().Select(p => $"{p.Key} [{string.Join(", ", p.Value.shape)}]")
                .Order(StringComparer.Ordinal));
        var counts = json["parameters"]!;
        Assert.Equal((long)counts["total"]!, model.parameters().Sum(p => p.numel()));
        Assert.Equal((long)counts["visual"]!,
            model.Weights().Where(p => p.Name.StartsWith("visual.")).Sum(p => p.Parameter.numel()));
    }

    [Fact]
    public void Windows_equal_the_reference()
    {
        foreach (var c in Golden.List("qwen25vl/windows"))
        {
            var windows =
                QwenWindows.Of(Grids(c["grid_thw"]!), new QwenVisionConfig { WindowSize = (int)c["window_size"]! });
            Assert.Equal(c["window_index"]!.ToObject<int[]>(), windows.Order);
            Assert.Equal(c["cu_window_seqlens"]!.ToObject<int[]>(), windows.WindowEnds);
            Assert.Equal(c["cu_seqlens"]!.ToObject<int[]>(), windows.FrameEnds);
        }
    }

    [Fact]
    public void The_vision_tower_equals_the_reference_block_by_block()
    {
        using var model = QwenFixture.Untied();
        using var free = no_grad();
        using var scope = NewDisposeScope();
        Dictionary<string, Tensor> pixels = Golden.Tensors("qwen25vl/processor"), t = Golden.Tensors("qwen25vl/vision");
        foreach (var (name, segments) in Golden.Json("qwen25vl/vision_segments"))
        {
            var grids = Grids(segments!["grid_thw"]!);
            var windows = QwenWindows.Of(grids, model.Config.Vision);
            Assert.Equal(segments["window_index"]!.ToObject<int[]>(), windows.Order);
            for (var block = 0; segments["cu" + block] is { } ends; block++)
            {
                Assert.Equal(ends.ToObject<int[]>(),
                    model.Config.Vision.FullAttentionLayers.Contains(block) ? windows.FrameEnds : windows.WindowEnds);
            }

            var patches = cat(name.Select(image => pixels[$"{image}.pixel_values"]).ToArray());
            var seen = new HashSet<string>();
            var output = model.EmbedImages(patches, grids, (what, value) =>
            {
                seen.Add($"{name}.{what}");
                if (t.TryGetValue($"{name}.{what}", out var expected))
                {
                    Golden.Close(expected, value, what == "merger" ? 5e-5 : 1e-4, $"{name}.{what}");
                }
            });
            Golden.Close(t[$"{name}.output"], output, 5e-5, name);
            Assert.All(
                t.Keys.Where(key =>
                    key.StartsWith(name + ".") && key.Split('.')[1] is not ("output" or "angles" or "cos" or "sin")),
                    key => Assert.Contains(key, seen));
            if (t.TryGetValue($"{name}.angles", out var angles))
            {
                var vision = new QwenVision(model.Config.Vision, 8, model.Target);
                var own = vision.Angles(grids, CPU);
                Golden.Close(angles, own, 1e-6, "angles");
                var order = tensor(windows.Order.Select(i => (long)i).ToArray());
                var (cos, sin) = Rotary.CosSin(own.view(order.shape[0], -1, own.shape[1]).index_select(0, order)
                    .view(own.shape), ScalarType.Float32);
                var half = own.shape[1];
                Golden.Close(t[$"{name}.cos"], cos, 1e-6, "cos");
                Golden.Close(t[$"{name}.sin"], cat([sin.narrow(1, 0, half).neg(), sin.narrow(1, half, half)], 1), 1e-6,
                    "sin");
            }
        }
    }

    [Fact]
    public void Positions_equal_the_reference()
    {
        var json = Golden.Json("qwen25vl/rope_index");
        var config = QwenConfig.Qwen7B with
        {
            ImageToken = (int)json["ids"]!["image_token_id"]!,
            VisionStart = (int)json["ids"]!["vision_start_token_id"]!,
            Vision = new QwenVisionConfig { MergeSize = (int)json["spatial_merge_size"]! },
        };
        foreach (var (name, c) in (JObject)json["cases"]!)
        {
            Tensor Ids(JToken rows) =>
                tensor(rows.SelectMany(row => row.Select(id => (long)id)).ToArray(), [rows.Count(), rows[0]!.Count()]);
            var mask = c!["attention_mask"] is JArray { } given ? Ids(given) : null;
            var positions = QwenPositions.Of(Ids(c["input_ids"]!), mask,
                c["image_grid_thw"] is JArray { } grids ? Grids(grids) : [], config);
            Golden.Equal(stack(c["position_ids"]!.Select(Ids).ToArray()), positions.Ids, name);
            Golden.Equal(Ids(c["rope_deltas"]!), positions.Deltas, name);
        }
    }

    [Fact]
    public void Mrope_equals_the_reference_at_real_sizes()
    {
        var t = Golden.Tensors("qwen25vl/mrope");
        var positions = t["position_ids"];
        var headWidth = (int)t["cos"].shape[^1];
        int[] sections = [.. QwenConfig.Qwen7B.Language.RopeSections!];
        // far from 0 an angle is off by an ulp of the frequency times the position
        double Tolerance(Tensor at) => at.max().item<long>() > 1000 ? 1e-3 : 5e-6;
        Tensor Unsigned(Tensor sin) =>
            cat([sin.narrow(-1, 0, headWidth / 2).neg(), sin.narrow(-1, headWidth / 2, headWidth / 2)], -1);
        for (var axis = 0; axis < 3; axis++)
        {
            for (var token = 0; token < positions.shape[2]; token++)
            {
                var at = positions[axis].narrow(1, token, 1);
                var (cos, sin) = Rotary.CosSin(Rotary.Angles(at, headWidth, QwenConfig.Qwen7B.Language.RopeTheta, null),
                    ScalarType.Float32);
                Golden.Close(t["cos"][axis].narrow(1, token, 1), cos, Tolerance(at), "cos");
                Golden.Close(t["sin"][axis].narrow(1, token, 1), Unsigned(sin), Tolerance(at), "sin");
            }
        }

        var tolerance = Tolerance(positions);
        var (chosenCos, chosenSin) = Rotary.CosSin(Rotary.Angles(positions, headWidth,
            QwenConfig.Qwen7B.Language.RopeTheta, sections), ScalarType.Float32);
        Golden.Close(t["cos_selected"], chosenCos.narrow(-1, 0, headWidth / 2), tolerance, "selected cos");
        Golden.Close(t["sin_selected"], Unsigned(chosenSin).narrow(-1, 0, headWidth / 2), tolerance, "selected sin");
        foreach (var part in new[] { "q", "k" })
        {
            var largest = Math.Max(1, t[part].abs().max().ToDouble());
            Golden.Close(t[part + "_rotated"], Rotary.Turn(t[part], chosenCos.unsqueeze(1), chosenSin.unsqueeze(1)),
                2 * tolerance * largest, part);
        }
    }

    [Fact]
    public void Logits_equal_the_reference()
    {
        using var model = QwenFixture.Untied();
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var t = Golden.Tensors("qwen25vl/logits");
        foreach (var name in Cases)
        {
            var input = QwenFixture.Input(t, name);
            Golden.Equal(t[name + ".position_ids"],
                QwenPositions.Of(input.Ids, input.Mask, input.Grids, model.Config).Ids, name);
            var real = input.Mask.unsqueeze(-1);
            Golden.Close(t[name + ".logits"].mul(real), model.Logits(input).mul(real), 1e-4, name);
        }

        var one = QwenFixture.Input(t, "one");
        var embedded = model.Embed(one);
        Golden.Close(t["one.hidden0"], embedded, 1e-4, "embeddings");
        const string states = "one.hidden";
        var last = t.Keys.Where(key => key.StartsWith(states)).Max(key => int.Parse(key[states.Length..]));
        Golden.Close(t[states + last], model.Hidden(embedded, one.Mask, t["one.position_ids"]), 1e-4, states + last);
        var layers = model.named_modules().ToDictionary(part => part.name, part => part.module);
        var language = model.Config.Language;
        var (cos, sin) = Rotary.CosSin(Rotary.Angles(t["one.position_ids"], language.HeadWidth, language.RopeTheta,
            language.RopeSections), ScalarType.Float32);
        var pass = new PassContext(cos.unsqueeze(1), sin.unsqueeze(1), null, true, null); // one row has no pads
        for (var (i, x) = (1, embedded); i < last; i++)
        {
            x = ((LlamaLayer)layers[$"model.layers.{i - 1}"]).Forward(x, pass);
            Golden.Close(t[states + i], x, 1e-4, states + i);
        }

        using var tied = QwenFixture.Model("tied_sharded");
        Assert.True(tied.Config.TiedHead);
        Golden.Close(t["one.tied_logits"], tied.Logits(tied.Hidden(tied.Embed(one), one.Mask, t["one.position_ids"])),
            5e-4, "tied");
    }

    [Fact]
    public void Greedy_tokens_logits_and_cache_equal_the_reference()
    {
        using var model = QwenFixture.Untied();
        using var free = no_grad();
        using var scope = NewDisposeScope();
        Dictionary<string, Tensor> inputs = Golden.Tensors("qwen25vl/logits"),
            t = Golden.Tensors("qwen25vl/generation");
        foreach (var name in Cases)
        {
            var input = QwenFixture.Input(inputs, name);
            var (columns, steps) = ((int)input.Ids.shape[1], (int)t[name + ".step_logits"].shape[1]);
            using var cache = model.NewCache((int)input.Ids.shape[0], columns + steps);
            var logits = new List<Tensor>();
            var (tokens, probabilities) =
                model.Generate(input, steps, [], cache, step => logits.Add(step.clone().DetachFromDisposeScope()));
            Golden.Equal(t[name + ".sequences"], cat([input.Ids, tokens], 1), name);
            Golden.Equal(t[name + ".rope_deltas"],
                QwenPositions.Of(input.Ids, input.Mask, input.Grids, model.Config).Deltas, name);
            Golden.Close(t[name + ".step_logits"], stack(logits, 1), 1e-4, name);
            Golden.Close(t[name + ".step_logits"].softmax(-1).amax([-1L]), probabilities, 1e-4, name);
            for (var layer = 0; t.TryGetValue($"{name}.key{layer}", out var keys); layer++)
            {
                var (own, values) = cache.Layer(layer);
                Golden.Close(keys, own, 5e-5, $"{name} keys {layer}");
                Golden.Close(t[$"{name}.value{layer}"], values, 5e-5, $"{name} values {layer}");
            }
        }
    }

    private static PatchGrid[] Grids(JToken grids) =>
        grids.Select(grid => new PatchGrid((int)grid[0]!, (int)grid[1]!, (int)grid[2]!)).ToArray();
}
