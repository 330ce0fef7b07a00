using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Models;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

[Trait("Category", "Golden")]
public sealed class VqGoldenTests
{
    [Fact]
    public void Weights_by_rule_give_what_the_reference_gives()
    {
        var t = Golden.Tensors("vq/rule");
        foreach (var (name, c) in Cases("vq/rule", "parameters"))
        {
            using var model = new VqTokenizer(new VqConfig
            {
                CodebookSize = (int)c["codes"]!, Channels = (int)c["ch"]!, Multipliers = c["mult"]!.ToObject<int[]>()!,
                ResidualBlocks = (int)c["res"]!, LatentChannels = (int)c["z"]!,
            }, JanusFixture.Target);
            using (no_grad())
            {
                foreach (var (parameterName, parameter) in model.named_parameters())
                {
                    parameter.copy_(Golden.ByRule(parameterName, parameter.shape));
                }
            }

            Assert.Equal((long)c["parameters"]!, model.parameters().Sum(p => p.numel()));
            Check(model, t, name);
        }
    }

    [Fact]
    public void A_checkpoint_gives_what_the_reference_gives()
    {
        using var model = JanusFixture.Load();
        var t = Golden.Tensors("vq/checkpoint");
        foreach (var (name, _) in Cases("vq/checkpoint", "distinct_codes"))
        {
            Check(model.ImageTokenizer, t, name);
        }
    }

    [Fact]
    public void The_nearest_code_is_the_first_of_equals_and_of_the_normalised()
    {
        var t = Golden.Tensors("vq/checkpoint");
        using var scope = NewDisposeScope();
        Tensor codebook = t["quantiser.codebook"], latent = t["quantiser.latent"];
        using var model = new VqTokenizer(VqConfig.Mini with
        {
            CodebookSize = (int)codebook.shape[0], CodeWidth = (int)codebook.shape[1],
        }, JanusFixture.Target);
        using var free = no_grad();
        model.CodebookWeight.copy_(codebook);
        long height = latent.shape[2], width = latent.shape[3];
        var codes = model.Nearest(latent);
        Golden.Equal(t["quantiser.codes"], codes.reshape(-1), "codes");
        Golden.Close(t["quantiser.quant"], model.Lookup(codes, height, width), 1e-6, "quant");
        Golden.Close(t["quantiser.grid"], model.Lookup(t["quantiser.codes"], height, width), 1e-6, "grid");
        Golden.Close(t["quantiser.grid_channel_last"],
            model.Lookup(t["quantiser.codes"], height, width).permute(0, 2, 3, 1), 1e-6, "grid, channels last");
        Golden.Close(t["quantiser.entries"],
            model.Lookup(arange(codebook.shape[0]), codebook.shape[0], 1)[0].squeeze(-1).t(), 1e-6, "entries");
    }

    [Fact]
    public void Training_losses_and_gradients_equal_the_reference()
    {
        var t = Golden.Tensors("vq/training");
        foreach (var (name, c) in Cases("vq/training", "grad_norms"))
        {
            using var trained = JanusFixture.Load(config =>
                config with
                {
                    ImageTokenizer = config.ImageTokenizer with { EntropyRatio = (double)c["entropy_loss_ratio"]! },
                });
            using var scope = NewDisposeScope();
            var model = trained.ImageTokenizer;
            var images = JanusFixture.Floats(t["images"]);
            var (reconstruction, _, _, codebook, commitment, entropy) = model.Reconstruct(images);
            var squared = reconstruction.sub(images).square().mean();
            var total = squared.add(codebook).add(commitment).add(entropy);
            foreach (var (part, value) in new[] { ("vq_loss", codebook), ("commit_loss", commitment),
                ("entropy_loss", entropy), ("reconstruction", squared), ("total", total) })
            {
                Assert.Equal((double)c[part]!, value.ToDouble(), 1e-5 * Math.Max(1, Math.Abs((double)c[part]!)));
            }

            total.backward();
            var parameters = model.named_parameters().ToDictionary(p => p.name, p => p.parameter);
            Assert.Equal(((JObject)c["grad_norms"]!).Properties().Select(p => p.Name).Order(), parameters.Keys.Order());
            foreach (var (parameter, norm) in (JObject)c["grad_norms"]!)
            {
                var actual = parameters[parameter].grad!.norm().ToDouble();
                Assert.True(Math.Abs(actual - (double)norm!) <= Math.Max(1e-6, 1e-4 * (double)norm!),
                    $"{name} {parameter}: {actual} instead of {norm}");
            }

            foreach (var key in t.Keys.Where(key => key.StartsWith(name + ".grad.")).Some())
            {
                Golden.Close(t[key], parameters[key[(name + ".grad.").Length..]].grad!,
                    Math.Max(1e-6, 1e-4 * t[key].norm().ToDouble()), key);
            }
        }
    }

    [Fact]
    public void Pixels_are_truncated_like_the_reference()
    {
        var t = Golden.Tensors("vq/checkpoint");
        var pixels = ImageTensors.FromTensor(t["bytes.decoded"])[0];
        Assert.Equal(t["bytes.pixels"].Values<byte>(), pixels.Rgb);
    }

    private static IEnumerable<(string Name, JObject Case)> Cases(string file, string key) =>
        Golden.Json(file).Properties().Where(p => p.Value is JObject c && c[key] is not null).Some()
            .Select(p => (p.Name, (JObject)p.Value));

    private static void Check(VqTokenizer model, Dictionary<string, Tensor> t, string name)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        Tensor images = JanusFixture.Floats(t[name + ".images"]), latent = t[name + ".latent"],
            codes = t[name + ".codes"];
        long height = latent.shape[2], width = latent.shape[3];
        Golden.Close(latent, model.Latent(images), 1e-4, name + " latent");
        var certain = t[name + ".gap"].gt(1e-4);
        Golden.Equal(codes.masked_select(certain), model.Encode(images).reshape(-1).masked_select(certain),
            name + " codes");
        Golden.Close(t[name + ".quant"], model.Lookup(codes, height, width), 1e-6, name + " quant");
        Golden.Close(t[name + ".decoded"], model.Decode(codes, height, width), 1e-4, name + " decoded");
        var random = model.Decode(t[name + ".random_codes"], height, width);
        Golden.Close(t[name + ".random_decoded"], random, 1e-4, name + " random codes");
        JanusFixture.SamePixels(t[name + ".random_pixels"], ImageTensors.FromTensor(random), name);
    }
}
