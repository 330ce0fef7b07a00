using System.Diagnostics;
using System.IO.Hashing;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Security;
using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Files;

namespace ReasonGen.Host.Engine;

/// <summary>What a restore gave.</summary>
/// <param name="Compile">Libraries to compile against.</param>
/// <param name="Runtime">Libraries to load.</param>
/// <param name="NativeFolders">Folders of native libraries for this machine.</param>
/// <param name="Versions">The packages asked for, with the versions taken.</param>
internal sealed record RestoredPackages(IReadOnlyList<string> Compile, IReadOnlyList<string> Runtime,
    IReadOnlyList<string> NativeFolders, IReadOnlyList<string> Versions);

/// <summary>
/// Packages for <c>#r "nuget: Name, version"</c>, restored by the dotnet SDK with the sources and credentials that the
/// user has configured, and the sources of <c>#i "nuget:…"</c>. What the host ships itself is left out of the result:
/// a cell gets the host's own.
/// </summary>
internal static class NuGetPackages
{
    private static readonly string OwnVersion =
        typeof(NuGetPackages).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!
        .InformationalVersion.Split('+')[0];

    /// <param name="wanted">What stands behind <c>nuget:</c> in each line.</param>
    /// <param name="sources">Folders and addresses to look in besides those that are configured.</param>
    /// <param name="cancel">Ends the restore.</param>
    /// <exception cref="CellSyntaxException">A package cannot be had; the SDK's own words.</exception>
    internal static async Task<RestoredPackages> RestoreAsync(IReadOnlyList<string> wanted,
        IReadOnlyList<string> sources, CancellationToken cancel)
    {
        var all = wanted.Select(Parse).ToArray();
        var references = all.Where(package => !IsOwn(package.Name)).ToArray();
        string[] own = [.. all.Where(package => IsOwn(package.Name))
            .Select(package => $"{package.Name}, {OwnVersion} (this program's own)")];
        if (all.FirstOrDefault(package =>
            IsOwn(package.Name) && package.Version != "*" && package.Version != OwnVersion) is { Name: not null } other)
        {
            throw new CellSyntaxException(
                $"#r \"nuget: {other.Name}, {other.Version}\": this program runs cells with its "
                + $"own {other.Name}, which is {OwnVersion}; write #r \"nuget: {other.Name}\", or run the notebook "
                + $"with ReasonGen.Tool {other.Version}");
        }

        if (references.Length == 0)
        {
            return new RestoredPackages([], [], [], own);
        }

        var restored = await RestoreAsync(references, Project(references, sources), string.Join(", ", wanted), cancel);
        return restored with { Versions = [.. own, .. restored.Versions] };
    }

    // The libraries of the kit, which the host ships; a package of that name from elsewhere would be left out of the
    // result anyway.
    private static bool IsOwn(string name) =>
        name.StartsWith("ReasonGen", StringComparison.OrdinalIgnoreCase) && CellAssemblies.IsShipped(name);

    /// <summary>The project that asks for packages.</summary>
    internal static string Project(IEnumerable<(string Name, string Version)> references,
        IReadOnlyList<string> sources) => new StringBuilder("<Project Sdk=\"Microsoft.NET.Sdk\"><PropertyGroup>")
            .Append($"<TargetFramework>net{Environment.Version.Major}.0</TargetFramework>"
                + $"<RuntimeIdentifier>{RuntimeInformation.RuntimeIdentifier}</RuntimeIdentifier>")
            .Append(sources.Count == 0 ? "" : "<RestoreAdditionalProjectSources>"
                + $"{string.Join(';', sources.Select(Plain))}</RestoreAdditionalProjectSources>")
            .Append("<SelfContained>false</SelfContained><ManagePackageVersionsCentrally>"
                + "false</ManagePackageVersionsCentrally></PropertyGroup><ItemGroup>")
            .AppendJoin("",
                references.Select(package =>
                    $"<PackageReference "
                    + $"Include=\"{SecurityElement.Escape(package.Name)}\" Version=\""
                    + $"{SecurityElement.Escape(package.Version)}\" />"))
            .Append("</ItemGroup></Project>").ToString();

    // what MSBuild would take for more than itself
    private static string Plain(string source) =>
        SecurityElement.Escape(source.Replace("%", "%25").Replace("$", "%24").Replace("@", "%40"));

    private static async Task<RestoredPackages> RestoreAsync((string Name, string Version)[] references,
        string project, string wanted, CancellationToken cancel)
    {
        var folder = Path.Combine(SystemFolder.Of(Environment.SpecialFolder.LocalApplicationData), "reasongen",
            "packages", Convert.ToHexStringLower(XxHash128.Hash(Encoding.UTF8.GetBytes(project))));
        var assets = Path.Combine(folder, "obj", "project.assets.json");
        var done = Path.Combine(folder, "restored"); // the assets are written by a restore that fails, too
        if (!File.Exists(done) || !File.Exists(assets) || references.Any(package => package.Version == "*"))
        {
            Make(folder, wanted);
            await File.WriteAllTextAsync(Path.Combine(folder, "packages.csproj"), project, cancel);
            await DotnetRestoreAsync(folder, wanted, cancel);
            await File.WriteAllTextAsync(done, "", cancel);
        }

        return Read(JObject.Parse(await File.ReadAllTextAsync(assets, cancel)), references);
    }

