using System.Text;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using static TorchSharp.torch;

namespace ReasonGen.Ranks;

/// <summary>
/// Each rank samples every W-th of the parts that the sampler cuts its rows into anyway, each with a seed of its own,
/// and decodes its share of the images; all get all of it. What is drawn does not depend on W. With fewer parts than
/// ranks (<see cref="RolloutConfig.Parts"/>, <see cref="RolloutConfig.RowsAtATime"/>) some ranks have nothing to do.
/// </summary>
/// <param name="inner">The policy; each rank has one, with the same weights.</param>
/// <param name="ranks">The group.</param>
/// <param name="end">Looked at before each part: all ranks go on, or all end.</param>
/// <param name="device">Of the policy's weights.</param>
public sealed class SharedRollouts(PolicySampler inner, IRankGroup ranks, SharedCancellation end, Device device)
    : IRolloutSource
{
    public void CheckPolicy(IImageTextModel model, double temperature) => inner.CheckPolicy(model, temperature);

    /// <exception cref="OperationCanceledException">A rank was asked to end.</exception>
    public RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed)
    {
        using var scope = NewDisposeScope();
        var parts = inner.PartsOf(prompts.Count * rolloutsPerPrompt);
        var mine = Packed(writer =>
        {
            for (var part = ranks.Rank; part - ranks.Rank < parts; part += ranks.Size) // as many turns on each rank
            {
                if (end.Look())
                {
                    throw new OperationCanceledException(end.Token);
                }

                if (part < parts)
                {
                    using var batch = inner.GeneratePart(prompts, rolloutsPerPrompt, seed, part);
                    Write(writer, batch);
                }
            }
        });
        var all = ranks.Gather(mine, "rollouts").Select(bytes => new BinaryReader(new MemoryStream(bytes))).ToArray();
        var batches = Enumerable.Range(0, parts).Select(part => Read(all[part % ranks.Size])).ToArray();
        return RolloutBatch.Join([.. batches.Select(batch => (batch, AllRows(batch)))]);
    }

    public string[] Rationales(RolloutBatch rollouts) => inner.Rationales(rollouts);

    public RgbImage[] Images(RolloutBatch rollouts)
    {
        var (first, count) = ranks.Share(rollouts.Count);
        using var scope = NewDisposeScope();
        var mine = Packed(writer =>
        {
            foreach (var image in count == 0 ? [] : inner.Images(rollouts.Slice(first, count)))
            {
                writer.Write(image.Width);
                writer.Write(image.Height);
                writer.Write(image.Rgb);
            }
        });
        return [.. ranks.Gather(mine, "images").SelectMany(Images)];
    }

    private static IEnumerable<RgbImage> Images(byte[] bytes)
    {
        using var reader = new BinaryReader(new MemoryStream(bytes));
        while (reader.BaseStream.Position < bytes.Length)
        {
            var (width, height) = (reader.ReadInt32(), reader.ReadInt32());
            yield return new(width, height, reader.ReadBytes(width * height * 3));
        }
    }

    private static byte[] Packed(Action<BinaryWriter> write)
    {
        using var bytes = new MemoryStream();
        using (var writer = new BinaryWriter(bytes, Encoding.UTF8, leaveOpen: true))
        {
            write(writer);
        }

        return bytes.ToArray();
    }

    private static long[] AllRows(RolloutBatch batch) => [.. Enumerable.Range(0, batch.Count).Select(row => (long)row)];

    private static void Write(BinaryWriter writer, RolloutBatch batch)
    {
        writer.Write(batch.PromptColumns);
        foreach (var tensor in new[] { batch.Ids, batch.AttentionMask, batch.PositionIds, batch.ImageMask,
            batch.ImageCodes, batch.SampledLogProbs })
        {
            using var host = tensor.detach().cpu().contiguous();
            writer.Write((int)host.dtype);
            writer.Write(host.shape[0]);
            writer.Write(host.shape[1]);
            writer.Write(host.bytes);
        }
    }

    private RolloutBatch Read(BinaryReader reader)
    {
        Tensor Next()
        {
            var (type, rows, columns) = ((ScalarType)reader.ReadInt32(), reader.ReadInt64(), reader.ReadInt64());
            var tensor = empty(rows, columns, type, CPU);
            reader.BaseStream.ReadExactly(tensor.bytes);
            return tensor.to(device);
        }

        return new(reader.ReadInt32(), Next(), Next(), Next(), Next(), Next(), Next());
    }
}
