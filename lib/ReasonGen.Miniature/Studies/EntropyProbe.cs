using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.World;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>
/// Token entropies of a policy on fresh rollouts of its own, in nats. Image tokens apart: those of tiles that decide
/// the verdict, where a thing is seen or the rationale plans one, and the ground, which nothing is asked of.
/// </summary>
/// <param name="Text">Mean over text tokens.</param>
/// <param name="Image">Mean over image tokens.</param>
/// <param name="Deciding">Mean over image tokens of tiles that decide; 0 where there is none.</param>
/// <param name="Ground">Mean over the others; 0 where there is none.</param>
public readonly record struct EntropyProbe(double Text, double Image, double Deciding, double Ground)
{
    private const int Reach = 5; // pixels from a shape's centre to its border
    private const int Tiles = WorldConfig.ImageSize / WorldConfig.TileSize;

    /// <summary>Draws one rollout a prompt and takes the entropies.</summary>
    /// <param name="model">The policy.</param>
    /// <param name="policy">Samples from it.</param>
    /// <param name="prompts">At least one.</param>
    /// <param name="seed">Of the rollouts, which are nobody else's: probing changes nothing.</param>
    public static EntropyProbe Of(Janus model, PolicySampler policy, IReadOnlyList<Prompt> prompts, long seed)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        using var rollouts = policy.Generate(prompts, 1, seed);
        var (rationales, images) = (policy.Rationales(rollouts), policy.Images(rollouts));
        float[] entropies = RolloutLogProbs.Compute(model, rollouts, entropyGradient: false).Entropies.Values<float>();
        var columns = rollouts.ResponseColumns;
        byte[] image = rollouts.ImageMask.narrow(1, rollouts.PromptColumns, columns).to(ScalarType.Byte).Values<byte>();
        long[] counts = rollouts.ResponseMask.Values<long>();
        var (sums, tokens) = (new double[3], new long[3]); // text, deciding, ground
        for (var row = 0; row < rollouts.Count; row++)
        {
            var deciding = DecidingTiles(Detector.Detect(images[row]).Concat(Rationales.Parse(rationales[row]) ?? []));
            var tile = 0;
            for (var at = row * columns; at < (row + 1) * columns; at++)
            {
                var kind = image[at] == 0 ? 0 : deciding[tile++] ? 1 : 2;
                sums[kind] += counts[at] * (double)entropies[at];
                tokens[kind] += counts[at];
            }
        }

        double Mean(params int[] kinds) => kinds.Sum(kind => sums[kind]) / Math.Max(1, kinds.Sum(kind => tokens[kind]));
        return new(Mean(0), Mean(1, 2), Mean(1), Mean(2));
    }

    /// <summary>Which tiles, row by row, hold a part of the square that a thing's shape fills.</summary>
    public static bool[] DecidingTiles(IEnumerable<Seen> things)
    {
        var tiles = new bool[Tiles * Tiles];
        static (int From, int To) Range(double center) => (
            Math.Max(0, (int)(center - Reach) / WorldConfig.TileSize),
            Math.Min(Tiles - 1, (int)(center + Reach) / WorldConfig.TileSize));
        foreach (var thing in things)
        {
            var ((left, right), (top, bottom)) = (Range(thing.X), Range(thing.Y));
            for (var y = top; y <= bottom; y++)
            {
                tiles.AsSpan(y * Tiles + left, right - left + 1).Fill(true);
            }
        }

        return tiles;
    }
}
