using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

[Trait("Category", "Golden")]
public sealed class ModelGoldenTests
{
    public static TheoryData<string, JanusConfig> Published =>
        new() { { "names_1b", JanusConfig.Pro1B }, { "names_7b", JanusConfig.Pro7B } };

    [Theory]
    [MemberData(nameof(Published))]
    public void Names_and_shapes_equal_the_published_model(string file, JanusConfig config)
    {
        using var model = new Janus(config, new ComputeTarget(META, ScalarType.Float32));
        var expected = ((JObject)Golden.Json("janus/" + file)["tensors"]!).Properties()
            .Select(p => $"{p.Name} [{string.Join(", ", p.Value[1]!.Select(size => (long)size))}]")
            .Order(StringComparer.Ordinal);
        var actual = model.state_dict().Select(p => $"{p.Key} [{string.Join(", ", p.Value.shape)}]")
            .Order(StringComparer.Ordinal);
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void A_layer_of_published_width_equals_the_reference()
    {
        var json = Golden.Json("janus/wide_layer");
        var t = Golden.Tensors("janus/wide_layer");
        var config = new LlamaConfig
        {
            VocabularySize = (int)json["vocab_size"]!, Width = (int)json["hidden_size"]!,
            MlpWidth = (int)json["intermediate_size"]!, Layers = (int)json["num_hidden_layers"]!,
            Heads = (int)json["num_attention_heads"]!, RopeTheta = (double)json["rope_theta"]!,
            RmsNormEpsilon = (double)json["rms_norm_eps"]!,
        };
        using var model = new Llama(config, TestDevice.Target);
        using var free = no_grad();
        using var scope = NewDisposeScope();
        foreach (var (name, parameter) in model.named_parameters())
        {
            parameter.copy_(Golden.ByRule("language_model." + name, parameter.shape));
        }

        using var cache = new KvCache(config.Layers, (int)t["input_ids"].shape[0], config.Heads,
            (int)t["input_ids"].shape[1], config.HeadWidth, TestDevice.Device, ScalarType.Float32);
        var hidden = model.Hidden(model.Embed(t["input_ids"]), null, t["position_ids"], cache);
        Golden.Close(t["logits"], model.Logits(hidden), 1e-4, "logits");
        Golden.Close(t["hidden_last"],
            hidden.narrow(1, hidden.shape[1] - t["hidden_last"].shape[1], t["hidden_last"].shape[1]), 1e-4, "hidden");
        foreach (var name in t.Keys.Where(key => key.StartsWith("key_head")).Some())
        {
            Golden.Close(t[name], cache.Layer(0).Keys.select(1, int.Parse(name["key_head".Length..])), 1e-4, name);
        }

        Golden.Close(t["inv_freq"], Rotary.Frequencies(config.HeadWidth, config.RopeTheta, TestDevice.Device), 1e-7,
            "frequencies");
        var (cos, sin) = Rotary.CosSin(Rotary.Angles(t["rope_positions"].unsqueeze(0), config.HeadWidth,
            config.RopeTheta, null), ScalarType.Float32);
        Golden.Close(t["rope_cos"], cos[0], 1e-6, "cos");
        Golden.Close(t["rope_sin"].narrow(1, 0, config.HeadWidth / 2),
            sin[0].narrow(1, config.HeadWidth / 2, config.HeadWidth / 2), 1e-6, "sin");
    }

    [Fact]
    public void Cached_and_whole_passes_agree()
    {
        using var model = Mini();
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var ids = randint(0, 40, [3, 12], ScalarType.Int64);
        var mask = tensor(new long[] { 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }).expand(3, 12);
        var positions = mask.cumsum(1).sub(1).clamp_min(0);
        var whole = model.Hidden(model.Embed(ids), mask, positions);
        using var cache = model.NewCache(3, 12);
        model.Hidden(model.Embed(ids.narrow(1, 0, 7)), mask.narrow(1, 0, 7), positions.narrow(1, 0, 7), cache);
        for (var i = 7; i < 12; i++)
        {
            var step = model.Hidden(model.Embed(ids.narrow(1, i, 1)), mask.narrow(1, 0, i + 1),
                positions.narrow(1, i, 1), cache);
            Golden.Close(whole.narrow(1, i, 1), step, 1e-5, $"token {i}");
        }

        Assert.Throws<InvalidOperationException>(() =>
            model.Hidden(model.Embed(ids.narrow(1, 0, 1)), null, null, cache));
    }

    internal static Janus Mini()
    {
        var model = new Janus(JanusConfig.Mini(40), new ComputeTarget(CPU, ScalarType.Float32));
        model.Initialize(7);
        return model;
    }
}
