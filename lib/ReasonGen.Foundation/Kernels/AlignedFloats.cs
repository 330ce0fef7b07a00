using System.Runtime.CompilerServices;

namespace ReasonGen.Kernels;

/// <summary>Memory of fp32 that begins at a line of the cache, and that the collector frees but never moves.</summary>
internal sealed unsafe class AlignedFloats
{
    private const int Line = 64;
    private readonly float[] memory; // what keeps it alive

    internal AlignedFloats(long count)
    {
        memory = GC.AllocateArray<float>(checked((int)count + Line / sizeof(float)), pinned: true);
        var first = (nint)Unsafe.AsPointer(ref memory[0]);
        Address = (float*)((first + Line - 1) / Line * Line);
        Count = count;
    }

    internal float* Address { get; }

    internal long Count { get; }
}

/// <summary>Memory that kernels lend each other, since new memory has to be cleared and fetched first.</summary>
internal static class FloatPool
{
    private const long MostKept = 1 << 25; // values

    private static readonly List<AlignedFloats> Spare = [];

    /// <summary>Memory of at least so many values, whatever they are.</summary>
    internal static AlignedFloats Rent(long count)
    {
        lock (Spare)
        {
            var best = -1;
            for (var i = 0; i < Spare.Count; i++)
            {
                if (Spare[i].Count >= count && Spare[i].Count <= 4 * count
                    && (best < 0 || Spare[i].Count < Spare[best].Count))
                {
                    best = i;
                }
            }

            if (best >= 0)
            {
                var found = Spare[best];
                Spare.RemoveAt(best);
                return found;
            }
        }

        return new(count + count / 8); // blocks differ by a few tokens
    }

    /// <summary>Gives memory back that nobody reads any more; nothing where there is none.</summary>
    internal static void Return(AlignedFloats? memory)
    {
        lock (Spare)
        {
            if (memory is not null)
            {
                Spare.Add(memory);
            }

            while (Spare.Sum(one => one.Count) > MostKept)
            {
                Spare.RemoveAt(0); // what has lain there longest
            }
        }
    }
}
