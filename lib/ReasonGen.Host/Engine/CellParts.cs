using System.Collections.Immutable;
using System.Text.RegularExpressions;
using ReasonGen.Checkpoints;
using ReasonGen.Host.Notebooks;

namespace ReasonGen.Host.Engine;

/// <summary>A magic that does not exist, or lacks what it needs.</summary>
internal sealed class CellSyntaxException(string message) : Exception(message);

internal enum CellPartKind
{
    Code,
    Html,
    Markdown,
    Variables,
    Magics,
    About,
}

/// <summary>A stretch of a cell between magics.</summary>
/// <param name="Kind">What is to be done with it.</param>
/// <param name="Text">Its text; code keeps its place in the cell by empty lines before it.</param>
/// <param name="Timed">Whether the time it takes is to be shown.</param>
/// <param name="Packages">Packages it asks for with <c>#r "nuget: …"</c>; their lines are empty in the text.</param>
/// <param name="Origin">What <c>#!import</c> brought it from, whose lines it counts; null for the cell itself.</param>
/// <param name="Sources">Folders and addresses of more packages, of <c>#i "nuget:…"</c>; their lines are empty,
/// too.</param>
internal sealed record CellPart(CellPartKind Kind, string Text, bool Timed = false,
    IReadOnlyList<string>? Packages = null, string? Origin = null, IReadOnlyList<string>? Sources = null);

/// <summary>Cuts a cell at its magics, the lines that begin with <c>#!</c>, and takes out what it asks for in
/// packages.</summary>
internal static partial class CellParts
{
    internal static readonly string[] Magics = ["about", "csharp", "html", "import", "lsmagic", "markdown", "set",
        "time", "who", "whos"];

    // kernels of Polyglot Notebooks
    private static readonly HashSet<string> Languages = ["connect", "dot", "f#", "fsharp", "http", "httprequest",
        "javascript", "js", "jupyter", "kql", "mermaid", "powershell", "pwsh", "python", "r", "sql", "value", "vscode"];

    private const int MostParts = 1000; // each carries as many empty lines as lie above it

    /// <exception cref="CellSyntaxException">A magic is unknown, or there are more than anybody writes.</exception>
    internal static IReadOnlyList<CellPart> Split(string code, string directory) => Split(code, directory, [], null);

