using System.Text;

namespace ReasonGen.Checkpoints;

/// <summary>What a checkpoint file is, judged by its first bytes; its name decides nothing but the wording of an
/// error.</summary>
internal enum FileKind
{
    /// <summary>Length, JSON header, data.</summary>
    Safetensors,

    /// <summary>torch.save since version 1.6: a zip container.</summary>
    TorchZip,

    /// <summary>torch.save before: pickles, then data.</summary>
    TorchLegacy,

    /// <summary>A pickle without a container; it may hold arrays of numpy.</summary>
    Pickle,
}

internal static class FileKinds
{
    // the pickled number with which torch.save began
    internal static readonly byte[] LegacyMagic = [0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8,
        0x50, 0x19, (byte)'.'];

    /// <exception cref="UnusableFileException">There is no such file, it is a pipe, or none of the kinds; the message
    /// says what it seems to be.</exception>
    internal static FileKind Of(string path)
    {
        var buffer = new byte[64];
        int read;
        try
        {
            using var file = OpenRead(path);
            read = file.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
        }
        catch (Exception e) when (IsAboutFile(e))
        {
            throw Unreadable(path, e);
        }

        var head = buffer.AsSpan(0, read);
        var text = Encoding.Latin1.GetString(head).TrimStart().ToLowerInvariant();
        var safetensors = path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase);
        return 0 switch
        {
            _ when read > 8 && head[8] == '{' && head[4..8].IndexOfAnyExcept((byte)0) < 0 => FileKind.Safetensors,
            _ when head.StartsWith("PK\x03\x04"u8) || head.StartsWith("PK\x05\x06"u8) => FileKind.TorchZip,
            _ when head.StartsWith(LegacyMagic) => FileKind.TorchLegacy,
            _ when text.StartsWith("version https://git-lfs") =>
                throw new UnusableFileException(path, "it is a Git LFS pointer, not the file it stands for",
                    "fetch the file itself with 'git lfs pull'"),
            _ when text.StartsWith("<!doctype") || text.StartsWith("<html") =>
                throw new UnusableFileException(path, "it is a web page, probably the answer to a download that failed",
                    "download the file again"),
            _ when head.StartsWith("GGUF"u8) => throw new UnusableFileException(path, "it is a GGUF file of llama.cpp",
                "use the safetensors or torch files of the same model"),
            _ when head.StartsWith((ReadOnlySpan<byte>)[0x89, (byte)'H', (byte)'D', (byte)'F']) =>
                throw new UnusableFileException(path, "it is an HDF5 file",
                    "use the safetensors or torch files of the same model"),
            _ when read > 0 && head.IndexOfAnyExcept((byte)0) < 0 => throw new UnusableFileException(path,
                "it begins with nothing but zeros, as an unfinished download does", "download the file again"),
            _ when safetensors && read > 0 => FileKind.Safetensors,
            _ when read == 0 =>
                throw new UnusableFileException(path, "the file is empty", "download or write the file again"),
            _ when head[0] == 0x80 => FileKind.Pickle,
            _ => throw new UnusableFileException(path,
                "it begins neither like a safetensors file nor like one of torch.save",
                "give a .safetensors or .bin file"),
        };
    }

    /// <summary>Whether an exception is about a file that was to be read: a part of this program that is missing is
    /// another matter.</summary>
    internal static bool IsAboutFile(Exception e) => e is UnauthorizedAccessException
        || e is IOException and not FileLoadException
            && !(e is FileNotFoundException { FileName: { } name } && name.Contains(", Culture="));

    internal static UnusableFileException Unreadable(string path, Exception e) =>
        e is not (FileNotFoundException or DirectoryNotFoundException)
        ? new(path, $"it could not be read: {e.Message.TrimEnd('.')}", "", e)
        : LinkTarget(path) is { } target ? new(path, $"it is a link to '{target}', which is not there",
            "fetch what it stands for, or give the files themselves", e)
        : new(path, "there is no such file", "check the path, or download the file", e);

    /// <summary>Bytes of a file; of what a link leads to, where it is one.</summary>
    /// <exception cref="UnusableFileException">It is a pipe, whose end nobody knows.</exception>
    internal static long Length(string path)
    {
        using var file = OpenRead(path);
        return file.Length;
    }

    /// <summary>Opens a file that is read more than once, or not from its beginning to its end.</summary>
    /// <exception cref="UnusableFileException">It is a pipe.</exception>
    internal static FileStream OpenRead(string path)
    {
        var file = IsNamedPipe(path) ? throw Pipe(path) : File.OpenRead(path);
        if (file.CanSeek)
        {
            return file;
        }

        file.Dispose();
        throw Pipe(path);
    }

    /// <summary>Whether a path leads to a pipe that lies in a folder like a file, as mkfifo makes it: to open one that
    /// nobody writes to would wait for ever. What a shell makes of &lt;(…) is none.</summary>
    internal static bool IsNamedPipe(string path)
    {
        try
        {
            var file = new FileInfo(path);
            file = file.ResolveLinkTarget(returnFinalTarget: true) as FileInfo ?? file;
            if (OperatingSystem.IsWindows() || file is not { Exists: true, Length: 0 })
            {
                return false;
            }

            // opened for both ways, a pipe waits for nobody; an empty file stays as it is
            using var both = new FileStream(file.FullName, FileMode.Open, FileAccess.ReadWrite,
                FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
            return !both.CanSeek;
        }
        catch (Exception e) when (IsAboutFile(e))
        {
            return false; // whoever opens it is told why it cannot be
        }
    }

    /// <summary>The path itself, of a file that is read at once.</summary>
    /// <exception cref="IOException">A pipe lies there like a file.</exception>
    internal static string NoPipe(string path) => IsNamedPipe(path) ? throw new IOException("it is a pipe") : path;

    /// <summary>That a pipe was given in place of a file.</summary>
    internal static UnusableFileException Pipe(string path) =>
        new(path, "it is a pipe", "write what comes out of it to a file and give that");

    private static string? LinkTarget(string path)
    {
        try
        {
            return new FileInfo(path).LinkTarget;
        }
        catch (Exception e) when (IsAboutFile(e))
        {
            return null;
        }
    }
}
