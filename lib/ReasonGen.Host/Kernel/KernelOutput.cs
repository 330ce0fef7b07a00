using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;

namespace ReasonGen.Host.Kernel;

/// <summary>Sends what a cell shows to the front ends as it comes; text in lumps, so that a cell that prints much is
/// not one message a word.</summary>
/// <param name="publish">Sends a message that comes of this cell.</param>
/// <param name="ask">Asks the person at the front end.</param>
/// <param name="executionCount">Number of the cell.</param>
internal sealed class KernelOutput(Action<string, JObject> publish, Func<string, bool, string?> ask, int executionCount)
    : ICellOutput, IDisposable
{
    private const int Lump = 256 << 10; // characters
    private static readonly TimeSpan Latest = TimeSpan.FromMilliseconds(40);
    private readonly Lock gate = new();
    private readonly StringBuilder text = new();
    private string stream = "";
    private bool due;

    public void Stream(string name, string said)
    {
        lock (gate)
        {
            if (name != stream)
            {
                Flush(whole: true);
                stream = name;
            }

            for (var from = 0; from < said.Length;)
            {
                var length = Math.Min(Lump, said.Length - from);
                text.Append(said, from, length);
                from += length;
                if (text.Length >= Lump)
                {
                    Flush();
                }
            }

            if (text.Length > 0 && !due)
            {
                due = true;
                // no timer: its calls are made by the pool, which a cell may have filled
                new Thread(FlushSoon) { IsBackground = true, Name = "output" }.Start();
            }
        }
    }

    public void Display(JObject bundle, string displayId) => Show("display_data", bundle, displayId);

    public void Update(JObject bundle, string displayId) => Show("update_display_data", bundle, displayId);

    public void Result(JObject bundle)
    {
        lock (gate)
        {
            Flush();
            publish("execute_result",
                new JObject { ["execution_count"] = executionCount, ["data"] = bundle, ["metadata"] = new JObject() });
        }
    }

    public string? Read(string prompt, bool hidden)
    {
        FlushNow();
        return ask(prompt, hidden);
    }

    /// <summary>Sends what waits.</summary>
    public void Dispose() => FlushNow(whole: true);

    private void Show(string type, JObject bundle, string displayId)
    {
        lock (gate)
        {
            Flush();
            publish(type,
                new JObject
                {
                    ["data"] = bundle, ["metadata"] = new JObject(),
                    ["transient"] = new JObject { ["display_id"] = displayId },
                });
        }
    }

    private void FlushSoon()
    {
        Thread.Sleep(Latest);
        lock (gate)
        {
            due = false;
            Flush();
        }
    }

    private void FlushNow(bool whole = false)
    {
        lock (gate)
        {
            Flush(whole);
        }
    }

    // Half of a character waits for the other, unless none is to come.
    private void Flush(bool whole = false)
    {
        var length = text.Length - (!whole && text.Length > 0 && char.IsHighSurrogate(text[^1]) ? 1 : 0);
        if (length > 0)
        {
            publish("stream", new JObject { ["name"] = stream, ["text"] = text.ToString(0, length) });
            text.Remove(0, length);
        }
    }
}
