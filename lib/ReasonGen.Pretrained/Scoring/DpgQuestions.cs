// DPG-Bench's questions (TencentQQGYLab/ELLA: compute_dpg_bench.py prepare_dpg_data, over pandas 1.5):
//   the first data row is skipped; rows of one item must be adjacent, a later block replaces an earlier one; a repeated
//   id replaces the row.
//   pandas guesses types by column: ids or dependencies that are all whole numbers become numbers, some words ("NA",
//   "null", …) become empty.
// Two readings. Official: as above, errors too. Tolerant (what the commands use where the official one stops): numbers
// stay text, so that a subset
//   of the file can be scored; only what cannot be understood is an error. Either way the notes say what was done.
using System.Globalization;
using ReasonGen.Checkpoints;
using ReasonGen.Tokenizers;

namespace ReasonGen.Scoring;

/// <summary>One question about an image.</summary>
/// <param name="Id">proposition_id.</param>
/// <param name="Parents">Questions whose "no" makes this one 0; 0 stands for none.</param>
/// <param name="Tuple">What is asked, by category: "attribute - color (dog, red)"; null where the cell is
/// empty.</param>
/// <param name="Text">The question.</param>
public sealed record DpgQuestion(int Id, IReadOnlyList<int> Parents, string? Tuple, string Text)
{
    /// <summary>"attribute - color": the tuple before its first bracket.</summary>
    public string? Category => Tuple is null ? null : ReasonGen.Tokenizers.PythonText.Strip(Tuple.Split('(')[0]);
}

