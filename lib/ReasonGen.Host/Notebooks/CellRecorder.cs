using System.Collections.Concurrent;
using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;

namespace ReasonGen.Host.Notebooks;

/// <summary>Keeps what a cell shows as a notebook file stores it; an update replaces what it updates.</summary>
/// <param name="executionCount">Number of the cell.</param>
/// <param name="line">Is told the last line of what the cell prints.</param>
/// <param name="owners">Who keeps what was displayed, by its id, of all cells of a notebook: any of them may update
/// it. Null for a cell alone.</param>
internal sealed class CellRecorder(int executionCount, Action<string>? line = null,
    ConcurrentDictionary<string, CellRecorder>? owners = null) : ICellOutput
{
    private const int LongestStream = 200_000; // characters kept of one stream; more would make the file unreadable
    private readonly Lock gate = new();
    private readonly List<(JObject Output, StringBuilder? Text)> outputs = [];
    private readonly Dictionary<string, JObject> displays = [];
    private readonly ConcurrentDictionary<string, CellRecorder> owners = owners ?? new();
    private long left; // characters of the last stream that are not kept

    /// <summary>Whether the outputs are other than when they were last taken.</summary>
    internal bool HasNews { get; private set; } = true;

    /// <summary>The cell's outputs so far, as they are to be written; a copy, since what the cell has started may go on
    /// showing.</summary>
    internal JArray Outputs
    {
        get
        {
            lock (gate)
            {
                HasNews = false;
                WriteStream();
                return new JArray(outputs.Select(output => output.Output.DeepClone()));
            }
        }
    }

    public void Stream(string name, string text)
    {
        lock (gate)
        {
            if (outputs.LastOrDefault() is not { Text: { } kept, Output: var last } || (string?)last["name"] != name)
            {
                CloseStream();
                outputs.Add(
                    (new JObject
                    {
                        ["output_type"] = "stream", ["name"] = name, ["text"] = "",
                    }, kept = new StringBuilder()));
            }

            HasNews = true;
            var fits = left > 0 ? 0 : Math.Min(text.Length, LongestStream - kept.Length);
            kept.Append(text, 0, fits);
            if (kept.Length == LongestStream && char.IsHighSurrogate(kept[^1]))
            {
                kept.Length--; // no half of a character is kept
                fits--;
            }

            left += text.Length - fits;
        }

        if (text.Trim() is { Length: > 0 } said)
        {
            line?.Invoke(said[(said.LastIndexOf('\n') + 1)..]);
        }
    }

    public void Display(JObject bundle, string displayId)
    {
        lock (gate)
        {
            Add(displays[displayId] =
                new JObject { ["output_type"] = "display_data", ["data"] = bundle, ["metadata"] = new JObject() });
            owners[displayId] = this;
        }
    }

    public void Update(JObject bundle, string displayId)
    {
        if (owners.TryGetValue(displayId, out var owner))
        {
            owner.Replace(bundle, displayId);
        }
    }

    public void Result(JObject bundle) => Add(new JObject
    {
        ["output_type"] = "execute_result", ["data"] = bundle, ["execution_count"] = executionCount,
        ["metadata"] = new JObject(),
    });

    internal void Fail(CellResult result) => Add(new JObject
    {
        ["output_type"] = "error", ["ename"] = result.ErrorName, ["evalue"] = result.ErrorValue,
        ["traceback"] = new JArray(result.Traceback?.ToArray() ?? []),
    });

    private void Replace(JObject bundle, string displayId)
    {
        lock (gate)
        {
            displays[displayId]["data"] = bundle;
            HasNews = true;
        }
    }

    private void Add(JObject output)
    {
        lock (gate)
        {
            CloseStream();
            outputs.Add((output, null));
            HasNews = true;
        }
    }

    private void CloseStream()
    {
        WriteStream();
        if (outputs.Count > 0)
        {
            outputs[^1] = (outputs[^1].Output, null);
        }

        left = 0;
    }

    private void WriteStream()
    {
        if (outputs.LastOrDefault() is { Text: { } kept, Output: var last })
        {
            last["text"] =
                kept + (left == 0 ? "" : FormattableString.Invariant($"\n… {left:#,0} characters more are not kept\n"));
        }
    }
}
