using System.Diagnostics;
using System.Runtime.InteropServices;
using ReasonGen.Native;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Native;

/// <summary>libtorch from elsewhere: the folder that REASONGEN_LIBTORCH names, a PyTorch installation, or
/// none.</summary>
public sealed class LibTorchFolderTests : IDisposable
{
    private const int X64 = 62, Arm64 = 183; // of ELF
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen-libtorch-test").FullName;
    private readonly string here = Path.GetDirectoryName(typeof(NativeRuntime).Assembly.Location)!;

    public LibTorchFolderTests() => Assert.SkipUnless(OperatingSystem.IsLinux()
        && RuntimeInformation.ProcessArchitecture == Architecture.X64, "libraries of Linux on x64 are looked at");

    public void Dispose() => Directory.Delete(folder, true);

    [Theory]
    [InlineData("2.10.0", true)]
    [InlineData("2.11.0+cu130", true)]
    [InlineData("2.12.1+cpu", true)]
    [InlineData("2.9.1", false)]
    [InlineData("2.13.0+cu130", false)]
    [InlineData("3.0.0", false)]
    [InlineData("1.13.1", false)]
    public void Version_of_an_installation_fits_from_2_10_to_2_12(string version, bool fits)
    {
        Installation(version);

        var found = LibTorchFolder.At(folder, "named");

        Assert.Equal((version, "13.0"), (found.Stated, found.Cuda));
        Assert.Equal(fits ? null : $"holds libtorch {version}", found.Problem());
    }

    [Theory]
    [InlineData("")]
    [InlineData("torch")]
    [InlineData("torch/lib")]
    public void Folder_is_found_from_wherever_one_points(string named)
    {
        Installation("2.11.0");

        Assert.Equal(Path.Combine(folder, "torch", "lib"), LibTorchFolder.At(Path.Combine(folder, named), "").Folder);
    }

    [Fact]
    public void What_holds_no_library_for_this_machine_is_told_apart()
    {
        Assert.Contains("no libtorch_cpu.so in it", LibTorchFolder.At(folder, "").Problem());
        Assert.Contains("is no folder", LibTorchFolder.At(Path.Combine(folder, "absent"), "").Problem());
        Library(folder, Arm64);
        Assert.Contains("for arm64, and this process runs on x64", LibTorchFolder.At(folder, "").Problem());
        File.WriteAllText(Path.Combine(folder, "libtorch_cpu.so"), "version https://git-lfs");
        Assert.Contains("no library of Linux", LibTorchFolder.At(folder, "").Problem());
    }

    [Theory]
    [InlineData("libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by x.so)", "libstdc++ is too old")]
    [InlineData("libc.so.6: version `GLIBC_2.38' not found (required by x.so)", "glibc 2.34 or newer")]
    [InlineData("x.so: undefined symbol: _ZNK5torch", "not libtorch 2.10 to 2.12")]
    [InlineData("libcudnn.so.9: cannot open shared object file: No such file or directory", "not a copy")]
    public void What_the_loader_says_comes_with_what_it_means(string said, string meaning)
    {
        Assert.StartsWith(said, SharedLibrary.Explain(said));
        Assert.Contains(meaning, SharedLibrary.Explain(said));
    }

    [Fact]
    public void Loaded_library_stands_in_for_another_path()
    {
        var file = Directory.GetFiles(RuntimeEnvironment.GetRuntimeDirectory(), "libSystem.Native.so").Single();
        var (first, second) = (Path.Combine(folder, "first.so"), Path.Combine(folder, "second.so"));
        File.Copy(file, first);
        File.Copy(file, second);
        Assert.Null(SharedLibrary.Load(first, out var loaded));

        Assert.True(SharedLibrary.StandInFor(loaded, second));

        Assert.Null(SharedLibrary.Load(second, out var other));
        Assert.Equal(loaded, other);
    }

    [Fact]
    public async Task Named_folder_goes_before_the_libtorch_beside_the_kit()
    {
        LinkLibtorch();

        var (code, output) = await RunAsync(Reasongen.Assembly, ["doctor", "--json"], ("REASONGEN_LIBTORCH", folder));

        Assert.True(code == 0, output);
        Assert.Contains($"libtorch from {folder}/torch/lib, named by REASONGEN_LIBTORCH; version 2.10.0+cpu", output);
    }

    [Theory]
    [InlineData("2.9.0")]
    [InlineData("")]
    public async Task Folder_that_does_not_fit_is_one_sentence_with_the_range(string version)
    {
        if (version.Length > 0)
        {
            Installation(version);
        }

        string[] draw = ["generate", "--model", "tiny", "--prompt", "x", "--out", Path.Combine(folder, "out")];
        var (code, output) = await RunAsync(Reasongen.Assembly, draw, ("REASONGEN_LIBTORCH", folder));

        Assert.Equal(2, code);
        Assert.Single(output.Trim().Split('\n'));
        Assert.Contains("libtorch 2.10 to 2.12", output);
        Assert.Contains("REASONGEN_LIBTORCH", output);
    }

