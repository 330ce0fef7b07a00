namespace ReasonGen.TrainingData;

/// <summary>A file whose reader may begin at checked pages only, and is told when there is nothing more: the package
/// takes the end for endless 0xFF.</summary>
internal sealed class ParquetPages(FileStream file, HashSet<long> pages) : Stream
{
    public override bool CanRead => true;

    public override bool CanSeek => true;

    public override bool CanWrite => false;

    public override long Length => file.Length;

    public override long Position { get => file.Position; set => file.Position = value; }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer) =>
        file.Read(buffer) is var read && (read > 0 || buffer.Length == 0) ? read
        : throw new EndOfStreamException("it ends where more should follow");

    public override int ReadByte() => file.ReadByte() is >= 0 and var value ? value
        : throw new EndOfStreamException("it ends where more should follow");

    public override long Seek(long offset, SeekOrigin origin) =>
        origin != SeekOrigin.Begin || pages.Contains(offset) ? file.Seek(offset, origin)
            : throw new FormatException("its pages hold fewer values than they say");

    public override void Flush()
    {
    }

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        file.Dispose();
        base.Dispose(disposing);
    }
}
