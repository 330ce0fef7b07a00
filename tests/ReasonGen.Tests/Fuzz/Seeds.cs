using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Tests.Fuzz;

/// <summary>Sound inputs, and what repairs a damaged one's checksums, so that what lies behind them is
/// reached.</summary>
internal static class Seeds
{
    private const long Largest = 16 << 10;

    /// <summary>Small fixtures whose path fits one of some patterns; the smallest where all are large.</summary>
    internal static IReadOnlyList<byte[]> Golden(params string[] patterns) => [.. patterns.SelectMany(pattern =>
    {
        var folder = new DirectoryInfo(Tests.Golden.Path(Path.GetDirectoryName(pattern)!));
        var files = folder.GetFiles(Path.GetFileName(pattern)).OrderBy(file => file.Length).ThenBy(file => file.Name,
            StringComparer.Ordinal).ToArray();
        return files.Where((file, i) => i == 0 || file.Length <= Largest).Select(file =>
            File.ReadAllBytes(file.FullName));
    })];

    /// <summary>The first lines of a fixture.</summary>
    internal static byte[] Lines(string name, int count) => Utf8(string.Join('\n',
        File.ReadLines(Tests.Golden.Path(name)).Take(count)) + "\n");

    /// <summary>Lines, each ended.</summary>
    internal static byte[] Written(params string[] lines) => Utf8(string.Concat(lines.Select(line => line + "\n")));

    internal static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text);

    internal static byte[] Json(object value) => Utf8(value is JToken json ? json.ToString()
        : JsonConvert.SerializeObject(value));

    /// <summary>One file of an archive.</summary>
    internal static byte[] Inside(string archive, string name)
    {
        using var zip = ZipFile.OpenRead(Tests.Golden.Path(archive));
        using var stream = zip.Entries.First(entry => entry.FullName.EndsWith(name, StringComparison.Ordinal)).Open();
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }

    /// <summary>An archive as another, with one file replaced and every checksum right.</summary>
    internal static byte[] Rezipped(string archive, string name, byte[] by)
    {
        using var written = new MemoryStream();
        using (var zip = ZipFile.OpenRead(Tests.Golden.Path(archive)))
        using (var made = new ZipArchive(written, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var entry in zip.Entries)
            {
                using var to = made.CreateEntry(entry.FullName, CompressionLevel.NoCompression).Open();
                using var from = entry.Open();
                (entry.FullName.EndsWith(name, StringComparison.Ordinal) ? new MemoryStream(by) : from).CopyTo(to);
            }
        }

        return written.ToArray();
    }

    /// <summary>A safetensors file whose header ends with its last brace.</summary>
    internal static byte[] WithHeaderLength(byte[] file)
    {
        var repaired = file.ToArray();
        if (repaired.Length >= 8)
        {
            BinaryPrimitives.WriteInt64LittleEndian(repaired, repaired.AsSpan(8).LastIndexOf((byte)'}') + 1);
        }

        return repaired;
    }

    /// <summary>A PNG whose chunks have the checksums that their bytes ask for.</summary>
    internal static byte[] WithChunkSums(byte[] png)
    {
        var repaired = png.ToArray();
        for (var at = 8; at + 12 <= repaired.Length;)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(repaired.AsSpan(at));
            if (length < 0 || length > repaired.Length - at - 12)
            {
                break;
            }

            var crc = Crc32.HashToUInt32(repaired.AsSpan(at + 4, length + 4));
            BinaryPrimitives.WriteUInt32BigEndian(repaired.AsSpan(at + 8 + length), crc);
            at += length + 12;
        }

        return repaired;
    }

    /// <summary>A run's state whose checksum is that of its bytes.</summary>
    internal static byte[] WithStateSum(byte[] state)
    {
        var repaired = state.ToArray();
        var at = repaired.AsSpan().IndexOf("\"reasongen_checksum\":\""u8);
        if (at < 0 || at + 22 + 32 > repaired.Length)
        {
            return repaired;
        }

        var sum = repaired.AsSpan(at + 22, 32);
        sum.Fill((byte)'0');
        Encoding.ASCII.GetBytes(Convert.ToHexStringLower(XxHash128.Hash(repaired))).CopyTo(sum);
        return repaired;
    }
}
