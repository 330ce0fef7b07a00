using System.Text;

namespace ReasonGen.Scoring;

/// <summary>A comma-separated table with quotes, as Python and pandas read it.</summary>
/// <param name="Header">Names of the columns.</param>
/// <param name="Rows">Cells of each row, and the line on which it begins.</param>
public sealed record CsvTable(IReadOnlyList<string> Header, IReadOnlyList<(string[] Cells, int Line)> Rows)
{
    /// <summary>Reads a text; empty lines are passed over, a byte order mark too.</summary>
    /// <exception cref="OfficialStopException">It ends within quotes: it is cut short, or a quote is
    /// missing.</exception>
    public static CsvTable Parse(string text)
    {
        text = text.TrimStart('\ufeff');
        List<(string[] Cells, int Line)> rows = [];
        var (cells, cell, quoted, started, line, first) = (new List<string>(), new StringBuilder(), false, false, 1, 1);
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            line += c == '\n' ? 1 : 0;
            if (quoted)
            {
                if (c == '"' && i + 1 < text.Length && text[i + 1] == '"')
                {
                    cell.Append(text[++i]);
                }
                else if (c == '"')
                {
                    quoted = false;
                }
                else
                {
                    cell.Append(c);
                }
            }
            else if (c == '"' && cell.Length == 0)
            {
                (quoted, started) = (true, true);
            }
            else if (c == ',')
            {
                cells.Add(cell.ToString());
                cell.Clear();
                started = true;
            }
            else if (c == '\n' || c == '\r')
            {
                i += c == '\r' && i + 1 < text.Length && text[i + 1] == '\n' ? 1 : 0;
                line += c == '\r' && text[i] == '\n' ? 1 : 0;
                End();
            }
            else
            {
                cell.Append(c);
                started = true;
            }
        }

        if (quoted)
        {
            throw new OfficialStopException("ParserError", $"the row that begins on line {first} has a cell whose "
                + "quotes do not end: the file is cut short, or a quote is missing");
        }

        End();
        return rows.Count == 0 ? new([], []) : new(rows[0].Cells, rows[1..]);

        void End()
        {
            if (started || cell.Length > 0)
            {
                cells.Add(cell.ToString());
                rows.Add(([.. cells], first));
            }

            cells.Clear();
            cell.Clear();
            (started, first) = (false, line);
        }
    }
}