    [Theory]
    [InlineData("VIRTUAL_ENV")]
    [InlineData("CONDA_PREFIX")]
    [InlineData("PATH")]
    public async Task Build_without_libtorch_takes_the_one_of_a_pytorch_installation(string variable)
    {
        LinkLibtorch(Path.Combine("lib", "python3.12", "site-packages"));
        Directory.CreateDirectory(Path.Combine(folder, "bin"));
        File.WriteAllText(Path.Combine(folder, "bin", "python3"), "");

        var (code, output) = await RunAsync(WithoutLibtorch(), ["doctor", "--json"], ("HOME", folder),
            ("VIRTUAL_ENV", ""), ("CONDA_PREFIX", ""), ("PATH", ""), ("REASONGEN_LIBTORCH", ""), ("NUGET_PACKAGES", ""),
            (variable, variable == "PATH" ? Path.Combine(folder, "bin") : folder));

        Assert.True(code == 0, output);
        Assert.Contains($"libtorch from {folder}/lib/python3.12/site-packages/torch/lib, PyTorch of", output);
    }

    [Fact]
    public async Task Build_without_libtorch_says_where_it_looked()
    {
        Installation("2.14.1", Path.Combine("lib", "python3.12", "site-packages"));

        var (code, output) = await RunAsync(WithoutLibtorch(), ["chat", "--model", "tiny", "hello"], ("HOME", folder),
            ("VIRTUAL_ENV", folder), ("CONDA_PREFIX", ""), ("PATH", ""), ("REASONGEN_LIBTORCH", ""),
                ("NUGET_PACKAGES", ""));

        Assert.Equal(2, code);
        Assert.Contains("-p:Torch=none", output);
        Assert.Contains($"{folder}/lib/python3.12/site-packages/torch/lib holds libtorch 2.14.1", output);
    }

    // torch/version.py and the head of a library
    private void Installation(string version, string below = "")
    {
        var lib = Directory.CreateDirectory(Path.Combine(folder, below, "torch", "lib")).FullName;
        Library(lib, X64);
        File.WriteAllText(Path.Combine(lib, "libtorch_cuda.so"), "");
        File.WriteAllText(Path.Combine(lib, "..", "version.py"), $"""
            from typing import Optional
            __all__ = ['__version__', 'cuda']
            __version__ = '{version}'
            cuda: Optional[str] = '13.0'
            """);
    }

    private static void Library(string folder, byte machine) =>
        File.WriteAllBytes(Path.Combine(folder, "libtorch_cpu.so"),
            [.. "\u007fELF\u0002\u0001\u0001"u8, .. new byte[11], machine, 0]);

    // the libraries of this build, in a folder like PyTorch's
    private void LinkLibtorch(string below = "")
    {
        Assert.SkipUnless(File.Exists(Path.Combine(here, "libtorch_cpu.so")), "this build has no libtorch of its own");
        var lib = Directory.CreateDirectory(Path.Combine(folder, below, "torch", "lib")).FullName;
        foreach (var file in Directory.GetFiles(here, "lib*.so*").Where(file => !file.EndsWith("libLibTorchSharp.so")))
        {
            File.CreateSymbolicLink(Path.Combine(lib, Path.GetFileName(file)), file);
        }

        File.WriteAllText(Path.Combine(lib, "..", "version.py"), "__version__ = '2.10.0+cpu'\ncuda = None\n");
    }

    // the command as -p:Torch=none builds it: nothing of libtorch beside it, nor in its list of dependencies
    private string WithoutLibtorch()
    {
        var kit = Directory.CreateDirectory(Path.Combine(folder, "kit")).FullName;
        foreach (var file in Directory.GetFiles(here).Where(file => !Path.GetFileName(file).StartsWith("libtorch")
            && !Path.GetFileName(file).StartsWith("libc10") && !file.EndsWith(".deps.json")))
        {
            var place = Path.Combine(kit, Path.GetFileName(file));
            if (file == Reasongen.Assembly) // the runtime looks where the program itself leads to
            {
                File.Copy(file, place);
            }
            else
            {
                File.CreateSymbolicLink(place, file);
            }
        }

        Directory.CreateSymbolicLink(Path.Combine(kit, "data"), ReasonGen.Studies.Study.DataFolder());
        return Path.Combine(kit, Path.GetFileName(Reasongen.Assembly));
    }

    private static async Task<(int Code, string Output)> RunAsync(string program, string[] words,
        params (string Name, string Value)[] variables)
    {
        var dotnet = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..",
            "dotnet"));
        var start = new ProcessStartInfo(dotnet, [program, .. words])
        {
            WorkingDirectory = Path.GetTempPath(),
        };
        foreach (var (name, value) in variables)
        {
            start.Environment[name] = value;
        }

        var (code, output, error) = await Child.RunAsync(start);
        return (code, output + error);
    }
}
