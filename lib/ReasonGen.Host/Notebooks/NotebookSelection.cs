using System.Text.RegularExpressions;
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
    // names the copies in its folder, which alone may be replaced; held by the run at work
    private const string Mark = ".executed", Running = ".running";
    private static readonly string[] Folders = ["model", "judge", "judgeFolder", "paper", "weights"];
    private const string MarkLine =
        "Executed copies of notebooks; each run replaces those of the notebooks that it runs.";

    /// <summary>Folder of the report unless another is given.</summary>
    internal const string UsualOutput = "artifacts";

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
    /// <returns>Keeps other runs out of the folder until it is given back.</returns>
    /// <exception cref="UsageException">They cannot be written, another run is at work there, or the report would
    /// replace a file that is none.</exception>
    internal static ProcessLock Prepare(IReadOnlyList<NotebookRun> runs, string output)
    {
        ProcessLock? alone = null;
        try
        {
            Directory.CreateDirectory(output);
            var (folder, report) = (Path.Combine(output, "notebooks"), Path.Combine(output, Report.FileName));
            if (Directory.Exists(report))
            {
                throw new UsageException(
                    $"--out {output}: the report cannot be written, since there is a folder of that name, {report}");
            }

            if (File.Exists(report) && !Report.IsOne(report))
            {
                throw new UsageException($"--out {output}: the report would replace {report}, which 'reasongen run' "
                    + "did not write. Give another folder with --out.");
            }

            alone = ProcessLock.TryTake(Path.Combine(folder, Running)) ?? throw new UsageException(
                $"--out {output}: another 'reasongen run' is at work in that folder, and copies and report of both "
                + "would be mixed. Let it end, or give another folder with --out.");
            AtomicFile.Write(Path.Combine(folder, Mark), string.Concat(Made(folder)
                .Where(name => File.Exists(Path.Combine(folder, name)))
                .Concat(runs.Select(run => Name(folder, run.Executed))).Distinct().Order(StringComparer.Ordinal)
                .Prepend(MarkLine).Select(line => line + "\n")));
            foreach (var run in runs)
            {
                run.Notebook.Write(run.Executed);
            }

            return alone;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            alone?.Dispose();
            throw new UsageException(
                $"--out {output} cannot be written: {e.Message}. Give a folder that can, with --out.");
        }
    }

    /// <summary>Whether one of the notebooks computes on what a parameter says; another may mean something else by the
    /// name.</summary>
    internal static bool UsesDevice(IReadOnlyList<NotebookRun> runs, string name) => runs.Any(run =>
        run.Notebook.Parameters().ContainsKey(name) && Sources(run.Notebook).Any(source =>
            Regex.IsMatch(source, $@"\b(Lab\.Start|ComputeTarget\.Parse)\([^;)]*\b{name}\b")));

    /// <summary>
    /// The values with whole paths of folders. A notebook runs in its own folder; whoever calls the command means the
    /// one where he is, and the notebook's only where there is nothing of that name.
    /// </summary>
    /// <param name="parameters">As they were given.</param>
    /// <param name="runs">Those of other kits, which may mean something else by a name, decide nothing.</param>
    internal static IReadOnlyDictionary<string, string> WithFolders(IReadOnlyDictionary<string, string> parameters,
        IReadOnlyList<NotebookRun> runs)
    {
        string[] places = [Directory.GetCurrentDirectory(), .. runs.Select(run =>
            Path.GetDirectoryName(Path.GetFullPath(run.Notebook.Path))!)];
        return parameters.ToDictionary(pair => pair.Key, pair => Folders.Contains(pair.Key) && pair.Value.Length > 0
            && runs.Any(run => run.Notebook.Parameters().ContainsKey(pair.Key)
                && Sources(run.Notebook).Any(source => source.Contains("Lab.Start(")))
            ? places.Select(place => Path.GetFullPath(pair.Value, place)).FirstOrDefault(Directory.Exists) ?? pair.Value
            : pair.Value);
    }

    private static IEnumerable<string> Sources(NotebookFile notebook) => notebook.Cells.Select(NotebookFile.Source);

    // a notebook of the kit; another may mean something else by the name
    private static bool UsesPresets(NotebookFile notebook) =>
        Presets.Any(preset => notebook.Parameters().GetValueOrDefault("preset") == $"\"{preset}\"")
        && Sources(notebook).Any(source => source.Contains("Lab.Start(preset"));

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
        var ours = Made(folder);
        foreach (var run in runs)
        {
            if (sources.Contains(RealPath.Of(run.Executed))
                || (File.Exists(run.Executed) && !ours.Contains(Name(folder, run.Executed))))
            {
                throw new UsageException(
                    $"--out {output}: the executed copy of {run.Notebook.Path} would replace the "
                    + $"notebook {run.Executed}, which is not among the copies that runs made there. Give another "
                    + "folder with --out; or, where an earlier version made it, remove it.");
            }
        }

        return [.. runs.Select(run => run with { Label = Path.GetRelativePath(folder, run.Executed) })];
    }

    // Names of the copies that runs made. Earlier versions named none: theirs are known in the usual folder alone,
    // where people keep no notebooks; elsewhere what is not known to be a copy is not replaced.
    private static HashSet<string> Made(string folder)
    {
        var mark = Path.Combine(folder, Mark);
        string[] named = File.Exists(mark) ? [.. File.ReadAllLines(mark).Skip(1)] : [];
        var usual = Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(folder))) == UsualOutput;
        return [.. named.Length == 0 && usual && File.Exists(mark)
            ? Directory.GetFiles(folder, "*.ipynb", SearchOption.AllDirectories).Select(path => Name(folder, path))
            : named];
    }

    private static string Name(string folder, string copy) =>
        Path.GetRelativePath(folder, copy).Replace(Path.DirectorySeparatorChar, '/').ReplaceLineEndings(" ");

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
