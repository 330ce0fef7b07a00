using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Studies;
using ReasonGen.World;
using ReasonGen.WorldData;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Studies;

/// <summary>A codebook in which every code has near-equal copies.</summary>
public sealed class NearEqualCodesTests
{
    private const int Codes = 320, Copies = 4;
    private static readonly Study Study = new(StudyConfig.Quick);

    [Theory]
    [InlineData("sft", 4, "sft-codes-4")]
    [InlineData("base", 12, "base-codes-12")]
    [InlineData("sft", 1, "sft")]
    public void A_stage_is_named_after_its_copies_and_read_back(string stage, int copies, string name)
    {
        Assert.Equal(name, NearEqualCodes.Name(stage, copies));
        Assert.Equal((stage, copies), NearEqualCodes.Read(name));
    }

    [Theory]
    [InlineData("none-codes-4")]
    [InlineData("sft-codes-1")]
    [InlineData("sft-codes-04")]
    [InlineData("sft-codes-")]
    [InlineData("sft-codes-4-codes-4")]
    [InlineData("tokenizer")]
    public void Any_other_name_is_of_one_copy(string name) => Assert.Equal((name, 1), NearEqualCodes.Read(name));

    [Fact]
    public void Fewer_than_one_copy_is_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => NearEqualCodes.Name("sft", 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => NearEqualCodes.Of(VqConfig.Mini, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => Study.NewModel(0));
    }

    [Fact]
    public void Copies_lie_round_their_code_and_all_else_is_equal()
    {
        using var scope = NewDisposeScope();
        using Janus plain = Study.NewModel(), copied = Study.NewModel(Copies), again = Study.NewModel(Copies);
        Assert.Equal(Codes * Copies, copied.CodebookSize);
        var targets = copied.ImageTokenizer.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        foreach (var (name, source) in plain.ImageTokenizer.named_parameters())
        {
            if (!name.StartsWith("quantize"))
            {
                Golden.Equal(source, targets[name], name);
            }
        }

        Golden.Equal(copied.ImageTokenizer.CodebookWeight, again.ImageTokenizer.CodebookWeight, "the same noise");
        var code = nn.functional.normalize(plain.ImageTokenizer.CodebookWeight, 2, 1);
        var noise = copied.ImageTokenizer.CodebookWeight.view(Copies, Codes, 8).sub(code).detach();
        foreach (var copy in Enumerable.Range(0, Copies))
        {
            Assert.Equal(NearEqualCodes.Spread, noise[copy].std().ToDouble(), 0.05 * NearEqualCodes.Spread);
            Assert.Equal(0, noise[copy].mean().ToDouble(), 0.1 * NearEqualCodes.Spread);
        }

        NearEqualCodes.Copy(plain.ImageTokenizer, copied.ImageTokenizer, seed: 5);
        Assert.False(copied.ImageTokenizer.CodebookWeight.eq(again.ImageTokenizer.CodebookWeight).any().ToBoolean());
        NearEqualCodes.Copy(plain.ImageTokenizer, copied.ImageTokenizer, seed: 5, spread: 0);
        Golden.Equal(code.repeat(Copies, 1), copied.ImageTokenizer.CodebookWeight, "without noise");
    }

    [Fact]
    public void An_image_tokenizer_of_other_sizes_is_refused()
    {
        using var plain = Study.Untrained();
        foreach (var config in new[]
        {
            VqConfig.Mini with { CodebookSize = Codes + 1 }, VqConfig.Mini with { LatentChannels = 16 },
            VqConfig.Mini with { CodeWidth = 4 },
        })
        {
            using var other = new VqTokenizer(config, ComputeTarget.Default.Exact);
            Assert.Contains("a multiple", Assert.Throws<ArgumentException>(() =>
                NearEqualCodes.Copy(plain.ImageTokenizer, other, seed: 1)).Message);
        }
    }

    [Fact]
    public void Copies_are_used_alike_and_do_not_matter_to_the_picture()
    {
        const int scenes = 300;
        using Janus plain = Study.NewModel(), copied = Study.NewModel(Copies);
        Assert.All(Enum.GetValues<Texture>(), look => Assert.InRange(
            Study.RoundTrip(copied, look, scenes) - Study.RoundTrip(plain, look, scenes), -0.005, 1));
        var (entropy, right) = OfCopies(copied, scenes);
        Assert.InRange(entropy, 1, Math.Log(Copies));
        Assert.InRange(right - Study.RoundTrip(plain, Texture.Textured, scenes), -0.005, 1);
    }

    // Entropy of which copy is used given the code, mean over tiles of textured scenes; and how many of the scenes are
    // right when they are drawn with any copy of each of their codes.
    private static (double Entropy, double Right) OfCopies(Janus model, int scenes)
    {
        var stream = new WorldStream(Study.World, Seeds.Mix(Study.Config.Seed, 5));
        var used = new double[Codes, Copies];
        using var generator = Seeds.Torch(3);
        var right = 0;
        for (var start = 0; start < scenes; start += 100)
        {
            using var scope = NewDisposeScope();
            var samples = stream.Take(start, 100);
            var codes = model.ImageTokenizer.Encode(ImageTensors.ToTensor(
                [.. samples.Select(sample => sample.Image(stream.Config))], model.Device));
            foreach (var code in codes.Values<long>())
            {
                used[code % Codes, code / Codes]++;
            }

            var drawn = codes.remainder(Codes).add(randint(0, Copies, codes.shape, ScalarType.Int64, CPU,
                generator: generator).mul(Codes));
            var images = ImageTensors.FromTensor(model.DecodeImage(drawn));
            right += samples.Where((sample, i) => Detector.Check(images[i], sample.Prompt).Correct).Count();
        }

        double entropy = 0, tiles = used.Cast<double>().Sum();
        for (var code = 0; code < Codes; code++)
        {
            double[] row = [.. Enumerable.Range(0, Copies).Select(copy => used[code, copy]).Where(n => n > 0)];
            entropy -= row.Sum(n => n / tiles * Math.Log(n / row.Sum()));
        }

        return (entropy, right / (double)scenes);
    }
}
