using System.Text;
using System.Text.Json;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Files;
using Formatting = Newtonsoft.Json.Formatting;

namespace ReasonGen.Host.Notebooks;

/// <summary>
/// The text of a notebook file, in which a run replaces what it changes and leaves every other byte: order and spelling
/// of names, numbers, dates and escapes, indentation and line ends are those of whoever wrote it.
/// </summary>
internal sealed class NotebookText
{
    /// <summary>Where an object stands in the file, and the values of its members.</summary>
    private sealed record Place(int Start, int FirstName, int End, Dictionary<string, (int Start, int End)> Members);

    private readonly byte[] bytes;
    private readonly Place root;
    private readonly List<Place> cells = [];
    private readonly string unit; // of indentation; empty where all stands on one line
    private readonly string lineEnd;

    /// <param name="bytes">UTF-8 without a mark at its start.</param>
    /// <exception cref="System.Text.Json.JsonException">It is no json, or nested too deep.</exception>
    internal NotebookText(byte[] bytes)
    {
        this.bytes = bytes;
        var reader = new Utf8JsonReader(WithoutNames(bytes), new JsonReaderOptions { MaxDepth = PlainJson.Depth });
        reader.Read();
        root = ReadObject(ref reader, name => name == "cells");
        while (reader.Read())
        {
            // nothing but blanks may follow
        }

        var lead = Between(root.Start + 1, root.FirstName);
        unit = lead.Contains('\n') ? lead[(lead.LastIndexOf('\n') + 1)..] : "";
        lineEnd = lead.Contains("\r\n") ? "\r\n" : "\n";
    }

    /// <summary>The whole, with changes.</summary>
    /// <param name="order">The cells to write: as they are now, place in the file or null for a new one, and names of
    /// what changed.</param>
    /// <param name="notebook">The notebook as it is now, and names of what changed beside the cells.</param>
    internal byte[] With(IEnumerable<(JObject Cell, int? Place, IEnumerable<string> Changed)> order,
        (JObject Root, IEnumerable<string> Changed) notebook)
    {
        var made = new StringBuilder();
        foreach (var (i, (cell, place, changed)) in order.Index())
        {
            // its own comma and blanks
            var before = i > 0 && place is > 0 ? Between(cells[place.Value - 1].End, cells[place.Value].Start)
                : (i > 0 ? "," : "")
                    + (cells.Count > 0 ? Between(root.Members["cells"].Start + 1, cells[0].Start) : "");
            made.Append(before)
                .Append(place is { } at ? Changed(cells[at], cell, changed) : Written(cell, cells[0].Start));
        }

        var list = root.Members["cells"];
        var inner = cells.Count == 0 ? Between(list.Start, list.End) : $"[{made}{Between(cells[^1].End, list.End)}";
        return Encoding.UTF8.GetBytes(Changed(root, notebook.Root, notebook.Changed, (list, inner))
            + Between(root.End, bytes.Length));
    }

    // an object with some values replaced, and members that it lacks set behind its last
    private string Changed(Place place, JObject now, IEnumerable<string> changed,
        params ((int Start, int End) Where, string Text)[] replaced)
    {
        var names = changed.ToLookup(place.Members.ContainsKey);
        var edits = replaced
            .Concat(names[true].Select(name =>
                (Where: place.Members[name], Text: Written(now[name]!, place.FirstName))))
                .OrderBy(edit => edit.Where.Start);
        var (text, at) = (new StringBuilder(), place.Start);
        foreach (var ((start, end), value) in edits)
        {
            text.Append(Between(at, start)).Append(value);
            at = end;
        }

        var last = place.Members.Values.Max(member => member.End);
        text.Append(Between(at, last));
        foreach (var name in names[false])
        {
            text.Append(',').Append(unit.Length == 0 ? " " : Between(place.Start + 1, place.FirstName))
                .Append(JsonConvert.ToString(name)).Append(": ").Append(Written(now[name]!, place.FirstName));
        }

        return text.Append(Between(last, place.End)).ToString();
    }

    // a value whose first line begins where something in the file stands
    private string Written(JToken value, int beside)
    {
        if (unit.Length == 0)
        {
            return value.ToString(Formatting.None);
        }

        using var text = new StringWriter { NewLine = lineEnd };
        using (var writer = new JsonTextWriter(text)
        {
            Formatting = Formatting.Indented, IndentChar = unit[0], Indentation = unit.Length,
        })
        {
            value.WriteTo(writer);
        }

        var line = beside == 0 ? -1 : Array.LastIndexOf(bytes, (byte)'\n', beside - 1);
        var margin = new string([.. Between(line + 1, beside).TakeWhile(char.IsWhiteSpace)]);
        return text.ToString().Replace(lineEnd, lineEnd + margin);
    }

    private string Between(int start, int end) => Encoding.UTF8.GetString(bytes, start, end - start);

    // the reader stands on the object's first token, and then on its last
    private Place ReadObject(ref Utf8JsonReader reader, Predicate<string> descend)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw new System.Text.Json.JsonException("it does not begin with '{'");
        }

        var (start, first, members) = ((int)reader.TokenStartIndex, 0, new Dictionary<string, (int, int)>());
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            first = first == 0 ? (int)reader.TokenStartIndex : first;
            var name = NameAt(ref reader);
            reader.Read();
            var from = (int)reader.TokenStartIndex;
            if (descend(name) && reader.TokenType == JsonTokenType.StartArray)
            {
                while (reader.Read() && reader.TokenType == JsonTokenType.StartObject)
                {
                    cells.Add(ReadObject(ref reader, _ => false));
                }
            }

            if (reader.TokenType is JsonTokenType.StartArray or JsonTokenType.StartObject)
            {
                reader.Skip();
            }

            members[name] = (from, (int)reader.BytesConsumed);
        }

        return new Place(start, first, (int)reader.BytesConsumed, members);
    }

    private static string NameAt(ref Utf8JsonReader reader)
    {
        try
        {
            return reader.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new System.Text.Json.JsonException("a name holds half of a character", e);
        }
    }

    // Python writes NaN and Infinity, which are no json: numbers of the same length stand in for them while places are
    // looked for
    private static byte[] WithoutNames(byte[] bytes)
    {
        var (copy, quoted) = (bytes.ToArray(), false);
        for (var i = 0; i < copy.Length; i++)
        {
            if (copy[i] == '"')
            {
                quoted = !quoted;
            }
            else if (copy[i] == '\\' && quoted)
            {
                i++;
            }
            else if (!quoted && copy[i] is (byte)'N' or (byte)'I')
            {
                var name = copy[i] == 'N' ? "NaN"u8 : "Infinity"u8;
                if (copy.AsSpan(i).StartsWith(name))
                {
                    copy.AsSpan(i, name.Length).Fill((byte)'1');
                    i += name.Length - 1;
                }
            }
        }

        return copy;
    }
}
