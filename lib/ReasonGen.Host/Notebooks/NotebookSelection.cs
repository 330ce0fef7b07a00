using ReasonGen.Files;
using ReasonGen.Studies;

namespace ReasonGen.Host.Notebooks;

/// <summary>A notebook to run, and where its executed copy goes.</summary>
internal sealed record NotebookRun(NotebookFile Notebook, string Executed)
{
    /// <summary>What it is called while it runs: its file name, with folders where another has the same name.</summary>
    internal string Label { get; init; } = Path.GetFileName(Executed);
}

/// <summary>Finds the notebooks that a command names, and looks at everything that can be wrong with them before any of
/// them runs.</summary>
internal static class NotebookSelection
{
    private static readonly string[] Presets = [StudyConfig.Smoke.Name, StudyConfig.Quick.Name, StudyConfig.Full.Name];
    private const string Mark = ".executed"; // stands in a folder of executed copies: what lies there may be replaced

    /// <summary>The notebooks that arguments name: files, and the <c>.ipynb</c> files of folders in order of name; each
    /// once.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="parameters">Values for the notebooks' parameters.</param>
    /// <param name="output">Folder of the report; the copies go into its folder <c>notebooks</c>.</param>
    /// <exception cref="UsageException">
    /// A path is missing, a folder holds no notebook, one cannot be read or is in another language, no notebook has one
    /// of the parameters, a value does not fit, or a copy would replace a notebook.
    /// </exception>
    internal static IReadOnlyList<NotebookRun> Find(IEnumerable<string> paths,
        IReadOnlyDictionary<string, string> parameters, string output)
    {
        var files = paths.SelectMany(path => Directory.Exists(path) ? InFolder(path) : File.Exists(path) ? [path]
            : throw new UsageException($"there is no file or folder '{path}' (from {Directory.GetCurrentDirectory()})"))
            .DistinctBy(RealPath.Of).ToArray();
        NotebookFile[] notebooks = [.. files.Select(NotebookFile.Read)];
        foreach (var notebook in notebooks)
        {
            string[] languages = [.. notebook.Cells.Where(NotebookFile.IsCode).Select(notebook.LanguageOf).Distinct()];
            if (languages.Length > 0 ? !languages.Any(CellLanguage.IsKnown) : !CellLanguage.IsKnown(notebook.Language))
            {
                throw new UsageException(
                    $"{notebook.Path} is a notebook "
                    + $"in {string.Join(", ", languages.DefaultIfEmpty(notebook.Language))}; only C# runs here. "
                    + "Leave it out, or run it with a kernel of its language.");
            }
        }

        foreach (var name
            in parameters.Keys.Where(name => !notebooks.Any(notebook => notebook.Parameters().ContainsKey(name))))
        {
            var known = notebooks.SelectMany(notebook => notebook.Parameters().Keys).Distinct().Order();
            throw new UsageException(
                $"no notebook has a parameter '{name}'; there are {string.Join(", ", known.DefaultIfEmpty("none"))}");
        }

        if (parameters.TryGetValue("preset", out var preset) && !Presets.Contains(preset)
            && notebooks.FirstOrDefault(UsesPresets) is { } kits)
        {
            throw new UsageException(
                $"{kits.Path}: there is no preset '{preset}'; choose {string.Join(", ", Presets)}");
        }

        foreach (var notebook in notebooks)
        {
            notebook.SetParameters(parameters); // a value that does not fit is found before anything runs
            notebook.ClearOutputs();
        }

        return Copies(notebooks, output);
    }

    /// <summary>Writes copies without outputs, so that none of an earlier run is taken for this one's.</summary>
    /// <exception cref="UsageException">They cannot be written.</exception>
    internal static void Prepare(IReadOnlyList<NotebookRun> runs, string output)
    {
        try
        {
            Directory.CreateDirectory(output);
            if (Directory.Exists(Path.Combine(output, Report.FileName)))
            {
                throw new UsageException(
                    $"--out {output}: the report cannot be written, since there is a folder of that "
                    + $"name, {Path.Combine(output, Report.FileName)}");
            }

            AtomicFile.Write(Path.Combine(output, "notebooks", Mark),
                "Executed copies of notebooks; each run replaces those of the notebooks that it runs.\n");
            foreach (var run in runs)
            {
                run.Notebook.Write(run.Executed);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new UsageException(
                $"--out {output} cannot be written: {e.Message}. Give a folder that can, with --out.");
        }
    }

    // a notebook of the kit; another may mean something else by the name
    private static bool UsesPresets(NotebookFile notebook) =>
        Presets.Any(preset => notebook.Parameters().GetValueOrDefault("preset") == $"\"{preset}\"")
        && notebook.Cells.Any(cell => NotebookFile.Source(cell).Contains("Lab.Start(preset"));

    private static NotebookRun[] Copies(NotebookFile[] notebooks, string output)
    {
        var folder = Path.Combine(
            Path.GetFullPath(output.Length > 0 ? output : throw new UsageException("--out is empty: give a folder")),
            "notebooks");
        string[] full = [.. notebooks.Select(notebook => Path.GetFullPath(notebook.Path))];
        var same = full.CountBy(path => Path.GetFileName(path), StringComparer.OrdinalIgnoreCase)
            .Where(pair => pair.Value > 1).Select(pair => pair.Key)
            .ToHashSet(StringComparer.OrdinalIgnoreCase);
        var common = Common(full);
        NotebookRun[] runs = [.. notebooks.Zip(full, (notebook, path) => new NotebookRun(notebook,
            Path.Combine(folder,
                same.Contains(Path.GetFileName(path)) ? Path.GetRelativePath(common, path) : Path.GetFileName(path))))];
        var sources = full.Select(RealPath.Of).ToHashSet();
        var ours = File.Exists(Path.Combine(folder, Mark)) || File.Exists(Path.Combine(output, Report.FileName));
        foreach (var run in runs)
        {
            if (sources.Contains(RealPath.Of(run.Executed)) || (!ours && File.Exists(run.Executed)))
            {
                throw new UsageException(
                    $"--out {output}: the executed copy of {run.Notebook.Path} would replace the "
                    + $"notebook {run.Executed}. Give another folder with --out.");
            }
        }

        return [.. runs.Select(run => run with { Label = Path.GetRelativePath(folder, run.Executed) })];
    }

    // the folder that holds them all
    private static string Common(string[] files) =>
        files.Select(file => Path.GetDirectoryName(file)!).Aggregate((one, other) =>
    {
        while (Path.GetRelativePath(one, other).Split(Path.DirectorySeparatorChar)[0] == "..")
        {
            one = Path.GetDirectoryName(one)!;
        }

        return one;
    });

    private static IEnumerable<string> InFolder(string folder)
    {
        try
        {
            var any = new EnumerationOptions
            {
                MatchCasing = MatchCasing.CaseInsensitive, IgnoreInaccessible = false,
                AttributesToSkip = FileAttributes.None,
            };
            var files = Directory.GetFiles(folder, "*.ipynb", any).Order(StringComparer.Ordinal).ToArray();
            return files.Length > 0 ? files
                : throw new UsageException($"the folder '{folder}' holds no notebook (*.ipynb)");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"the folder '{folder}' cannot be read: {e.Message}");
        }
    }
}
