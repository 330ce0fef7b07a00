using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// Tensors that are a file's own pages in the kernel's cache: weights of the right type need no copy, and no memory
/// beside that cache. Who writes on such a tensor gets pages of his own; the file never changes. It must not be cut or
/// overwritten in place while the tensors live; put another in its place instead, as the writers here do.
/// </summary>
internal sealed class MappedFiles : IDisposable
{
    private readonly Dictionary<(string File, ScalarType Type), Tensor?> files = [];

    /// <summary>The entry as it lies in its file, in the shape of <paramref name="bare"/>; null where it must be copied
    /// or converted.</summary>
    internal Tensor? Find(TensorEntry entry, Tensor bare, Device device)
    {
        if (device.type != DeviceType.CPU || bare.numel() != entry.Elements || Flat(entry, bare.dtype) is not { } flat)
        {
            return null;
        }

        using var view = flat.view(bare.shape);
        flat.Dispose();
        return empty(0, bare.dtype, CPU).set_(view); // a tensor of its own, not a view of the whole file
    }

    /// <summary>Whether the tensor is what <see cref="Find"/> gave for the entry.</summary>
    internal bool Holds(TensorEntry entry, Tensor target)
    {
        if (target.device_type != DeviceType.CPU || !target.is_contiguous() || target.numel() != entry.Elements
            || Flat(entry, target.dtype) is not { } flat)
        {
            return false;
        }

        using (flat)
        {
            return MetaTensors.Address(flat) == MetaTensors.Address(target);
        }
    }

    public void Dispose()
    {
        foreach (var file in files.Values)
        {
            file?.Dispose();
        }
    }

    private Tensor? Flat(TensorEntry entry, ScalarType type)
    {
        var width = ElementTypes.SizeOf(entry.Type);
        if (entry.Type != type || entry.Elements == 0 || entry.Strides is not null || entry.Inline is not null
            || entry.Begin % width != 0)
        {
            return null;
        }

        Tensor? file;
        lock (files)
        {
            if (!files.TryGetValue((entry.File, type), out file))
            {
                files.Add((entry.File, type), file = Map(entry.File, type));
            }
        }

        return file is not null && file.numel() * width >= entry.Begin + entry.Bytes
            ? file.narrow(0, entry.Begin / width, entry.Elements) : null;
    }

    // Windows does not let a mapped file be replaced.
    private static Tensor? Map(string file, ScalarType type)
    {
        try
        {
            return OperatingSystem.IsWindows() ? null
                : from_file(file, shared: false, FileKinds.Length(file) / ElementTypes.SizeOf(type), type)
                    .DetachFromDisposeScope();
        }
        catch (Exception e) when (e is ExternalException or IOException or UnauthorizedAccessException)
        {
            return null; // a file system without mappings, or an unreadable file, which reading will tell
        }
    }
}
