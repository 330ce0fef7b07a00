using static TorchSharp.torch;

namespace ReasonGen.Ranks;

/// <summary>
/// The processes that train one model together, a GPU each. Every call is made by all of them, in the same order: each
/// waits there for the others.
/// </summary>
public interface IRankGroup
{
    /// <summary>Number of this process, from 0 to <see cref="Size"/> − 1.</summary>
    int Rank { get; }

    /// <summary>W, how many there are; at least 1.</summary>
    int Size { get; }

    /// <summary>Replaces a tensor by its sum over all ranks, the same bits on each. Types narrower than fp32 are added
    /// in fp32.</summary>
    /// <param name="tensor">Floating-point, on any device; of one shape everywhere.</param>
    /// <param name="what">Names the call for people, where somebody does not come to it.</param>
    /// <exception cref="RankGroupException">The ranks did not come to the same call, or the library reports an
    /// error.</exception>
    void Sum(Tensor tensor, string what);

    /// <summary>Replaces a tensor by that of one rank.</summary>
    /// <param name="tensor">Of one shape and type everywhere, on any device.</param>
    /// <param name="from">The rank that has it.</param>
    /// <param name="what">As in <see cref="Sum"/>.</param>
    /// <exception cref="RankGroupException">As in <see cref="Sum"/>.</exception>
    void Broadcast(Tensor tensor, int from, string what);

    /// <summary>What each rank gives, in the order of ranks. Below 2 GiB each.</summary>
    /// <exception cref="RankGroupException">As in <see cref="Sum"/>.</exception>
    byte[][] Gather(ReadOnlySpan<byte> mine, string what);
}

/// <summary>One process by itself: nothing is sent, nothing is copied.</summary>
public sealed class Alone : IRankGroup
{
    private Alone()
    {
    }

    /// <summary>The only one.</summary>
    public static Alone Group { get; } = new();

    public int Rank => 0;

    public int Size => 1;

    public void Sum(Tensor tensor, string what)
    {
    }

    public void Broadcast(Tensor tensor, int from, string what)
    {
    }

    public byte[][] Gather(ReadOnlySpan<byte> mine, string what) => [mine.ToArray()];
}

/// <summary>The ranks cannot go on together: they parted, one is missing, or the library beneath reports an
/// error.</summary>
public sealed class RankGroupException(string message) : InvalidOperationException(message);
