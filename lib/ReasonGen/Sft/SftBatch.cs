// One training sequence (sft_dataset.py): bos, prompt, response, begin_of_image, image codes, end_of_image, eos, then
// pads.
//   attention = 0 on dropped text and on pads;  position = max(cumsum(attention) − 1, 0);
//   loss mask at t governs the prediction of token t + 1: it starts with the first response token and ends with eos.
// Deviations: 1. Masks and positions are integers, not the reference's float32. 2. A sample may leave the image out
// (text only), which the miniature's base model needs. 3. Image codes stand in the ids from the start; the reference
// fills them in at each step.
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Sft;

/// <summary>What one sequence is made of, as token ids.</summary>
/// <param name="Prompt">The formatted prompt, without bos.</param>
/// <param name="Response">The rationale; may be empty.</param>
/// <param name="ImageCodes">Image codes or placeholders; null for text only.</param>
/// <param name="DropText">Blanks prompt and response, to train drawing without a prompt.</param>
public sealed record SftSample(int[] Prompt, int[] Response, long[]? ImageCodes, bool DropText = false);

/// <summary>Sequences of one length, ready for the model. Shapes [B, T]; B samples, T tokens.</summary>
/// <param name="Ids">int64.</param>
/// <param name="AttentionMask">int64, 1 where a token may be attended.</param>
/// <param name="PositionIds">int64.</param>
/// <param name="LossMask">int64, 1 at t where the prediction of token t + 1 counts.</param>
/// <param name="ImageMask">bool, true on image codes.</param>
public sealed record SftBatch(Tensor Ids, Tensor AttentionMask, Tensor PositionIds, Tensor LossMask, Tensor ImageMask)
    : IDisposable
{
    /// <summary>B.</summary>
    public int Count => (int)Ids.shape[0];

    /// <summary>Lays samples out side by side.</summary>
    /// <param name="samples">At least one.</param>
    /// <param name="special">Ids of the structure tokens.</param>
    /// <param name="length">T; the longest sample when null.</param>
    /// <param name="device">Where the tensors go; the CPU when null.</param>
    /// <exception cref="ArgumentException">A sample is longer than <paramref name="length"/>.</exception>
    public static SftBatch Build(IReadOnlyList<SftSample> samples, SpecialTokens special, int? length = null,
        Device? device = null)
    {
        var longest = samples.Max(Length);
        var columns = length ?? longest;
        if (longest > columns)
        {
            throw new ArgumentException(
                $"a sample has {longest} tokens, the sequence length is {columns}; shorten its rationale or raise the "
                + $"length", nameof(samples));
        }

        int rows = samples.Count;
        long[] ids = new long[rows * columns], attention = new long[ids.Length], positions = new long[ids.Length],
            loss = new long[ids.Length];
        var image = new bool[ids.Length];
        for (var row = 0; row < rows; row++)
        {
            var (sample, start) = (samples[row], row * columns);
            var at = start;
            void Add(long id, bool seen = true, bool code = false)
            {
                (ids[at], attention[at], image[at]) = (id, seen ? 1 : 0, code);
                at++;
            }

            Add(special.Bos);
            foreach (var id in sample.Prompt.Concat(sample.Response))
            {
                Add(sample.DropText ? special.Pad : id, !sample.DropText);
            }

            if (sample.ImageCodes is not null)
            {
                Add(special.BeginOfImage);
                Array.ForEach(sample.ImageCodes, code => Add(code, code: true));
                Add(special.EndOfImage);
            }

            Add(special.Eos);
            // from the last prompt token, which predicts the first response token, to the last but one
            for (var t = start + sample.Prompt.Length; t < at - 1; t++)
            {
                loss[t] = attention[t];
            }

            Array.Fill(ids, special.Pad, at, start + columns - at);
            for (long t = start, seen = 0; t < start + columns; t++)
            {
                seen += attention[t];
                positions[t] = Math.Max(seen - 1, 0);
            }
        }

        return new(torch.tensor(ids, [rows, columns], device: device),
            torch.tensor(attention, [rows, columns], device: device),
            torch.tensor(positions, [rows, columns], device: device),
            torch.tensor(loss, [rows, columns], device: device),
            torch.tensor(image, [rows, columns], device: device));
    }

    /// <summary>Some of the samples, as a batch that shares their memory.</summary>
    public SftBatch Slice(int start, int count) =>
        new(Ids.narrow(0, start, count), AttentionMask.narrow(0, start, count),
        PositionIds.narrow(0, start, count), LossMask.narrow(0, start, count), ImageMask.narrow(0, start, count));

    /// <summary>The batch on a device; the old one is used up.</summary>
    public SftBatch To(Device device)
    {
        using var old = this;
        return new(Ids.to(device), AttentionMask.to(device), PositionIds.to(device), LossMask.to(device),
            ImageMask.to(device));
    }

    public void Dispose()
    {
        foreach (var tensor in new[] { Ids, AttentionMask, PositionIds, LossMask, ImageMask })
        {
            tensor.Dispose();
        }
    }

    private static int Length(SftSample sample) =>
        2 + sample.Prompt.Length + sample.Response.Length
            + (sample.ImageCodes is null ? 0 : sample.ImageCodes.Length + 2);
}
