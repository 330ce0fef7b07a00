using System.Diagnostics;
using System.IO.Compression;
using System.Text.Json;
using Microsoft.DotNet.Interactive.Commands;
using Microsoft.DotNet.Interactive.Events;

namespace ReasonGen.Interactive.Tests;

/// <summary>All packages of the kit, made once of what was built and put into a folder that serves as a feed, and the
/// command installed from it.</summary>
public sealed class Packages : IAsyncLifetime
{
    internal string Folder { get; } = Directory.CreateTempSubdirectory("reasongen-packages").FullName;

    internal string Feed => Path.Combine(Folder, "feed");

    internal string Tool => Path.Combine(Folder, "tool", OperatingSystem.IsWindows() ? "reasongen.exe" : "reasongen");

    /// <summary>Of the packages: no other feed or cache has it.</summary>
    internal string Version { get; } = $"0.0.0-test{Guid.NewGuid():N}";

    private static string Cache => Environment.GetEnvironmentVariable("NUGET_PACKAGES")
        ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");

    public async ValueTask InitializeAsync()
    {
        var (packed, words) = await RunAsync(InteractiveKernel.Root, "dotnet", "pack", "-c", "Release", "--no-build",
            "-v", "q", "-o", Feed, $"-p:Version={Version}");
        Assert.True(packed == 0, words);
        File.WriteAllText(Path.Combine(Folder, "nuget.config"),
            """<configuration><packageSources><clear /><add key="here" value="feed" /></packageSources></configuration>""");
        var (installed, said) = await RunAsync(Folder, "dotnet", "tool", "install", "ReasonGen.Tool", "--version",
            Version, "--tool-path", "tool");
        Assert.True(installed == 0, said);
    }

    public ValueTask DisposeAsync()
    {
        Directory.Delete(Folder, recursive: true);
        foreach (var package in Directory.Exists(Cache) ? Directory.GetDirectories(Cache, "reasongen*") : [])
        {
            var ours = Path.Combine(package, Version);
            if (Directory.Exists(ours))
            {
                Directory.Delete(ours, recursive: true);
            }
        }

        return ValueTask.CompletedTask;
    }

    internal static async Task<(int Code, string Output)> RunAsync(string directory, string program,
        params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = directory, RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        return (process.ExitCode, await output + await error);
    }
}

/// <summary>What the packages hold, and the command as it is installed.</summary>
public sealed class PackageTests(Packages packages) : IClassFixture<Packages>
{
    private const int Megabyte = 1 << 20;

    private const string Start = """
        using ReasonGen.Notebook;
        var kit = Lab.Start("smoke", 1, x => { var shown = display(x); return y => shown.Update(y); });
        """;

    private const string Load = """$"the model is a {kit.Study.Load("sft").GetType().Name}" """;

    [Theory]
    [InlineData("ReasonGen")]
    [InlineData("ReasonGen.Foundation")]
    [InlineData("ReasonGen.Pretrained")]
    [InlineData("ReasonGen.Judges")]
    [InlineData("ReasonGen.Miniature")]
    [InlineData("ReasonGen.Notebook")]
    public void Library_package_holds_documentation_licence_readme_icon_and_symbols(string name)
    {
        var files = Files($"{name}.{packages.Version}.nupkg");

        Assert.All([$"lib/net10.0/{name}.dll", $"lib/net10.0/{name}.xml", "LICENSE", "README.md", "icon.png"],
            file => Assert.Contains(file, files));
        Assert.Contains($"lib/net10.0/{name}.pdb", Files($"{name}.{packages.Version}.snupkg"));
    }

    [Fact]
    public void Miniature_package_holds_the_data_that_ships_and_stays_small()
    {
        var files = Files($"ReasonGen.Miniature.{packages.Version}.nupkg");

        var data = Path.Combine(InteractiveKernel.Root, "data");
        Assert.All(Directory.GetFiles(data, "*", SearchOption.AllDirectories),
            file => Assert.Contains("data/" + Path.GetRelativePath(data, file).Replace('\\', '/'), files));
        Assert.InRange(Size("ReasonGen.Miniature"), 1, 12 * Megabyte);
    }

