using ReasonGen.Core;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>Where the tokens of each row stand before, between and after the two phases; plain integers, on the
/// CPU.</summary>
internal sealed class RolloutLayout
{
    private readonly SpecialTokens special;
    private readonly long[] prompts, promptMask;
    private readonly int rows, promptColumns;
    private long[] text = [], moved = [];
    private int textColumns;
    private int[] kept = [];      // text tokens of a row, begin_of_image included
    private bool[] forced = [];   // whether that begin_of_image was put there

    internal RolloutLayout(Tensor promptIds, Tensor promptMask, SpecialTokens special)
    {
        (rows, promptColumns, this.special) = ((int)promptIds.shape[0], (int)promptIds.shape[1], special);
        prompts = promptIds.Values<long>();
        this.promptMask = promptMask.to(ScalarType.Int64).Values<long>();
    }

    private int Columns => promptColumns + textColumns;

    // How far a row was moved right, and moves back.
    private int Shift(int row) => textColumns - kept[row];

    /// <summary>Cuts each row of sampled text [N, L] after its first begin_of_image and moves the rest to the right
    /// edge.</summary>
    internal void CutAndMoveRight(Tensor sampled)
    {
        var none = sampled.shape[1] == 0; // no rationale: begin_of_image follows the prompt at once
        textColumns = none ? 1 : (int)sampled.shape[1];
        text = none ? Enumerable.Repeat((long)special.BeginOfImage, rows).ToArray() : sampled.Values<long>();
        (kept, forced, moved) = (new int[rows], new bool[rows], new long[rows * Columns]);
        Array.Fill(moved, special.Pad);
        for (var row = 0; row < rows; row++)
        {
            var tokens = text.AsSpan(row * textColumns, textColumns);
            var end = tokens.IndexOfAny(special.BeginOfImage, special.Eos);
            forced[row] = none || end < 0 || tokens[end] == special.Eos;
            end = end < 0 ? textColumns - 1 : end;
            tokens[end] = special.BeginOfImage;
            kept[row] = end + 1;
            prompts.AsSpan(row * promptColumns, promptColumns).CopyTo(moved.AsSpan(row * Columns + Shift(row)));
            tokens[..kept[row]].CopyTo(moved.AsSpan(row * Columns + Shift(row) + promptColumns));
        }
    }

    /// <summary>What the image phase reads first: ids and mask [N, M], or [2N, M] with an unconditional row after
    /// each.</summary>
    internal (Tensor Ids, Tensor Mask) ImagePrefill(bool guided, Device device)
    {
        var ids = tensor(moved, [rows, Columns], device: device);
        using Scalar pad = special.Pad;
        var mask = ids.ne(pad).to(ScalarType.Int64);
        if (!guided)
        {
            return (ids, mask);
        }

        var bare = full_like(ids, special.Pad);
        var bos = mask.argmax(1, keepdim: true); // the first token that is no pad
        bare.scatter_(1, bos, tensor((long)special.Bos, device: device).expand(rows, 1));
        bare.select(1, Columns - 1).fill_(special.BeginOfImage);
        return (stack([ids, bare], 1).view(2 * rows, Columns), mask.repeat_interleave(2, 0));
    }

    /// <summary>Columns of what was read for the rationale, prompt first, that the image phase sees again, [count,
    /// columns]; null where a row has a pad in its text, which the image phase would leave out.</summary>
    internal Tensor? Seen(int start, int count, int columns)
    {
        var (seen, padded) = (new long[count * columns], false);
        for (var row = start; row < start + count; row++)
        {
            var (at, length) = ((row - start) * columns, kept[row] - 1);
            padded |= text.AsSpan(row * textColumns, length).Contains(special.Pad);
            promptMask.AsSpan(row * promptColumns, promptColumns).CopyTo(seen.AsSpan(at));
            seen.AsSpan(at + promptColumns, length).Fill(1);
        }

        return padded ? null : tensor(seen, [count, columns], device: CPU);
    }

    /// <summary>The training layout: prompt, text, image codes, eos where the row was moved, pads up to so many
    /// response columns.</summary>
    internal RolloutBatch MoveBack(Tensor codes, Tensor textLogProbs, Tensor imageLogProbs, int responseColumns)
    {
        int images = (int)codes.shape[1], width = promptColumns + responseColumns,
            textSteps = (int)textLogProbs.shape[1];
        long[] drawn = codes.Values<long>(), ids = new long[rows * width], mask = new long[ids.Length],
            positions = new long[ids.Length];
        float[] ofText = textLogProbs.Values<float>(), ofImage = imageLogProbs.Values<float>();
        var logProbs = new float[rows * responseColumns];
        var image = new bool[ids.Length];
        Array.Fill(ids, special.Pad);
        for (var row = 0; row < rows; row++)
        {
            int start = row * width, response = start + promptColumns, at = response + kept[row],
                scores = row * responseColumns;
            prompts.AsSpan(row * promptColumns, promptColumns).CopyTo(ids.AsSpan(start));
            text.AsSpan(row * textColumns, kept[row]).CopyTo(ids.AsSpan(response));
            drawn.AsSpan(row * images, images).CopyTo(ids.AsSpan(at));
            image.AsSpan(at, images).Fill(true);
            ofText.AsSpan(row * textSteps, kept[row] - (forced[row] ? 1 : 0)).CopyTo(logProbs.AsSpan(scores));
            ofImage.AsSpan(row * images, images).CopyTo(logProbs.AsSpan(scores + kept[row]));
            var end = at + images;
            if (Shift(row) > 0)
            {
                ids[end++] = special.Eos;
            }

            // The reference masks by the first eos; a row that was not moved has none and counts to the end of the
            // generated columns.
            promptMask.AsSpan(row * promptColumns, promptColumns).CopyTo(mask.AsSpan(start));
            mask.AsSpan(response, end - response).Fill(1);
            for (long t = start, seen = 0; t < start + width; t++)
            {
                seen += t < response ? promptMask[row * promptColumns + t - start] : 1;
                positions[t] = Math.Max(seen - 1, 0);
            }
        }

        var device = codes.device;
        return new(promptColumns, Own(tensor(ids, [rows, width], device: device)),
            Own(tensor(mask, [rows, width], device: device)),
            Own(tensor(positions, [rows, width], device: device)), Own(tensor(image, [rows, width], device: device)),
            Own(codes),
            Own(tensor(logProbs, [rows, responseColumns], device: device)));
    }

    private static Tensor Own(Tensor tensor) => tensor.DetachFromDisposeScope();
}
