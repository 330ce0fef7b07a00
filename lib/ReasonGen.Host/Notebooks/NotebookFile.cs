using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;

namespace ReasonGen.Host.Notebooks;

/// <summary>A notebook file (nbformat 4). What is written back differs from what was read in outputs, and in what a
/// valid notebook lacked.</summary>
public sealed class NotebookFile
{
    /// <summary>Tag of the cell whose variables <c>-p</c> sets.</summary>
    public const string Declared = "parameters";

    /// <summary>Tag of the cell that <see cref="SetParameters"/> puts in.</summary>
    public const string Injected = "injected-parameters";

    private static readonly UTF8Encoding Utf8 = new(false, throwOnInvalidBytes: true);
    private readonly JObject root;
    private readonly NotebookText text;
    private readonly List<(JObject Cell, int? Place)> cells;
    // names of members, of cells and of the notebook
    private readonly Dictionary<JObject, HashSet<string>> changed = [];
    private JObject? injected;

    private NotebookFile(string path, JObject root, NotebookText text)
    {
        (Path, this.root, this.text) = (path, root, text);
        cells = [.. root["cells"]!.Cast<JObject>().Select((cell, i) => (cell, (int?)i))];
        Language = CellLanguage.OfNotebook(root["metadata"] as JObject);
    }

    public string Path { get; }

    /// <summary>The cells in order, with the one that sets parameters once there is one.</summary>
    public IReadOnlyList<JObject> Cells => [.. cells.Select(cell => cell.Cell)];

    /// <summary>Language of cells that name none.</summary>
    public string Language { get; }

    /// <summary>The first heading of the first level in the text cells, or the file's name.</summary>
    public string Title => Cells.Where(cell => (string?)cell["cell_type"] == "markdown").Select(Source)
        .Select(ReportHeadings.Title).OfType<string>().FirstOrDefault()
            ?? System.IO.Path.GetFileNameWithoutExtension(Path);

    /// <summary>The code cells: the number of each among them, its language, and what a session takes.</summary>
    internal IEnumerable<(int Number, string Language, string Script)> Scripts() =>
        Cells.Where(IsCode).Select((cell, i) => (i + 1, LanguageOf(cell), Script(cell)));

    /// <summary>What a session is given of a cell.</summary>
    internal string Script(JObject cell) =>
        LanguageOf(cell) is var language && language == CellLanguage.CSharp ? Source(cell)
            : $"#!{language}\n{Source(cell)}";

    internal string LanguageOf(JObject cell) => CellLanguage.Of(cell, Language);

    internal static bool IsCode(JObject cell) => (string?)cell["cell_type"] == "code";