    [Fact]
    public void Notebook_package_holds_the_extension_where_dotnet_interactive_looks() =>
        Assert.Contains("interactive-extensions/dotnet/ReasonGen.Interactive.dll",
            Files($"ReasonGen.Notebook.{packages.Version}.nupkg"));

    [Fact]
    public void Tool_package_leaves_libtorch_out() => Assert.InRange(Size("ReasonGen.Tool"), 1, 60 * Megabyte);

    [Fact]
    public async Task Package_in_a_dotnet_interactive_notebook_brings_models_and_live_display()
    {
        using var kernel = new InteractiveKernel(packages.Folder);
        var restored = await kernel.SendAsync(new SubmitCode($"""
            #i "nuget:{packages.Feed}"
            #r "nuget: ReasonGen.Notebook, {packages.Version}"
            """));
        var trouble = restored.Events.OfType<CommandFailed>().FirstOrDefault()?.Message;
        Assert.SkipWhen(trouble?.Contains("NU1301") ?? false,
            $"no feed with the other packages is reachable: {trouble}");
        Assert.Null(trouble);
        await kernel.RunAsync(Start);

        Assert.Equal("the model is a Janus",
            (await kernel.RunAsync(Load)).OfType<ReturnValueProduced>().Single().Value);
        Assert.NotEmpty((await kernel.RunAsync("""kit.Live.Run(Enumerable.Range(0, 3), 3, "counting");"""))
            .OfType<DisplayedValueUpdated>());
    }

    [Fact]
    public async Task Installed_doctor_finds_libtorch_and_the_data()
    {
        var (code, output) = await Packages.RunAsync(packages.Folder, packages.Tool, "doctor", "--json");

        Assert.SkipWhen(output.Contains("could not be restored"), $"no feed with libtorch is reachable: {output}");
        Assert.True(code == 0, output);
        Assert.Contains("libtorch from", output);
    }

    [Fact]
    public async Task Installed_run_takes_the_kit_as_a_package_with_its_trained_models()
    {
        WriteNotebook("small.ipynb", "#r \"nuget: ReasonGen.Notebook\"\n" + Start, Load);

        var (code, output) =
            await Packages.RunAsync(packages.Folder, packages.Tool, "run", "small.ipynb", "--out", "out");

        Assert.SkipWhen(output.Contains("could not be restored"), $"no feed with libtorch is reachable: {output}");
        Assert.True(code == 0, output);
        Assert.Contains("the model is a Janus",
            File.ReadAllText(Path.Combine(packages.Folder, "out", "notebooks", "small.ipynb")));
    }

    [Fact]
    public async Task Installed_run_refuses_another_version_of_the_kit()
    {
        WriteNotebook("other.ipynb", "#r \"nuget: ReasonGen.Notebook, 0.0.1\"");

        var (code, output) =
            await Packages.RunAsync(packages.Folder, packages.Tool, "run", "other.ipynb", "--out", "other");

        Assert.Equal(1, code);
        Assert.Contains("runs cells with its own ReasonGen.Notebook", output);
    }

    [Fact]
    public async Task Installed_command_names_a_folder_without_libtorch()
    {
        var (code, output) = await Packages.RunAsync(packages.Folder, "env", "REASONGEN_LIBTORCH=" + packages.Feed,
            packages.Tool, "doctor");

        Assert.Equal(1, code);
        Assert.Contains("REASONGEN_LIBTORCH", output);
    }

    private void WriteNotebook(string name, params string[] cells) =>
        File.WriteAllText(Path.Combine(packages.Folder, name), JsonSerializer.Serialize(new
    {
        cells = cells.Select((cell, i) => new
        {
            cell_type = "code", id = $"c{i}", metadata = new { }, source = cell, outputs = Array.Empty<object>(),
                execution_count = (int?)null,
        }),
        metadata = new { kernelspec = new { display_name = ".NET (C#)", language = "C#", name = ".net-csharp" } },
        nbformat = 4,
        nbformat_minor = 5,
    }));

    private string[] Files(string package)
    {
        using var zip = ZipFile.OpenRead(Path.Combine(packages.Feed, package));
        return [.. zip.Entries.Select(entry => entry.FullName)];
    }

    private long Size(string name) =>
        new FileInfo(Path.Combine(packages.Feed, $"{name}.{packages.Version}.nupkg")).Length;
}
