using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>
/// A codebook in which every code of the trained image tokenizer has near-equal copies. Which copy stands in a picture
/// does not matter to it, so image tokens have up to ln copies nats of entropy that no reward sees.
/// </summary>
/// <remarks>Copies of code k of K are k, k + K, k + 2K, …: each the code's row of length one with some noise, none of
/// them the row itself. <see cref="VqTokenizer.Encode"/> takes the nearest, as of any codes.</remarks>
public static class NearEqualCodes
{
    /// <summary>Standard deviation of the noise on each component of a row of length one. So small that a picture is
    /// judged the same whichever copies it is drawn from; what an image's latent lies next to still differs among
    /// them.</summary>
    public const double Spread = 0.01;

    private const string Infix = "-codes-";

    /// <summary>The name of "base" or "sft" with so many copies of each code: "sft-codes-4", and "sft" with
    /// one.</summary>
    /// <param name="stage">"base" or "sft".</param>
    /// <param name="copies">At least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There would be no code.</exception>
    public static string Name(string stage, int copies)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(copies, 1);
        return copies == 1 ? stage : $"{stage}{Infix}{copies}";
    }

    /// <summary>What <see cref="Name"/> made the name of: "sft-codes-4" is "sft" with 4 copies. Any other stage or run
    /// is itself with one.</summary>
    public static (string Stage, int Copies) Read(string name) =>
        name.Split(Infix) is [("base" or "sft") and var stage, var number] && int.TryParse(number, out var copies)
        && copies > 1 && Name(stage, copies) == name ? (stage, copies) : (name, 1);

    /// <summary>The image tokenizer with so many copies of each code.</summary>
    /// <param name="config">Of the one without.</param>
    /// <param name="copies">At least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There would be no code.</exception>
    public static VqConfig Of(VqConfig config, int copies)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(copies, 1);
        return copies == 1 ? config : config with { CodebookSize = config.CodebookSize * copies };
    }

    /// <summary>Takes over a trained image tokenizer: its codes as copies, all else as it is.</summary>
    /// <param name="from">The trained one.</param>
    /// <param name="to">Of the same sizes, but with a multiple of its codes.</param>
    /// <param name="seed">Of the noise.</param>
    /// <param name="spread">Of the noise; at least 0.</param>
    /// <exception cref="ArgumentException">The sizes do not go together.</exception>
    public static void Copy(VqTokenizer from, VqTokenizer to, long seed, double spread = Spread)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(spread);
        int codes = from.Config.CodebookSize, all = to.Config.CodebookSize;
        (string Name, Tensor Weight)[] sources = Rest(from), targets = Rest(to);
        if (all % codes != 0 || from.Config.CodeWidth != to.Config.CodeWidth
            || !sources.Select(Shape).SequenceEqual(targets.Select(Shape)))
        {
            throw new ArgumentException($"an image tokenizer of {all} codes cannot hold copies of the {codes} of "
                + "another: it must have a multiple of them, and all its other sizes", nameof(to));
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        foreach (var (source, target) in sources.Zip(targets))
        {
            target.Weight.copy_(source.Weight);
        }

        using var generator = Seeds.Torch(seed);
        var rows = nn.functional.normalize(from.CodebookWeight.to(ScalarType.Float32), 2, 1, 1e-12)
            .repeat(all / codes, 1); // [K, 8] → [K · copies, 8]
        var noise = randn(rows.shape, ScalarType.Float32, CPU, generator: generator).mul(spread);
        to.CodebookWeight.copy_(rows.add(noise.to(rows.device)));
    }

    /// <summary>Adds to what is recorded of a stage how its codes were copied, where they were.</summary>
    internal static JObject AddTo(JObject settings, int copies)
    {
        if (copies > 1)
        {
            settings["codes"] = new JObject { ["copies"] = copies, ["spread"] = Spread };
        }

        return settings;
    }

    // all weights but the codebook
    private static (string Name, Tensor Weight)[] Rest(VqTokenizer tokenizer) => [.. tokenizer.named_parameters()
        .Where(p => !p.name.StartsWith("quantize")).Select(p => (p.name, (Tensor)p.parameter))];

    private static string Shape((string Name, Tensor Weight) one) =>
        $"{one.Name} {string.Join(' ', one.Weight.shape)}";
}
