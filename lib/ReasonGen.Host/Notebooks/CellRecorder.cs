using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;

namespace ReasonGen.Host.Notebooks;

/// <summary>Keeps what a cell shows as a notebook file stores it; an update replaces what it updates.</summary>
internal sealed class CellRecorder(int executionCount, Action<string>? line = null) : ICellOutput
{
    private const int LongestStream = 200_000; // characters kept of one stream; more would make the file unreadable
    private readonly Lock gate = new();
    private readonly Dictionary<string, JObject> displays = [];

    /// <summary>The cell's outputs so far.</summary>
    internal JArray Outputs { get; } = [];

    public void Stream(string name, string text)
    {
        lock (gate)
        {
            if (Outputs.LastOrDefault() is JObject last && (string?)last["output_type"] == "stream" && (string?)last["name"] == name)
            {
                var so = (string)last["text"]!;
                last["text"] = so.Length > LongestStream ? so : so + text + (so.Length + text.Length > LongestStream ? "\n… the rest is not kept\n" : "");
            }
            else
            {
                Outputs.Add(new JObject { ["output_type"] = "stream", ["name"] = name, ["text"] = text });
            }
        }

        if (text.Trim() is { Length: > 0 } said)
        {
            line?.Invoke(said.Split('\n')[^1]);
        }
    }

    public void Display(JObject bundle, string displayId)
    {
        lock (gate)
        {
            var output = new JObject { ["output_type"] = "display_data", ["data"] = bundle, ["metadata"] = new JObject() };
            displays[displayId] = output;
            Outputs.Add(output);
        }
    }

    public void Update(JObject bundle, string displayId)
    {
        lock (gate)
        {
            if (displays.TryGetValue(displayId, out var output))
            {
                output["data"] = bundle;
            }
        }
    }

    public void Result(JObject bundle)
    {
        lock (gate)
        {
            Outputs.Add(new JObject { ["output_type"] = "execute_result", ["data"] = bundle, ["execution_count"] = executionCount, ["metadata"] = new JObject() });
        }
    }

    internal void Fail(CellResult result) => Outputs.Add(new JObject
    {
        ["output_type"] = "error", ["ename"] = result.ErrorName, ["evalue"] = result.ErrorValue, ["traceback"] = new JArray(result.Traceback?.ToArray() ?? []),
    });
}
