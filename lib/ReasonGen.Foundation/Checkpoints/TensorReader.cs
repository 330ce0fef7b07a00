using System.Collections.Concurrent;
using System.IO.Hashing;
using System.Numerics;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// Moves tensors from files into memory that exists already, a chunk at a time, so that beside the weights only one
/// chunk a thread is held. Checksums and finiteness are checked on each chunk while it is in the processor's cache; on
/// weights that lie in a mapped file already, that is all.
/// </summary>
/// <param name="finite">Refuse weights that are NaN or infinite.</param>
/// <param name="mapped">Tensors that lie in mapped files already.</param>
/// <param name="filled">Names whose matrices must not be all zeros, which is what a download leaves that reserved its
/// space and broke off.</param>
internal sealed class TensorReader(bool finite, MappedFiles? mapped = null, Func<string, bool>? filled = null)
    : IDisposable
{
    private const int ChunkBytes = 1 << 18, DeviceChunkBytes = 1 << 23; // a copy to a GPU has a price of its own

    private readonly ConcurrentDictionary<string, SafeFileHandle> files = [];
    private readonly ConcurrentDictionary<StoredBytes, bool> intact = [];

    /// <summary>Fills tensors from entries of the same shape, several at a time.</summary>
    /// <exception cref="UnusableFileException">A file became unreadable, is damaged, or holds weights that are not
    /// finite.</exception>
    internal void Fill(IEnumerable<(TensorEntry Entry, Tensor Target)> pairs)
    {
        var options = new ParallelOptions { MaxDegreeOfParallelism = Math.Clamp(Environment.ProcessorCount, 1, 4) };
        try
        {
            Parallel.ForEach(Partitioner.Create(pairs, EnumerablePartitionerOptions.NoBuffering), options,
                pair => Fill(pair.Entry, pair.Target));
        }
        catch (AggregateException e)
        {
            ExceptionDispatchInfo.Throw(e.InnerExceptions.OfType<UnusableFileException>().FirstOrDefault()
                ?? e.InnerExceptions[0]);
        }
    }

    public void Dispose()
    {
        foreach (var file in files.Values)
        {
            file.Dispose();
        }
    }

    private void Fill(TensorEntry entry, Tensor target)
    {
        if (entry.Bytes == 0)
        {
            return;
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        try
        {
            if (entry.Inline is not null)
            {
                target.copy_(Inline(entry));
                return;
            }

            var file = files.GetOrAdd(entry.File, path => File.OpenHandle(path));
            var partial = entry.Strides is not null || entry.Storage?.Bytes != entry.Bytes;
            if (entry.Storage is { Crc: not 0 } storage && partial && intact.TryAdd(storage, true))
            {
                TorchZip.CheckCrc(storage, Crc(file, storage)); // a view does not see all bytes of its storage
            }

            if (entry.Strides is null && target.is_contiguous())
            {
                Stream(file, entry, target.view(-1));
            }
            else
            {
                var whole = empty(entry.Elements, entry.Type, CPU);
                target.copy_(entry.Strides is null ? Streamed(file, entry, whole).view(entry.Shape)
                    : View(file, entry));
            }
        }
        catch (FormatException e)
        {
            throw new UnusableFileException(entry.File, e.Message, "download or write the file again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(entry.File, e);
        }
    }

    private Tensor Streamed(SafeFileHandle file, TensorEntry entry, Tensor whole)
    {
        Stream(file, entry, whole);
        return whole;
    }

    // straight into the target where type and place are the same, else over one chunk
    private void Stream(SafeFileHandle file, TensorEntry entry, Tensor flat)
    {
        var direct = flat.dtype == entry.Type && flat.device_type == DeviceType.CPU;
        var there = mapped?.Holds(entry, flat) ?? false;
        long width = ElementTypes.SizeOf(entry.Type),
            step = (flat.device_type == DeviceType.CPU ? ChunkBytes : DeviceChunkBytes) / width;
        using var chunk = direct ? null : empty(Math.Min(step, entry.Elements), entry.Type, CPU);
        var crc = entry.Storage is { Crc: not 0 } storage && storage.Bytes == entry.Bytes ? new Crc32() : null;
        var blank = entry.Shape.Length > 1 && filled?.Invoke(entry.Name) == true;
        for (long at = 0; at < entry.Elements; at += step)
        {
            using var place = flat.narrow(0, at, Math.Min(step, entry.Elements - at));
            using var part = direct ? null : chunk!.narrow(0, 0, place.numel());
            var bytes = (part ?? place).bytes;
            if (!there)
            {
                ReadAt(file, bytes, entry.Begin + at * width);
            }

            crc?.Append(bytes);
            CheckFinite(bytes, entry);
            blank = blank && !bytes.ContainsAnyExcept((byte)0);
            if (part is not null)
            {
                place.copy_(part);
            }
        }

        if (blank)
        {
            throw new UnusableFileException(entry.File,
                $"'{entry.Name}' holds nothing but zeros, as an unfinished download leaves it",
                "download the file again");
        }

        if (crc is not null)
        {
            TorchZip.CheckCrc(entry.Storage!, crc.GetCurrentHashAsUInt32());
        }
    }

    private Tensor Inline(TensorEntry entry)
    {
        var whole = empty(entry.Elements, entry.Type, CPU);
        entry.Inline!.CopyTo(whole.bytes);
        CheckFinite(whole.bytes, entry);
        return entry.Strides is { } strides ? whole.as_strided(entry.Shape, strides, 0) : whole.view(entry.Shape);
    }

    // strides other than row after row: the span that they cover, seen through them
    private Tensor View(SafeFileHandle file, TensorEntry entry)
    {
        var span =
            empty(1 + entry.Shape.Zip(entry.Strides!).Sum(pair => (pair.First - 1) * pair.Second), entry.Type, CPU);
        ReadAt(file, span.bytes, entry.Begin);
        var view = span.as_strided(entry.Shape, entry.Strides!, 0).contiguous();
        CheckFinite(view.bytes, entry);
        return view;
    }

    private static uint Crc(SafeFileHandle file, StoredBytes storage)
    {
        var (crc, buffer) = (new Crc32(), new byte[Math.Min(ChunkBytes, storage.Bytes)]);
        for (long at = 0; at < storage.Bytes; at += buffer.Length)
        {
            var part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, storage.Bytes - at));
            ReadAt(file, part, storage.Begin + at);
            crc.Append(part);
        }

        return crc.GetCurrentHashAsUInt32();
    }

    private static void ReadAt(SafeFileHandle file, Span<byte> bytes, long offset)
    {
        for (int done = 0, read; done < bytes.Length; done += read)
        {
            if ((read = RandomAccess.Read(file, bytes[done..], offset + done)) == 0)
            {
                throw new FormatException("the file became shorter while it was read");
            }
        }
    }

    private void CheckFinite(ReadOnlySpan<byte> bytes, TensorEntry entry)
    {
        // not finite: all bits of the exponent are set
        var sound = !finite || entry.Type switch
        {
            ScalarType.BFloat16 => AllFinite<ushort>(bytes, 0x7F80),
            ScalarType.Float16 => AllFinite<ushort>(bytes, 0x7C00),
            ScalarType.Float32 => AllFinite(bytes, 0x7F800000u),
            ScalarType.Float64 => AllFinite(bytes, 0x7FF0000000000000ul),
            _ => true,
        };
        if (!sound)
        {
            throw new UnusableFileException(entry.File, $"'{entry.Name}' holds NaN or infinite weights",
                "use a checkpoint from before training went wrong");
        }
    }

    private static bool AllFinite<T>(ReadOnlySpan<byte> bytes, T exponent) where T : unmanaged, IBinaryInteger<T>
    {
        var values = MemoryMarshal.Cast<byte, T>(bytes);
        var vectors = MemoryMarshal.Cast<T, Vector<T>>(values);
        var (mask, found) = (new Vector<T>(exponent), Vector<T>.Zero);
        foreach (var vector in vectors)
        {
            found |= Vector.Equals(vector & mask, mask);
        }

        var sound = found == Vector<T>.Zero;
        foreach (var value in values[(vectors.Length * Vector<T>.Count)..])
        {
            sound &= (value & exponent) != exponent;
        }

        return sound;
    }
}
