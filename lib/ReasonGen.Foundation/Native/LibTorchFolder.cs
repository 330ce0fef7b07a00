using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace ReasonGen.Native;

/// <summary>A folder that should hold libtorch's own files, read without loading any of them.</summary>
/// <param name="Folder">Where the files lie: torch/lib of a PyTorch installation, lib of an unpacked libtorch, or any
/// folder with them.</param>
/// <param name="Source">How it was found, in words: "named by REASONGEN_LIBTORCH".</param>
internal sealed partial record LibTorchFolder(string Folder, string Source)
{
    /// <summary>
    /// The versions that hold every symbol of TorchSharp 0.107's native library. It was built for 2.10; the wheels of
    /// PyTorch 2.8 and 2.9 lack 12 and 10 of its 1,320 symbols, those of 2.13 and 2.14 lack 15.
    /// </summary>
    internal const string Range = "2.10 to 2.12";

    private static readonly Version Oldest = new(2, 10), Newest = new(2, 12);

    // of ELF files: the processor they are for
    private static readonly Dictionary<int, (string Name, Architecture Kind)> Machines = new()
    {
        [3] = ("x86", Architecture.X86), [40] = ("arm", Architecture.Arm), [62] = ("x64", Architecture.X64),
        [183] = ("arm64", Architecture.Arm64),
    };

    /// <summary>
    /// The folder itself, or the one below it that has the files: of PyTorch's folder, its site-packages, or
    /// libtorch's folder.
    /// </summary>
    internal static LibTorchFolder At(string named, string source) =>
        new(new[] { "", "lib", Path.Combine("torch", "lib") }.Select(below => Path.Combine(named, below))
            .FirstOrDefault(folder => File.Exists(FileIn(folder, "torch_cpu")), named), source);

    /// <summary>
    /// Version and kind as the installation states them: "2.11.0+cu130"; null where nothing states them.
    /// </summary>
    internal string? Stated { get; } = StatedIn(Folder);

    /// <summary>The version of CUDA it was built for, or null.</summary>
    internal string? Cuda { get; } = File.Exists(FileIn(Folder, "torch_cuda")) ? CudaOf(Folder) : null;

    /// <summary>What it is, in a few words.</summary>
    internal string Description => $"libtorch from {Folder}, {Source}; "
        + (Stated is null ? "its version is stated nowhere" : $"version {Stated}") + (Cuda is null ? "" : ", CUDA "
        + $"{Cuda}");

    /// <summary>
    /// Why it cannot be used, as the end of a sentence that begins with the folder; null where nothing speaks against
    /// it.
    /// </summary>
    internal string? Problem()
    {
        var file = FileIn(Folder, "torch_cpu");
        if (!File.Exists(file))
        {
            return !Directory.Exists(Folder) ? "is no folder"
                : $"has no {Path.GetFileName(file)} in it, nor in 'lib' or 'torch/lib' below it";
        }

        return Foreign(file) ?? (Number(Stated) is { } version && (version < Oldest || version > Newest)
            ? $"holds libtorch {Stated}" : null);
    }

    /// <summary>A library's file in a folder.</summary>
    internal static string FileIn(string folder, string name) => Path.Combine(folder,
        OperatingSystem.IsWindows() ? name + ".dll" : OperatingSystem.IsMacOS() ? $"lib{name}.dylib" : $"lib{name}.so");

    /// <summary>The first two parts of a stated version.</summary>
    internal static Version? Number(string? stated) =>
        stated is not null && Numbers().Match(stated) is { Success: true } match
        ? new(int.Parse(match.Groups[1].Value), int.Parse(match.Groups[2].Value)) : null;

    // Linux alone: elsewhere the system's own words about a library for another processor are clear
    private static string? Foreign(string file)
    {
        if (!OperatingSystem.IsLinux())
        {
            return null;
        }

        try
        {
            using var stream = File.OpenRead(file);
            var head = new byte[20];
            if (stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) < head.Length
                || !head.AsSpan(0, 4).SequenceEqual("\u007fELF"u8))
            {
                return $"has a {Path.GetFileName(file)} that is no library of Linux";
            }

            var machine = BinaryPrimitives.ReadUInt16LittleEndian(head.AsSpan(18));
            var (name, kind) = Machines.GetValueOrDefault(machine,
                ($"a processor of the number {machine}", (Architecture)(-1)));
            return kind == RuntimeInformation.ProcessArchitecture ? null
                : $"holds a libtorch for {name}, and this process runs on "
                    + $"{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()}";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"cannot be read: {e.Message.TrimEnd('.')}";
        }
    }

    // torch/version.py beside torch/lib; build-version beside lib of an unpacked libtorch; a package's folder is named
    // by its version
    private static string? StatedIn(string folder)
    {
        var above = Path.GetDirectoryName(Path.GetFullPath(folder)) ?? folder;
        return PythonVersion().Match(Text(Path.Combine(above, "version.py"))) is { Success: true } python
            ? python.Groups[1].Value
            : Text(Path.Combine(above, "build-version")).Trim() is { Length: > 0 and < 100 } zip ? zip
            : PackageVersion().Match(folder) is { Success: true } package ? package.Groups[1].Value : null;
    }

    private static string CudaOf(string folder) =>
        CudaVersion().Match(Text(Path.Combine(folder, "..", "version.py"))) is { Success: true } match
            ? match.Groups[1].Value : "of some version";

    private static string Text(string file)
    {
        try
        {
            return File.Exists(file) && new FileInfo(file).Length < 1 << 16 ? File.ReadAllText(file) : "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    [GeneratedRegex(@"^(\d{1,4})\.(\d{1,4})")]
    private static partial Regex Numbers();

    [GeneratedRegex(@"^__version__[^=\n]*=\s*['""]([^'""\n]{1,60})['""]", RegexOptions.Multiline)]
    private static partial Regex PythonVersion();

    [GeneratedRegex(@"^cuda\b[^=\n]*=\s*['""]([^'""\n]{1,20})['""]", RegexOptions.Multiline)]
    private static partial Regex CudaVersion();

    [GeneratedRegex(@"[\\/]libtorch-[^\\/]+[\\/](\d+\.\d+\.\d+)[\\/]runtimes[\\/]")]
    private static partial Regex PackageVersion();
}
