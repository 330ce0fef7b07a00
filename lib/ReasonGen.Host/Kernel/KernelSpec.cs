using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Files;

namespace ReasonGen.Host.Kernel;

/// <summary>The files by which Jupyter and VS Code find this kernel.</summary>
internal static class KernelSpec
{
    /// <summary>The kernel's own name.</summary>
    internal const string Own = "reasongen";

    /// <summary>The name that the notebooks carry, which is .NET Interactive's.</summary>
    internal const string Shared = ".net-csharp";

    private const string Mark = "reasongen";
    private static readonly string[] Icons = ["logo-32x32.png", "logo-64x64.png", "logo-svg.svg"];

    /// <summary>Folder of the user's kernels: JUPYTER_DATA_DIR, or where Jupyter keeps its data on this
    /// system.</summary>
    internal static string UserFolder =>
        Path.Combine(Environment.GetEnvironmentVariable("JUPYTER_DATA_DIR") is { Length: > 0 } set ? set
        : OperatingSystem.IsWindows()
            ? Path.Combine(SystemFolder.Of(Environment.SpecialFolder.ApplicationData), "jupyter")
        : OperatingSystem.IsMacOS() ? Path.Combine(Home, "Library", "Jupyter")
        : Path.Combine(Environment.GetEnvironmentVariable("XDG_DATA_HOME") is { Length: > 0 } data ? data
            : Path.Combine(Home, ".local", "share"), "jupyter"), "kernels");

    private static string Home => SystemFolder.Of(Environment.SpecialFolder.UserProfile);

    /// <summary>Writes the kernel under its own name, and under the notebooks' name unless another kernel has
    /// it.</summary>
    /// <param name="folder">A folder of kernels.</param>
    /// <param name="elsewhere">Other folders in which the notebooks' name may be taken.</param>
    /// <returns>Folders written, and the folder of another kernel that has the notebooks' name, if one does.</returns>
    /// <exception cref="UsageException">The folder cannot be written.</exception>
    internal static (IReadOnlyList<string> Written, string? Other) Install(string folder, IEnumerable<string> elsewhere)
    {
        var other = elsewhere.Prepend(folder).Select(place => Path.Combine(place, Shared))
            .FirstOrDefault(place => File.Exists(SpecOf(place)) && !IsOurs(place));
        List<string> written = [];
        foreach (var (name, title) in new[] { (Own, "C# (ReasonGen)"),
            (Shared, ".NET (C#)") }.Take(other is null ? 2 : 1))
        {
            var place = Path.Combine(folder, name);
            try
            {
                Directory.CreateDirectory(place);
                foreach (var icon in Icons)
                {
                    using var source = typeof(KernelSpec).Assembly.GetManifestResourceStream(icon)!;
                    using var target = File.Create(Path.Combine(place, icon));
                    source.CopyTo(target);
                }

                AtomicFile.Write(SpecOf(place), Spec(title).ToString(Formatting.Indented) + "\n");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new UsageException(
                    $"the kernel cannot be written to {place}: {e.Message.TrimEnd('.')}. Give a folder that can be "
                    + $"written with --prefix, or set JUPYTER_DATA_DIR.");
            }

            written.Add(place);
        }

        return (written, other);
    }

    /// <summary>Takes away what <see cref="Install"/> wrote, and nothing else: a folder with other files in it
    /// stays.</summary>
    /// <returns>The folders that it was taken from.</returns>
    internal static IReadOnlyList<string> Remove(string folder)
    {
        string[] ours = [.. new[] { Own, Shared }.Select(name => Path.Combine(folder, name)).Where(IsOurs)];
        foreach (var place in ours)
        {
            AtomicFiles.Sweep(place);
            foreach (var file in Icons.Select(icon => Path.Combine(place, icon)).Append(SpecOf(place)))
            {
                File.Delete(file); // the one that tells whose it is last
            }

            if (!Directory.EnumerateFileSystemEntries(place).Any())
            {
                Directory.Delete(place);
            }
        }

        return ours;
    }

    /// <summary>Folders in which a system's kernels lie, besides the user's.</summary>
    internal static IEnumerable<string> SystemFolders()
    {
        var path = (Environment.GetEnvironmentVariable("JUPYTER_PATH") ?? "").Split(Path.PathSeparator,
            StringSplitOptions.RemoveEmptyEntries);
        string[] system = OperatingSystem.IsWindows()
            ? [Path.Combine(SystemFolder.Of(Environment.SpecialFolder.CommonApplicationData), "jupyter")]
            : ["/usr/local/share/jupyter", "/usr/share/jupyter"];
        return path.Concat(system).Select(place => Path.Combine(place, "kernels"));
    }

    private static JObject Spec(string title) => new()
    {
        ["argv"] = new JArray(SelfProcess.Command("kernel", "{connection_file}")),
        ["display_name"] = title, ["language"] = "C#", ["interrupt_mode"] = "message",
        // a front end that was not started from a shell does not know it
        ["env"] = new JObject { ["DOTNET_ROOT"] = SelfProcess.DotnetRoot },
        ["metadata"] = new JObject { [Mark] = true, ["debugger"] = false },
    };

    private static string SpecOf(string place) => Path.Combine(place, "kernel.json");

    private static bool IsOurs(string place)
    {
        try
        {
            return JObject.Parse(File.ReadAllText(SpecOf(place)))["metadata"] is JObject metadata
                && metadata[Mark] is JValue { Value: true };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return false;
        }
    }
}
