using System.Security.Cryptography;
using Microsoft.Win32.SafeHandles;

namespace ReasonGen.Files;

/// <summary>Tells large files apart without reading them whole.</summary>
internal static class FileSamples
{
    private const int Samples = 16, SampleBytes = 1 << 16;

    /// <summary>Adds samples spread over a file's bytes to a hash, its first and last ones among them.</summary>
    internal static void Append(IncrementalHash hash, SafeFileHandle file, long length)
    {
        var (sample, whole) = (new byte[SampleBytes], length <= Samples * SampleBytes);
        for (var i = 0; i < Samples; i++)
        {
            var at = whole ? (long)i * SampleBytes : (length - SampleBytes) / (Samples - 1) * i;
            hash.AppendData(sample, 0, at < length ? RandomAccess.Read(file, sample, at) : 0);
        }
    }
}
