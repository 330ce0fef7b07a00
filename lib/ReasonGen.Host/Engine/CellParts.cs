using System.Text.RegularExpressions;

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
}

/// <summary>A stretch of a cell between magics.</summary>
/// <param name="Kind">What is to be done with it.</param>
/// <param name="Text">Its text; code keeps its place in the cell by empty lines before it.</param>
/// <param name="Timed">Whether the time it takes is to be shown.</param>
/// <param name="Packages">Packages it asks for with <c>#r "nuget: …"</c>; their lines are empty in the text.</param>
internal sealed record CellPart(CellPartKind Kind, string Text, bool Timed = false, IReadOnlyList<string>? Packages = null);

/// <summary>Cuts a cell at its magics, the lines that begin with <c>#!</c>, and takes out what it asks for in packages.</summary>
internal static partial class CellParts
{
    internal static readonly string[] Magics = ["csharp", "html", "import", "lsmagic", "markdown", "time", "who", "whos"];

    /// <exception cref="CellSyntaxException">A magic is unknown.</exception>
    internal static IReadOnlyList<CellPart> Split(string code, string directory)
    {
        var parts = new List<CellPart>();
        var (kind, timed, above) = (CellPartKind.Code, false, 0);
        var (lines, packages) = (new List<string>(), new List<string>());
        void Close(int next)
        {
            if (lines.Any(line => line.Trim().Length > 0) || packages.Count > 0)
            {
                parts.Add(new CellPart(kind, (kind == CellPartKind.Code ? new string('\n', above) : "") + string.Join('\n', lines), timed, [.. packages]));
                timed = false;
            }

            lines.Clear();
            packages.Clear();
            above = next;
        }

        foreach (var (index, line) in code.Split('\n').Index())
        {
            if (kind == CellPartKind.Code && Package().Match(line) is { Success: true } package)
            {
                packages.Add(package.Groups[1].Value.Trim());
                lines.Add("");
                continue;
            }

            if (!line.StartsWith("#!"))
            {
                lines.Add(line);
                continue;
            }

            var words = line[2..].Trim().Split(' ', 2, StringSplitOptions.RemoveEmptyEntries);
            Close(index + 1);
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
                case "lsmagic":
                    parts.Add(new CellPart(CellPartKind.Magics, ""));
                    break;
                case "import":
                    parts.AddRange(Import(words.ElementAtOrDefault(1), directory));
                    break;
                default:
                    throw new CellSyntaxException($"there is no magic '{line.Trim()}'; there are {string.Join(", ", Magics.Select(magic => "#!" + magic))}");
            }
        }

        Close(0);
        return parts;
    }

    /// <summary>A cell, as it is typed, with blanks for the lines that are not C#, so that positions stay.</summary>
    internal static string Blanked(string code) => string.Join('\n', code.Split('\n').Select(line =>
        line.StartsWith("#!") || (line.TrimStart().StartsWith("#r") && line.Contains("nuget:")) ? new string(' ', line.Length) : line));

    private static IReadOnlyList<CellPart> Import(string? path, string directory)
    {
        try
        {
            if (path is null)
            {
                throw new CellSyntaxException("#!import needs the path of a C# file or a notebook");
            }

            var full = Path.Combine(directory, path.Trim('"'));
            return Path.GetExtension(full) != ".ipynb" ? Split(File.ReadAllText(full), Path.GetDirectoryName(full)!)
                : [.. Notebooks.NotebookFile.Read(full).Cells.Where(cell => (string?)cell["cell_type"] == "code")
                    .SelectMany(cell => Split(Notebooks.NotebookFile.Source(cell), Path.GetDirectoryName(full)!))];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or UsageException)
        {
            throw new CellSyntaxException($"#!import {path}: {e.Message}");
        }
    }

    [GeneratedRegex("""^\s*#r\s+"nuget:([^"]+)"\s*$""", RegexOptions.IgnoreCase)]
    private static partial Regex Package();
}
