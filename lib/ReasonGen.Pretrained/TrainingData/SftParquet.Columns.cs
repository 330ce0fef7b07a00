using Parquet;
using Parquet.Data;
using Parquet.Schema;
using ReasonGen.Checkpoints;

namespace ReasonGen.TrainingData;

public sealed partial class SftParquet
{
    /// <summary>The first row that has a text in none of some columns; null where every row has one. Only those columns
    /// are read.</summary>
    /// <param name="columns">Columns, and members of columns after a full stop: detailed_caption,
    /// augmented_prompts.tags.</param>
    /// <exception cref="UnusableFileException">The file is damaged, or a list of texts that a row holds as a text; the
    /// row is named. Or a column holds lists where a text belongs.</exception>
    public long? FirstWithout(params IReadOnlyList<string> columns) => First(false, columns);

    /// <summary>Whether any row has a text in a column; row groups are read up to the first with one.</summary>
    /// <param name="column">As for <see cref="FirstWithout"/>.</param>
    /// <exception cref="UnusableFileException">As for <see cref="FirstWithout"/>.</exception>
    internal bool HasText(string column) => First(true, [column]) is not null;

    // the first row that has a text in any of the columns, or in none
    private long? First(bool text, IReadOnlyList<string> columns) =>
        Guard<long?>(Path, $"its column {string.Join(" or ", columns)} is damaged", async () =>
    {
        long first = 0;
        for (var group = 0; group < GroupRows.Count; first += GroupRows[group++])
        {
            var there = new bool[GroupRows[group]];
            foreach (var column in there.Length > 0 ? columns : [])
            {
                await MarkAsync(group, column, first, there);
            }

            if (Array.IndexOf(there, text) is >= 0 and var row)
            {
                return first + row;
            }
        }

        return null;
    });

    // a column, or what lies below it; or the text that holds it as JSON
    private async Task MarkAsync(int group, string column, long first, bool[] there)
    {
        await using var footer = ParquetGuard.OpenFooter(Path);
        await using var schema = await ParquetReader.CreateAsync(footer);
        var (parent, inner) = (column.Split('.')[0], column[(column.IndexOf('.') + 1)..]);
        foreach (var path in schema.Schema.DataFields.Select(field => field.Path.ToList()))
        {
            var name = string.Join('.', path);
            if (name != column && name != parent && !name.StartsWith(column + ".", StringComparison.Ordinal))
            {
                continue;
            }

            if (name != column && name != parent && !PromptAugmentation.IsList(inner))
            {
                throw new UnusableFileException(Path, $"its column {column} is a list where a text belongs",
                    "write one text a row, or leave the column out and train on other wordings");
            }

            await using var stream = guard.Open(Path, group, string.Join('\0', path));
            await using var reader = await ParquetReader.CreateAsync(stream);
            var field = reader.Schema.DataFields.First(field => field.Path.ToList().SequenceEqual(path));
            using var data = await reader.RowGroups[group].ReadRawColumnDataBaseAsync(field);
            Func<int, string>? text = data switch
            {
                RawColumnData<ReadOnlyMemory<char>> texts => i => texts.Values[i].ToString(),
                RawColumnData<ReadOnlyMemory<byte>> bytes => i => Text(bytes.Values[i].Span)
                    ?? throw new ArgumentException($"its {name} {NoText}"),
                _ => null,
            };
            if (text is not null)
            {
                var count = (int)reader.RowGroups[group].GetMetadata(field)!.MetaData!.NumValues;
                Mark(first, there, data, field, count, i => Says(text(i)));
                bool Says(string said) => name == parent && name != column
                    ? Prompts(said) is { } prompts && PromptAugmentation.Says(inner, prompts[inner])
                    : field.MaxRepetitionLevel > 0 ? !string.IsNullOrWhiteSpace(said)
                        : PromptAugmentation.Says(inner, said);
            }
        }
    }

    private void Mark(long first, bool[] there, RawColumnData data, DataField field, int count, Func<int, bool> says)
    {
        var row = -1;
        try
        {
            for (int i = 0, value = 0; i < count; i++)
            {
                row += field.MaxRepetitionLevel == 0 || data.RepetitionLevels[i] == 0 ? 1 : 0;
                if (field.MaxDefinitionLevel == 0 || data.DefinitionLevels[i] == field.MaxDefinitionLevel)
                {
                    there[row] |= says(value++);
                }
            }
        }
        catch (ArgumentException e)
        {
            throw new UnusableFileException(Path, $"row {first + row} cannot be trained on: {e.Message}",
                "write a list of texts, the whole list as a text, or a plain sentence, in UTF-8", e);
        }
    }
}
