// What libtorch's exponential_(1, generator) draws on a CPU, several times as fast: the Mersenne Twister MT19937, two
// words a number,
//   e = −ln(1 − u), u = 53 bits of the two / 2⁵³.
// The twist of all 624 words is one loop over vectors: a word depends on words at least 227 places before it.
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ReasonGen.Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Exponential noise from a seed, in the numbers and the order of a libtorch CPU generator of that
/// seed.</summary>
internal sealed class ExponentialNoise
{
    private const int Words = 624, Ahead = 397;

    private readonly uint[] words = new uint[2 * Words]; // the last ones, and room for those to come
    private readonly double[] rest = new double[Words / 2]; // 1 − u
    private readonly float[] ready = new float[Words / 2];
    private readonly long seed;
    private int at = Words / 2;
    private long seeds;

    /// <param name="seed">Its lower 32 bits count, as in libtorch.</param>
    internal ExponentialNoise(long seed)
    {
        this.seed = seed;
        words[0] = (uint)seed;
        for (var i = 1u; i < Words; i++)
        {
            words[i] = 1812433253 * (words[i - 1] ^ words[i - 1] >> 30) + i;
        }
    }

    /// <summary>The next numbers as a tensor on the CPU.</summary>
    internal unsafe Tensor Next(long rows, long columns)
    {
        var noise = empty([rows, columns], ScalarType.Float32, CPU);
        var to = new Span<float>((void*)Bf16Kernels.Address(noise), checked((int)noise.numel()));
        while (to.Length > 0)
        {
            if (at == ready.Length)
            {
                Twist();
            }

            var some = Math.Min(to.Length, ready.Length - at);
            ready.AsSpan(at, some).CopyTo(to);
            at += some;
            to = to[some..];
        }

        return noise;
    }

    /// <summary>Seeds a generator that is not the CPU's, another at each call.</summary>
    internal long NextSeed() => Seeds.Mix(seed, ++seeds);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Twist()
    {
        for (var i = 0; i < Words; i += Vector<uint>.Count)
        {
            var (high, low) = (new Vector<uint>(words, i), new Vector<uint>(words, i + 1));
            var both = high & new Vector<uint>(0x80000000) | low & new Vector<uint>(0x7fffffff);
            var odd = Vector<uint>.Zero - (both & Vector<uint>.One);
            both = new Vector<uint>(words, i + Ahead) ^ both >> 1 ^ odd & new Vector<uint>(0x9908b0df);
            both.CopyTo(words, i + Words);
        }

        words.AsSpan(Words).CopyTo(words);
        for (var i = Words; i < 2 * Words; i += Vector<uint>.Count)
        {
            var word = new Vector<uint>(words, i);
            word ^= word >> 11;
            word ^= word << 7 & new Vector<uint>(0x9d2c5680);
            word ^= word << 15 & new Vector<uint>(0xefc60000);
            (word ^ word >> 18).CopyTo(words, i);
        }

        for (var i = 0; i < rest.Length; i++)
        {
            var bits = (long)(words[Words + 2 * i] & 0x1fffff) << 32 | words[Words + 2 * i + 1];
            rest[i] = ((1L << 53) - bits) * (1.0 / (1L << 53)); // exact
        }

        var vectors = MemoryMarshal.Cast<double, Vector<double>>(rest.AsSpan());
        for (var i = 0; i < vectors.Length; i++)
        {
            vectors[i] = Vector<double>.Zero - Vector.Log(vectors[i]);
        }

        for (var i = 0; i < rest.Length; i++)
        {
            ready[i] = (float)rest[i];
        }

        at = 0;
    }
}
