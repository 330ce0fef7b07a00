using System.Runtime.InteropServices;
using ReasonGen.Native;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class NativeRuntimeTests
{
    [Fact]
    public void What_is_no_elf_file_is_refused()
    {
        Assert.Throws<InvalidDataException>(() =>
            ElfVersionPatch.Apply(
                "MZ, not an ELF file, but long enough to hold a header of sixty-four bytes"u8.ToArray()));
        Assert.Throws<InvalidDataException>(() => ElfVersionPatch.Apply([]));
    }

    [Fact]
    public void The_native_library_is_patched_once_and_a_damaged_one_is_refused()
    {
        var library = NativeRuntimeFolder() is { } folder ? Path.Combine(folder, "libLibTorchSharp.so") : "";
        Assert.SkipUnless(File.Exists(library) && RuntimeInformation.IsOSPlatform(OSPlatform.Linux),
            "the library is patched on Linux only");
        var bytes = File.ReadAllBytes(library);
        ElfVersionPatch.Apply(bytes);
        Assert.False(ElfVersionPatch.Apply(bytes)); // what has been patched needs nothing more
        for (var at = 0x28; at < 0x30; at++)
        {
            bytes[at] = 0x7f; // the section table now lies far outside
        }

        Assert.Throws<InvalidDataException>(() => ElfVersionPatch.Apply(bytes));
    }

    private static string? NativeRuntimeFolder() => Path.GetDirectoryName(typeof(NativeRuntime).Assembly.Location);
}
