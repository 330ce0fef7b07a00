using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>
/// Which keys sequences may see that grow side by side, a token a step. On a CPU [N, S] as it was given, longer by a
/// one each step. Elsewhere none where nothing is padded, which leaves attention its fastest kernel, and else one that
/// is added, of a rounded length, in which each step changes one column.
/// </summary>
internal sealed class DecodeMask : IDisposable
{
    private readonly Tensor? mask; // [N, P + room], or [N, 1, 1, P + room rounded up]
    private readonly bool grows;

    /// <param name="prompt">[N, P], 0 on pads.</param>
    /// <param name="room">Most tokens to follow.</param>
    /// <param name="type">Of the model.</param>
    internal DecodeMask(Tensor prompt, int room, ScalarType type)
    {
        using var scope = NewDisposeScope();
        (Columns, grows) = ((int)prompt.shape[1], !DeviceKernels.PayFor(prompt.device_type));
        if (grows)
        {
            mask = cat([prompt, ones(prompt.shape[0], room, prompt.dtype, prompt.device)], 1).DetachFromDisposeScope();
        }
        else if (!prompt.all().ToBoolean())
        {
            long[] shape = [prompt.shape[0], 1, 1, DeviceKernels.RoundUp(Columns + room, prompt.device_type)];
            mask = full(shape, float.NegativeInfinity, type, prompt.device).DetachFromDisposeScope();
            mask.narrow(3, 0, Columns).masked_fill_(prompt.to(ScalarType.Bool).unsqueeze(1).unsqueeze(1), 0);
        }

        IsNeeded = mask is not null;
    }

    /// <summary>Whether the prompts themselves need one.</summary>
    internal bool IsNeeded { get; }

    /// <summary>Columns so far.</summary>
    internal int Columns { get; private set; }

    /// <summary>The mask of a pass over one more token of each row; null for none.</summary>
    internal Tensor? Next()
    {
        Columns++;
        if (mask is null || grows)
        {
            return mask?.narrow(1, 0, Columns);
        }

        using var column = mask.narrow(3, Columns - 1, 1).zero_();
        return mask.narrow(3, 0, DeviceKernels.RoundUp(Columns, mask.device_type));
    }

    public void Dispose() => mask?.Dispose();
}