/// <summary>The questions of all items, in the file's order.</summary>
/// <param name="Items">Item → its questions, the first of equal ids holding the place.</param>
/// <param name="Notes">What is worth knowing about how the file was read.</param>
public sealed record DpgQuestions(IReadOnlyDictionary<string, IReadOnlyList<DpgQuestion>> Items,
    IReadOnlyList<string> Notes)
{
    private static readonly HashSet<string> Empty = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN",
        "-nan", "1.#IND", "1.#QNAN", "<NA>",
        "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"];

    /// <summary>Reads a file: officially, or tolerantly where the official script stops.</summary>
    /// <param name="path">dpg_bench.csv.</param>
    /// <param name="skipFirst">Whether the first row is lost, as in the official script.</param>
    /// <exception cref="UnusableFileException">It is missing, or a cell cannot be understood.</exception>
    public static DpgQuestions Read(string path, bool skipFirst = true)
    {
        var text = TextFile.Read(path);
        var official = "finds no item in this file"; // where all their ids are numbers
        try
        {
            var read = Parse(text, skipFirst);
            if (read.Items.Count > 0)
            {
                return read;
            }
        }
        catch (OfficialStopException stop)
        {
            official = $"stops at this file ({stop.Kind}: {stop.Cause})";
        }

        try
        {
            var read = Parse(text, skipFirst, tolerant: true);
            return read.Items.Count == 0
                ? throw new UnusableFileException(path, "it holds no question", "give DPG-Bench's dpg_bench.csv")
                : read with { Notes = [.. read.Notes,
                    $"the official script {official}; here its numbers are read as text"] };
        }
        catch (OfficialStopException) when (text.Split('\n')[0] is var header && !header.Contains(',')
            && header.AsSpan().IndexOfAny(';', '\t') >= 0)
        {
            throw new UnusableFileException(path,
                $"its columns are separated by {(header.Contains(';') ? "semicolons" : "tabs")}, not by "
                    + "commas", "save it with commas, or take the published dpg_bench.csv");
        }
        catch (OfficialStopException why)
        {
            throw new UnusableFileException(path, why.Cause, "correct that cell, or take the published dpg_bench.csv",
                why);
        }
    }

    /// <summary>Reads a text.</summary>
    /// <exception cref="OfficialStopException">The official script stops at it (or, tolerantly, nothing can be made of
    /// a cell).</exception>
    public static DpgQuestions Parse(string text, bool skipFirst = true, bool tolerant = false)
    {
        var table = CsvTable.Parse(text);
        int Column(string name) => table.Header.ToList().IndexOf(name);
        int item = Column("item_id"), id = Column("proposition_id"), dependency = Column("dependency"),
            tuple = Column("tuple"), question = Column("question_natural_language");
        if (table.Rows.FirstOrDefault(row => row.Cells.Length > table.Header.Count) is { Cells: not null } wide)
        {
            throw new OfficialStopException("ParserError",
                $"line {wide.Line} has {wide.Cells.Length} cells, the header {table.Header.Count}");
        }

        string? Cell((string[] Cells, int Line) row, int column) => column < row.Cells.Length
            && !Empty.Contains(row.Cells[column]) ? row.Cells[column] : null;
        bool Numbers(int column) => column >= 0 && table.Rows.Count > 0
            && table.Rows.All(row => Cell(row, column) is not { } cell || IsNumber(cell));
        bool numberedItems = Numbers(item), numberedIds = Numbers(id), numberedParents = Numbers(dependency);
        var items = new Dictionary<string, IReadOnlyList<DpgQuestion>>();
        var notes = new List<string>();
        var (previous, open) = ((string?)null, new List<DpgQuestion>());
        foreach (var row in table.Rows.Skip(skipFirst ? 1 : 0))
        {
            if (new[] { ("item_id", item), ("proposition_id", id), ("dependency", dependency),
                ("question_natural_language", question) }
                .FirstOrDefault(pair => pair.Item2 < 0) is { Item1: { } missing })
            {
                throw new OfficialStopException("AttributeError", $"it has no column {missing}");
            }

            var read = Question(row);
            var name = Cell(row, item);
            if (name is null || name != previous)
            {
                open = [];
                if (name is not null && (tolerant || !numberedItems))
                {
                    if (items.ContainsKey(name))
                    {
                        notes.Add($"the rows of item {name} are not adjacent: the block from line {row.Line} on "
                            + $"replaces the earlier one");
                    }

                    items[name] = open;
                }
            }

            previous = name;
            if (open.FindIndex(q => q.Id == read.Id) is >= 0 and var at)
            {
                notes.Add($"item {name} has two questions {read.Id}: the one of line {row.Line} counts");
                open[at] = read;
            }
            else
            {
                open.Add(read);
            }
        }

        if (skipFirst && table.Rows.Count > 0)
        {
            var first = table.Rows[0];
            var lost = item >= 0 ? Cell(first, item) : null;
            if (lost is not null && items.TryGetValue(lost, out var rest))
            {
                notes.Add($"as in the official script the first data row is skipped: item {lost} loses its question "
                    + $"{(id >= 0 ? Cell(first, id) : null)} and is scored over {rest.Count}");
            }
        }

        if (numberedItems && items.Count == 0 && table.Rows.Count > 0 && !tolerant)
        {
            notes.Add("all item ids are numbers: the official script finds no image for them");
        }

        return new(items, notes);

        DpgQuestion Question((string[] Cells, int Line) row)
        {
            OfficialStopException Stop(string kind, string cause) => new(kind, $"line {row.Line}: {cause}");
            var idText = Cell(row, id) ?? throw Stop("ValueError", "it has no proposition_id");
            // a column of numbers is cut to whole ones; in one with text each must be whole
            var number = numberedIds ? (int)double.Parse(idText, NumberStyles.Float, CultureInfo.InvariantCulture)
                : Whole(idText, "proposition_id");
            var parents = Cell(row, dependency);
            if (parents is null || (!tolerant && numberedParents))
            {
                throw Stop("AttributeError", parents is null ? "it has no dependency (0 means none)"
                    : "all dependencies are numbers, none a list");
            }

            int[] ids = [.. parents.Split(',').Select(part => Whole(part, "dependency"))];
            var words = Cell(row, question) ?? throw Stop("AttributeError", "it has no question");
            return new(number, ids, tuple >= 0 ? Cell(row, tuple) : null, words);

            int Whole(string cell, string column)
            {
                try
                {
                    return PythonNumber.Int(cell) is var whole && whole > int.MinValue && whole < int.MaxValue
                        ? (int)whole : throw new OfficialStopException("OverflowError", cell);
                }
                catch (OfficialStopException e)
                {
                    throw Stop(e.Kind, $"{column} is '{cell}', no whole number of a question");
                }
            }
        }
    }

    private static bool IsNumber(string cell) => double.TryParse(cell, NumberStyles.Float, CultureInfo.InvariantCulture,
        out _);
}
