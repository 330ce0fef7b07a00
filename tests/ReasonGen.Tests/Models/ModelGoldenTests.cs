using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Models;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

[Trait("Category", "Golden")]
public sealed class ModelGoldenTests
{
    public static TheoryData<string, JanusConfig> Published => new() { { "names_1b", JanusConfig.Pro1B }, { "names_7b", JanusConfig.Pro7B } };

    [Theory]
    [MemberData(nameof(Published))]
    public void Names_and_shapes_equal_the_published_model(string file, JanusConfig config)
    {
        using var model = new Janus(config, new ComputeTarget(META, ScalarType.Float32));
        var expected = ((JObject)Golden.Json("janus/" + file)["tensors"]!).Properties()
            .Select(p => $"{p.Name} [{string.Join(", ", p.Value[1]!.Select(size => (long)size))}]").Order(StringComparer.Ordinal);
        var actual = model.state_dict().Select(p => $"{p.Key} [{string.Join(", ", p.Value.shape)}]").Order(StringComparer.Ordinal);
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void A_layer_of_published_width_equals_the_reference()
    {
        var json = Golden.Json("janus/wide_layer");
        var t = Golden.Tensors("janus/wide_layer");
        var config = new LlamaConfig
        {
            VocabularySize = (int)json["vocab_size"]!, Width = (int)json["hidden_size"]!, MlpWidth = (int)json["intermediate_size"]!, Layers = (int)json["num_hidden_layers"]!,
            Heads = (int)json["num_attention_heads"]!, RopeTheta = (double)json["rope_theta"]!, RmsNormEpsilon = (double)json["rms_norm_eps"]!,
        };
        using var model = new Llama(config, new ComputeTarget(CPU, ScalarType.Float32));
        using var free = no_grad();
        using var scope = NewDisposeScope();
        foreach (var (name, parameter) in model.named_parameters())
        {
            parameter.copy_(Golden.ByRule("language_model." + name, parameter.shape));
        }

        using var cache = new KvCache(config.Layers, (int)t["input_ids"].shape[0], config.Heads, (int)t["input_ids"].shape[1], config.HeadWidth, CPU, ScalarType.Float32);
        var hidden = model.Hidden(model.Embed(t["input_ids"]), null, t["position_ids"], cache);
        Golden.Close(t["logits"], model.Logits(hidden), 1e-4, "logits");
        Golden.Close(t["hidden_last"], hidden.narrow(1, hidden.shape[1] - t["hidden_last"].shape[1], t["hidden_last"].shape[1]), 1e-4, "hidden");
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
            var step = model.Hidden(model.Embed(ids.narrow(1, i, 1)), mask.narrow(1, 0, i + 1), positions.narrow(1, i, 1), cache);
            Golden.Close(whole.narrow(1, i, 1), step, 1e-5, $"token {i}");
        }

        Assert.Throws<InvalidOperationException>(() => model.Hidden(model.Embed(ids.narrow(1, 0, 1)), null, null, cache));
    }

    [Fact]
    public void The_image_tokenizer_equals_the_reference_on_weights_by_rule()
    {
        var t = Golden.Tensors("vq/rule");
        foreach (var (name, token) in Golden.Json("vq/rule"))
        {
            if (token is not JObject c || c["codes"] is null)
            {
                continue;
            }

            var config = new VqConfig
            {
                CodebookSize = (int)c["codes"]!, Channels = (int)c["ch"]!, Multipliers = c["mult"]!.ToObject<int[]>()!, ResidualBlocks = (int)c["res"]!, LatentChannels = (int)c["z"]!,
            };
            using var model = new VqTokenizer(config, new ComputeTarget(CPU, ScalarType.Float32));
            using var free = no_grad();
            using var scope = NewDisposeScope();
            foreach (var (parameterName, parameter) in model.named_parameters())
            {
                parameter.copy_(Golden.ByRule(parameterName, parameter.shape));
            }

            Assert.Equal((long)c["parameters"]!, model.parameters().Sum(p => p.numel()));
            var pictures = t[name + ".images"].to(ScalarType.Float32).div(127.5f).sub(1);
            var latent = t[name + ".latent"];
            Golden.Close(latent, model.Latent(pictures), 1e-4, name + " latent");
            var certain = t[name + ".gap"].gt(1e-4);
            Golden.Equal(t[name + ".codes"].masked_select(certain), model.Encode(pictures).reshape(-1).masked_select(certain), name + " codes");
            Golden.Close(t[name + ".decoded"], model.Decode(t[name + ".codes"], latent.shape[2], latent.shape[3]), 1e-4, name + " decoded");
            Golden.Close(t[name + ".random_decoded"], model.Decode(t[name + ".random_codes"], latent.shape[2], latent.shape[3]), 1e-4, name + " random codes");
        }
    }

    [Fact]
    public void Pixels_are_truncated_like_the_reference()
    {
        var t = Golden.Tensors("vq/checkpoint");
        var pixels = Pictures.FromTensor(t["bytes.decoded"])[0];
        Assert.Equal(t["bytes.pixels"].Values<byte>(), pixels.Rgb);
    }

    [Fact]
    public void Sampling_draws_like_the_reference()
    {
        var t = Golden.Tensors("janus/multinomial");
        using var generator = new Generator(2024, CPU);
        for (var draw = 0; draw < t["draws"].shape[1]; draw++)
        {
            using var scope = NewDisposeScope();
            var noise = empty(t["probs"].shape, ScalarType.Float32).exponential_(1, generator);
            Golden.Close(t["noise"].select(1, draw), noise, 1e-6 * t["noise"].max().ToDouble(), "noise");
            Golden.Equal(t["draws"].select(1, draw), t["probs"].div(noise).argmax(1), "draws");
        }
    }

    internal static Janus Mini()
    {
        var model = new Janus(JanusConfig.Mini(40), new ComputeTarget(CPU, ScalarType.Float32));
        model.Initialize(7);
        return model;
    }
}
