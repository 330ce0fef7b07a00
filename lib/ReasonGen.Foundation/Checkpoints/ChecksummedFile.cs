using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text;
using ReasonGen.Files;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// A safetensors file whose header holds the XXH128 of the whole file, taken with zeros in its own place: a changed
/// byte anywhere is found.
/// </summary>
internal static class ChecksummedFile
{
    private const string ChecksumKey = "reasongen_checksum";
    private static readonly byte[] NoChecksum = [.. Enumerable.Repeat((byte)'0', 32)];

    /// <summary>Writes the file, whole or not at all.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">It must not be written.</exception>
    internal static void Save(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors,
        IEnumerable<(string Key, string Text)> metadata)
    {
        Dictionary<string, string> texts = new() { [ChecksumKey] = Encoding.ASCII.GetString(NoChecksum) };
        foreach (var (key, text) in metadata)
        {
            texts.Add(key, text);
        }

        AtomicFile.Write(path, file =>
        {
            using var hashing = new HashingStream(file);
            Safetensors.Write(hashing, tensors, texts);
            file.Position = 0;
            file.Position = PlaceOfChecksum(ReadHeader(file));
            file.Write(hashing.Checksum());
        });
    }

    /// <summary>Compares the checksum with the bytes.</summary>
    /// <exception cref="UnusableFileException">It is missing or does not fit, or the file cannot be read.</exception>
    internal static void Verify(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            var header = ReadHeader(file);
            var place = PlaceOfChecksum(header) - 8;
            if (place < 0)
            {
                throw new UnusableFileException(path,
                    "it has no checksum, so that nobody can tell whether it is whole: an earlier version of the kit "
                    + "wrote it",
                    "end the run with that version, or delete the file to begin the run anew");
            }

            var written = header.AsSpan(place, NoChecksum.Length).ToArray();
            NoChecksum.CopyTo(header.AsSpan(place));
            var hash = new XxHash128();
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            hash.Append(length);
            hash.Append(header);
            hash.Append(file);
            if (!written.AsSpan().SequenceEqual(Hexadecimal(hash)))
            {
                throw new UnusableFileException(path,
                    "its checksum does not fit its bytes: it was damaged or changed after it was written",
                    "resume from an earlier state, or delete the file to begin the run anew");
            }
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }

    private static byte[] ReadHeader(Stream file)
    {
        var prefix = new byte[8];
        file.ReadExactly(prefix);
        var header = new byte[BinaryPrimitives.ReadInt64LittleEndian(prefix)];
        file.ReadExactly(header);
        return header;
    }

    // in the file; less than 8 where there is none. No other text of a header can look like it: quotes within texts are
    // escaped.
    private static int PlaceOfChecksum(byte[] header)
    {
        var name = Encoding.ASCII.GetBytes($"\"{ChecksumKey}\":\"");
        var at = header.AsSpan().IndexOf(name);
        return at < 0 || at + name.Length + NoChecksum.Length > header.Length ? 0 : 8 + at + name.Length;
    }

    private static byte[] Hexadecimal(XxHash128 hash) =>
        Encoding.ASCII.GetBytes(Convert.ToHexStringLower(hash.GetCurrentHash()));

    // What goes through it, summed up.
    private sealed class HashingStream(Stream inner) : Stream
    {
        private readonly XxHash128 hash = new();

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => inner.Length;

        public override long Position { get => inner.Position; set => throw new NotSupportedException(); }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            hash.Append(buffer);
            inner.Write(buffer);
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        internal byte[] Checksum() => Hexadecimal(hash);
    }
}
