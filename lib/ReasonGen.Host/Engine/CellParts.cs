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
internal sealed record CellPart(CellPartKind Kind, string Text, bool Timed = false);

/// <summary>Cuts a cell at its magics, the lines that begin with <c>#!</c>.</summary>
internal static class CellParts
{
    internal static readonly string[] Magics = ["csharp", "html", "import", "lsmagic", "markdown", "time", "who", "whos"];

    /// <exception cref="CellSyntaxException">A magic is unknown.</exception>
    internal static IReadOnlyList<CellPart> Split(string code, string directory)
    {
        var parts = new List<CellPart>();
        var kind = CellPartKind.Code;
        var timed = false;
        var lines = new List<string>();
        void Close()
        {
            if (lines.Any(line => line.Trim().Length > 0))
            {
                parts.Add(new CellPart(kind, string.Join('\n', lines), timed));
                timed = false;
            }

            lines.Clear();
        }

        foreach (var line in code.Split('\n'))
        {
            if (!line.StartsWith("#!"))
            {
                lines.Add(line);
                continue;
            }

            var words = line[2..].Trim().Split(' ', 2, StringSplitOptions.RemoveEmptyEntries);
            Close();
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
                    parts.Add(new CellPart(CellPartKind.Code, Import(words.ElementAtOrDefault(1), directory)));
                    break;
                default:
                    throw new CellSyntaxException($"there is no magic '{line.Trim()}'; there are {string.Join(", ", Magics.Select(magic => "#!" + magic))}");
            }
        }

        Close();
        return parts;
    }

    private static string Import(string? path, string directory)
    {
        try
        {
            return path is null ? throw new CellSyntaxException("#!import needs the path of a C# file") : File.ReadAllText(Path.Combine(directory, path.Trim('"')));
        }
        catch (IOException e)
        {
            throw new CellSyntaxException($"#!import {path}: {e.Message}");
        }
    }
}
