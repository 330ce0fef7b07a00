using Microsoft.Win32.SafeHandles;

namespace ReasonGen.Checkpoints;

/// <summary>
/// Weights that lie twice in one folder, as model.safetensors beside pytorch_model.bin: one of them would be read and
/// the other silently not. They are compared in the shapes and the first bytes of the tensors that both have; what
/// cannot be read at all does not count, such as the index of a form that was never downloaded.
/// </summary>
internal static class SecondWeights
{
    private const int Sample = 1 << 12; // bytes of a tensor

    /// <exception cref="UnusableFileException">The two differ.</exception>
    internal static void Check(CheckpointFiles read, string other, bool unwrap)
    {
        CheckpointFiles second;
        try
        {
            second = CheckpointFiles.OpenFile(other, other, unwrap);
        }
        catch (UnusableFileException)
        {
            return;
        }

        var names = second.Entries.ToDictionary(entry => entry.Name);
        var both = read.Entries.Where(entry => names.ContainsKey(entry.Name))
            .Select(entry => (One: entry, Other: names[entry.Name])).ToArray();
        var shape = both.FirstOrDefault(pair => !pair.One.Shape.SequenceEqual(pair.Other.Shape)).One?.Name;
        if ((shape ?? Different(both)) is { } name)
        {
            throw new UnusableFileException(read.Path,
                $"it holds two sets of weights that differ, {Path.GetFileName(read.Files[0])} and "
                + $"{Path.GetFileName(second.Files[0])}: '{name}' is not the same in both",
                "remove those that are out of date, or give the file itself");
        }
    }

    private static string? Different((TensorEntry One, TensorEntry Other)[] pairs)
    {
        var handles = new Dictionary<string, SafeFileHandle>();
        try
        {
            return pairs
                .Where(pair =>
                    pair.One.Type == pair.Other.Type
                        && pair is { One.Strides: null, Other.Strides: null, One.Inline: null, Other.Inline: null }
                && !Begin(pair.One).SequenceEqual(Begin(pair.Other))).Select(pair => pair.One.Name).FirstOrDefault();
        }
        finally
        {
            handles.Values.ToList().ForEach(handle => handle.Dispose());
        }

        ReadOnlySpan<byte> Begin(TensorEntry entry)
        {
            if (!handles.TryGetValue(entry.File, out var handle))
            {
                handles.Add(entry.File, handle = File.OpenHandle(entry.File));
            }

            var bytes = new byte[Math.Min(Sample, entry.Bytes)];
            return bytes.AsSpan(0, RandomAccess.Read(handle, bytes, entry.Begin));
        }
    }
}
