// Archives of torch.jit.save (pytorch: torch/csrc/jit/serialization/export_module.cpp): the container of torch.save,
// with the source of the
// classes under code/ and, in data.pkl, a tree of objects. An object is a class of __torch__ and a dictionary of its
// attributes, so that the
// weights and their names can be read without a line of that code.

namespace ReasonGen.Checkpoints;

/// <summary>The weights in an archive of TorchScript, as OpenAI published CLIP.</summary>
internal static class TorchScriptFile
{
    /// <summary>Whether a file is such an archive; false for whatever cannot be read as a zip container.</summary>
    /// <exception cref="UnusableFileException">The file is missing, or nothing that holds weights.</exception>
    internal static bool Is(string path)
    {
        if (path.EndsWith(".index.json", StringComparison.OrdinalIgnoreCase) || FileKinds.Of(path) != FileKind.TorchZip)
        {
            return false;
        }

        try
        {
            using var file = File.OpenHandle(path);
            return TorchZip.Entries(file, program: true).ContainsKey("constants.pkl");
        }
        catch (FormatException)
        {
            return false; // whoever reads it will say why
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }

    /// <summary>The tensors by the paths of attributes that lead to them, in the order of the file.</summary>
    /// <exception cref="UnusableFileException">The archive is unsound; nothing in it is ever executed.</exception>
    internal static IReadOnlyList<TensorEntry> Read(string path)
    {
        try
        {
            using var file = File.OpenHandle(path);
            var entries = TorchZip.Entries(file, program: true);
            var pickled = entries.TryGetValue("data.pkl", out var entry) ? TorchZip.Content(file, entry,
                TorchFile.LargestPickle)
                : throw new FormatException("it lacks the entry data.pkl");
            var pickle = new Pickle(pickled, 0, modules: true);
            var saved = pickle.Read();
            return TorchFile.Tensors(path, RandomAccess.GetLength(file), saved, pickle.Steps,
                unwrap: false,
                key => entries.GetValueOrDefault("data/" + key));
        }
        catch (FormatException e)
        {
            throw new UnusableFileException(path, $"not a sound archive of TorchScript: {e.Message}",
                "download the file again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }
}