    /// <summary>Reads what NuGet wrote of a restore.</summary>
    internal static RestoredPackages Read(JObject assets, IReadOnlyList<(string Name, string Version)> wanted)
    {
        string[] folders = [.. ((JObject)assets["packageFolders"]!).Properties().Select(folder => folder.Name)];
        // the one with the machine's identifier
        var target = ((JObject)assets["targets"]!).Properties().MaxBy(property => property.Name.Length)!;
        var (compile, runtime, native, versions) =
            (new List<string>(), new List<string>(), new HashSet<string>(), new List<string>());
        foreach (var package in ((JObject)target.Value).Properties()
            .Where(package => (string?)package.Value["type"] == "package"))
        {
            var root = (string)assets["libraries"]![package.Name]!["path"]!;
            IEnumerable<string> Files(string kind) =>
                (package.Value[kind] as JObject)?.Properties().Select(file => file.Name)
                    .Where(file => !file.EndsWith("/_._"))
                .Select(file => folders.Select(folder => Path.Combine(folder, root, file)).FirstOrDefault(File.Exists))
                .OfType<string>() ?? [];
            compile.AddRange(Files("compile").Where(IsForeign));
            string[] libraries = [.. Files("runtime")];
            runtime.AddRange(libraries.Where(IsForeign));
            native.UnionWith(Files("native").Select(file => Path.GetDirectoryName(file)!));
            if (package.Name.Split('/') is [var name, var version] && wanted.FirstOrDefault(one =>
                one.Name.Equals(name, StringComparison.OrdinalIgnoreCase)) is { Version: { } asked })
            {
                versions.Add(libraries.FirstOrDefault(path => !IsForeign(path)) is { } own
                    ? Own(name, version, asked, CellAssemblies.ShippedVersion(Path.GetFileNameWithoutExtension(own)))
                    : $"{name}, {version}");
            }
        }

        return new RestoredPackages(compile, runtime, [.. native], versions);
    }

    // a build's own suffix (10.1.403-servicing.1) is none of the package's version
    private static string Own(string name, string restored, string asked, string runs) =>
        $"{name}, {runs} (this program's own"
            + (asked == "*" || restored.Split('-')[0] == runs.Split('-')[0] ? ")"
                : $", which runs in place of {restored})");

    private static bool IsForeign(string path) => !CellAssemblies.IsShipped(Path.GetFileNameWithoutExtension(path));

    private static (string Name, string Version) Parse(string wanted)
    {
        var parts = wanted.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        return parts.Length is 1 or 2 && parts[0].All(c => char.IsLetterOrDigit(c) || c is '.' or '-' or '_')
            ? (parts[0], parts.ElementAtOrDefault(1) ?? "*")
            : throw new CellSyntaxException(
                $"#r \"nuget: {wanted}\": it must be #r \"nuget: Name\" or #r \"nuget: Name, version\"");
    }

    private static void Make(string folder, string wanted)
    {
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CellSyntaxException(
                $"#r \"nuget: {wanted}\": {folder}, where packages are restored, cannot be written "
                + $"({e.Message.TrimEnd('.')}); give HOME a folder that can be, or name another one in XDG_DATA_HOME");
        }
    }

    private static async Task DotnetRestoreAsync(string folder, string wanted, CancellationToken cancel)
    {
        var start = new ProcessStartInfo(SelfProcess.Dotnet)
        {
            WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        foreach (var argument in new[] { "restore", "packages.csproj", "--nologo", "--verbosity", "quiet" })
        {
            start.ArgumentList.Add(argument);
        }

        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new CellSyntaxException(
                $"#r \"nuget: {wanted}\": the dotnet SDK could not be started ({e.Message}); install it and put it on "
                + $"the PATH");
        }

        using (process)
        {
            var (output, errors) = (process.StandardOutput.ReadToEndAsync(CancellationToken.None),
                process.StandardError.ReadToEndAsync(CancellationToken.None));
            try
            {
                await process.WaitForExitAsync(cancel);
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
                throw;
            }

            if (process.ExitCode != 0)
            {
                var said = (await output + await errors).Split('\n').Select(line => line.Trim())
                    .Where(line => line.Contains("error")).Distinct();
                throw new CellSyntaxException(
                    $"#r \"nuget: {wanted}\" could not be restored:\n{string.Join('\n', said)}");
            }
        }
    }
}