    /// <exception cref="UsageException">The file is missing, or is no notebook that can be run here.</exception>
    public static NotebookFile Read(string path)
    {
        if (System.IO.Path.GetExtension(path).ToLowerInvariant() is ".dib")
        {
            throw new UsageException(
                $"{path} is a script of Polyglot Notebooks (.dib), which is another format. Open it in VS Code and "
                + $"save it as .ipynb.");
        }

        try
        {
            var bytes = Encoded(path, FileKinds.IsNamedPipe(path) ? throw new IOException("it is a pipe.")
                : File.ReadAllBytes(path));
            var source = Utf8.GetString(bytes);
            if (source.Trim().Length == 0)
            {
                throw new UsageException(
                    $"{path} is empty: it holds no notebook. Restore it, or make a notebook in VS Code or Jupyter.");
            }

            var root = source.TrimStart()[0] == '{' ? (JObject)PlainJson.Parse(source)
                : throw new UsageException($"{path} is not a notebook (.ipynb): it does not begin with '{{'.");
            NotebookSchema.Check(path, root);
            return new NotebookFile(path, root, new NotebookText(bytes));
        }
        catch (Exception e) when (e is JsonException or System.Text.Json.JsonException)
        {
            throw new UsageException($"{path} is damaged: {e.Message} Restore it from the repository.");
        }
        catch (DecoderFallbackException e)
        {
            throw new UsageException(
                $"{path} is not in UTF-8, as notebooks are: byte "
                + $"0x{e.BytesUnknown?.FirstOrDefault():X2} at {e.Index} fits no character. Save it as UTF-8.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"{path} cannot be read: {e.Message}");
        }
    }

    /// <summary>Text of a cell, whether it is stored whole or in lines.</summary>
    public static string Source(JObject cell) => Text(cell["source"]);

    internal static string Text(JToken? stored) =>
        stored is JArray lines ? string.Concat(lines.Select(line => (string?)line))
        : stored is JValue { Value: string whole } ? whole : stored?.ToString() ?? "";

    /// <summary>Whether a cell carries a tag.</summary>
    public static bool HasTag(JObject cell, string tag) =>
        cell["metadata"]?["tags"] is JArray tags && tags.Any(own => (string?)own == tag);

    /// <summary>Parameters of the cell tagged "parameters": name and default as written.</summary>
    /// <exception cref="UsageException">The cell is no C#.</exception>
    public IReadOnlyDictionary<string, string> Parameters() => new NotebookParameters(this).Defaults;

    /// <summary>
    /// Puts a cell behind the parameters' that sets those given; others are left alone. As in papermill, it takes the
    /// place of such a cell of an earlier run.
    /// </summary>
    /// <exception cref="UsageException">A value does not fit the parameter's type.</exception>
    public void SetParameters(IReadOnlyDictionary<string, string> values)
    {
        var own = new NotebookParameters(this);
        string[] lines = [.. values.Where(pair => own.Defaults.ContainsKey(pair.Key))
            .Select(pair => own.Assignment(pair.Key, pair.Value))];
        if (lines.Length == 0)
        {
            return;
        }

        var old = cells.FindIndex(cell => HasTag(cell.Cell, Injected));
        var at = old >= 0 ? old : cells.FindIndex(cell => HasTag(cell.Cell, Declared)) + 1;
        cells.RemoveAll(cell => HasTag(cell.Cell, Injected));
        var made = new JObject { ["cell_type"] = "code", ["execution_count"] = null };
        if (HasIds)
        {
            made["id"] = FreeId(Injected, [.. cells.Select(cell => (string?)cell.Cell["id"]).OfType<string>()]);
        }

        made["metadata"] = new JObject { ["tags"] = new JArray(Injected) };
        made["outputs"] = new JArray();
        made["source"] = "// given on the command line\n" + string.Join('\n', lines);
        cells.Insert(at, (injected = made, null));
    }

    /// <summary>Whether the cell was put in by <see cref="SetParameters"/>.</summary>
    internal bool IsNew(JObject cell) => ReferenceEquals(cell, injected);

    /// <summary>Takes out what an earlier run left, so that nothing but this run's outputs is written.</summary>
    internal void ClearOutputs()
    {
        foreach (var cell in Cells.Where(IsCode))
        {
            SetOutputs(cell, null, []);
        }
    }

    /// <summary>Sets what a run makes of a cell.</summary>
    internal void SetOutputs(JObject cell, int? executionCount, JArray outputs)
    {
        Set(cell, "execution_count", executionCount is { } count ? count : JValue.CreateNull());
        Set(cell, "outputs", outputs);
    }

    /// <summary>Writes the notebook, whole or not at all; what the format asks for and the file lacks is put
    /// in.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">It must not be written.</exception>
    public void Write(string path)
    {
        Default(root, "metadata", new JObject());
        Default(root, "nbformat", 4);
        Default(root, "nbformat_minor", 4);
        HashSet<string> taken = [.. cells.Select(cell => (string?)cell.Cell["id"]).OfType<string>()], seen = [];
        foreach (var (cell, _) in cells)
        {
            Default(cell, "metadata", new JObject());
            if (IsCode(cell))
            {
                Default(cell, "execution_count", JValue.CreateNull());
                Default(cell, "outputs", new JArray());
            }

            if (HasIds && !((string?)cell["id"] is { } id && IsId(id) && seen.Add(id)))
            {
                Set(cell, "id", FreeId("cell", taken));
            }
        }

        AtomicFile.Write(path,
            text.With(cells.Select(cell => (cell.Cell, cell.Place, Changed(cell.Cell))), (root, Changed(root))));
    }

    private bool HasIds => (int?)root["nbformat_minor"] is >= 5; // before, a cell must not have one

    private static bool IsId(string text) => text.Length is > 0 and <= 64
        && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_');

    private static string FreeId(string name, HashSet<string> taken)
    {
        var id = name;
        for (var copy = taken.Count + 1; !taken.Add(id); copy++)
        {
            id = $"{name}-{copy}";
        }

        return id;
    }

    private IEnumerable<string> Changed(JObject part) => changed.GetValueOrDefault(part) ?? [];

    private void Default(JObject part, string name, JToken value)
    {
        if (part[name] is null)
        {
            Set(part, name, value);
        }
    }

    private void Set(JObject part, string name, JToken value)
    {
        if (!JToken.DeepEquals(part[name], value))
        {
            part[name] = value;
            (changed.TryGetValue(part, out var names) ? names : changed[part] = []).Add(name);
        }
    }

    // without a mark of byte order, which Jupyter does not read; with one, UTF-16 is known for what it is
    private static byte[] Encoded(string path, byte[] bytes) => bytes switch
    {
        [0xEF, 0xBB, 0xBF, .. var rest] => rest,
        [0xFF, 0xFE, ..] or [0xFE, 0xFF, ..] =>
            throw new UsageException($"{path} is in UTF-16; notebooks are in UTF-8. Save it as UTF-8."),
        _ => bytes,
    };
}
