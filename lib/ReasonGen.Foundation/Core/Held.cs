using System.Collections.Concurrent;
using TorchSharp;

namespace ReasonGen.Core;

/// <summary>
/// Numbers for libtorch that are never collected. TorchSharp makes a <see cref="Scalar"/> of a number at each call and
/// does not keep it while libtorch reads it: where several threads compute, the collection that one of them starts may
/// free another's. Whatever runs beside other threads takes its constants from here.
/// </summary>
internal static class Held
{
    private static readonly ConcurrentDictionary<double, Scalar> Floats = [];
    private static readonly ConcurrentDictionary<long, Scalar> Integers = [];

    /// <summary>A constant of a model or of its settings: each that was asked for is kept for good.</summary>
    internal static Scalar Of(double value) => Floats.GetOrAdd(value, number => number);

    /// <summary>Likewise.</summary>
    internal static Scalar Of(long value) => Integers.GetOrAdd(value, number => number);
}