    private static IReadOnlyList<CellPart> Split(string code, string directory, ImmutableList<string> within,
        string? origin)
    {
        var parts = new List<CellPart>();
        var (kind, timed, above) = (CellPartKind.Code, false, 0);
        var (lines, packages, sources) = (new List<string>(), new List<string>(), new List<string>());
        void Close(int next)
        {
            if (lines.Any(line => line.Trim().Length > 0) || packages.Count > 0 || sources.Count > 0)
            {
                parts.Add(new CellPart(kind,
                    (kind == CellPartKind.Code ? new string('\n', above) : "") + string.Join('\n', lines), timed,
                    [.. packages], origin, [.. sources]));
                timed = false;
            }

            lines.Clear();
            packages.Clear();
            sources.Clear();
            above = next;
        }

        var literals = new CodeLiterals(code);
        // where the line begins, a place above it that lies between tokens, and where a string or comment ends
        var (at, between, literal) = (0, 0, 0);
        foreach (var (index, line) in code.Split('\n').Index())
        {
            var begin = at;
            at += line.Length + 1;
            var asked = kind == CellPartKind.Code && NuGetLine().Match(line) is { Success: true } found ? found : null;
            var isMagic = IsMagic(line, kind == CellPartKind.Code);
            if (kind == CellPartKind.Code && (asked is not null || isMagic))
            {
                literal = begin < literal ? literal : literals.EndAround(between, begin);
                between = Math.Max(begin, literal);
            }

            if (begin < literal || !(asked is not null || isMagic))
            {
                lines.Add(line);
                continue;
            }

            between = literal = at;
            if (asked is not null)
            {
                var text = asked.Groups["text"].Value.Trim();
                if (asked.Groups["packages"].Success)
                {
                    packages.Add(text);
                }
                else
                {
                    sources.Add(Source(text, directory));
                }

                lines.Add("");
                continue;
            }

            var words = line[2..].Trim().Split(' ', 2, StringSplitOptions.RemoveEmptyEntries);
            Close(index + 1);
            if (parts.Count > MostParts)
            {
                throw new CellSyntaxException(
                    $"line {index + 1}: a cell of more than {MostParts} stretches between magics is not run; make "
                    + $"several cells of it");
            }

            switch (words.FirstOrDefault())
            {
                case "csharp" or "c#":
                    kind = CellPartKind.Code;
                    break;
                case "html":
                    kind = CellPartKind.Html;
                    break;
                case "markdown":
                    kind = CellPartKind.Markdown;
                    break;
                case "time":
                    timed = true;
                    break;
                case "who" or "whos":
                    parts.Add(new CellPart(CellPartKind.Variables, words[0]));
                    break;
                case "about":
                    parts.Add(new CellPart(CellPartKind.About, ""));
                    break;
                case "set":
                    parts.Add(new CellPart(CellPartKind.Code,
                        new string('\n', index) + SetMagic.Statement(words.ElementAtOrDefault(1) ?? ""),
                        Origin: origin));
                    break;
                case "share":
                    throw new CellSyntaxException(
                        "#!share takes a variable from another language's kernel, and this session has C# alone: "
                        + "a C# cell sees the variables of those before it by their names");
                case "lsmagic":
                    parts.Add(new CellPart(CellPartKind.Magics, ""));
                    break;
                case "import":
                    parts.AddRange(Import(words.ElementAtOrDefault(1), directory, within));
                    break;
                case { } other when Languages.Contains(other.ToLowerInvariant()):
                    throw new CellSyntaxException($"#!{other} asks for another language's kernel, and this "
                        + "session has C# alone; html and markdown are shown");
                default:
                    throw new CellSyntaxException(
                        $"there is no magic '{line.Trim()}'; there "
                        + $"are {string.Join(", ", Magics.Select(magic => "#!" + magic))}");
            }
        }

        Close(0);
        return parts;
    }

    /// <summary>A cell, as it is typed, with blanks for the lines that are not C#, so that positions stay.</summary>
    internal static string Blanked(string code)
    {
        var literals = new CodeLiterals(code);
        var (at, between, isCode) = (0, 0, true);
        string[] lines = [.. code.Split('\n')];
        for (var i = 0; i < lines.Length; at += lines[i++].Length + 1)
        {
            var wanted = NuGetStart().IsMatch(lines[i]);
            if (!isCode)
            {
                isCode = IsMagic(lines[i], false) && Begins(lines[i], isCode);
                (lines[i], between) = (new string(' ', lines[i].Length), at + lines[i].Length);
            }
            else if (at >= between && (wanted || lines[i].StartsWith("#!")))
            {
                var end = literals.EndAround(between, at);
                isCode = end > at || Begins(lines[i], isCode);
                (lines[i], between) =
                    (end > at ? lines[i] : new string(' ', lines[i].Length), end > at ? end : at + lines[i].Length);
            }
        }

        return string.Join('\n', lines);
    }

    private static IReadOnlyList<CellPart> Import(string? path, string directory, ImmutableList<string> within)
    {
        try
        {
            if (path is null)
            {
                throw new CellSyntaxException("#!import needs the path of a C# file or a notebook");
            }

            var full = Path.GetFullPath(path.Trim('"'), directory);
            var (folder, chain) = (Path.GetDirectoryName(full)!, within.Add(full));
            return within.Contains(full)
                ? throw new CellSyntaxException(
                    $"#!import {path}: it imports itself ({string.Join(" > ", chain.Select(Path.GetFileName))})")
                : Path.GetExtension(full).ToLowerInvariant() is not (".ipynb" or ".dib")
                    ? Split(TextFile.Read(full), folder, chain, full)
                : [.. NotebookFile.Read(full).Scripts().SelectMany(cell => CellLanguage.IsKnown(cell.Language)
                    ? Split(cell.Script, folder, chain, $"{full} cell {cell.Number}")
                    : throw new CellSyntaxException($"#!import {path}: its code cell {cell.Number} is in "
                        + $"{cell.Language}, and this session has C# alone; import a notebook without such cells"))];
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or UsageException or ArgumentException
                or UnusableFileException)
        {
            throw new CellSyntaxException($"#!import {path}: {e.Message}");
        }
    }

    // Whether C# follows a magic.
    private static bool Begins(string magic, bool isCode) => magic[Math.Min(2, magic.Length)..].Trim().Split(' ', 2)[0]
        switch { "html" or "markdown" => false, "csharp" or "c#" => true, _ => isCode };

    // In a stretch of another language only a name that exists makes a magic.
    private static bool IsMagic(string line, bool isCode) => line.StartsWith("#!")
        && (isCode
            || line[2..].Trim().Split(' ', 2)[0] is var name && (Magics.Contains(name) || name is "c#" or "share"));

    // An address as it is, and a folder from the cell's own.
    private static string Source(string text, string directory) => text.Length == 0 || text.Any(char.IsControl)
        ? throw new CellSyntaxException(
            $"#i \"nuget:{text}\": it must be #i \"nuget:FOLDER\" or #i \"nuget:ADDRESS\"")
        : text.Contains("://") ? text : Path.GetFullPath(text, directory);

    // #r "nuget: Name, version" or #i "nuget: source"; a comment may follow.
    [GeneratedRegex("""^\s*#(?:(?<packages>r)|i)\s*"nuget:(?<text>[^"]+)"\s*(?://.*)?$""",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex NuGetLine();

    // The same, or the beginning of it.
    [GeneratedRegex("""^\s*#[ri]\s*"?\s*nuget:""", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex NuGetStart();
}
