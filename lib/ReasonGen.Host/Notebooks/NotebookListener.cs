using System.Diagnostics;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Files;

namespace ReasonGen.Host.Notebooks;

/// <summary>Hears what the process of one notebook tells, for as long as that process lives: what its cells have
/// started may hold its pipes open for longer.</summary>
/// <param name="status">Told in a line where it is.</param>
internal sealed class NotebookListener(Action<string> status)
{
    // for what a process that died without an outcome has said last
    private static readonly TimeSpan LastWords = TimeSpan.FromSeconds(5);
    // for what one that told its outcome has printed; what it has started may keep its pipes open
    private static readonly TimeSpan LastLines = TimeSpan.FromSeconds(0.2);
    private const int MostLines = 500, LongestLine = 2000; // kept of what is printed: the last lines
    private readonly Lock gate = new();
    private readonly Queue<string> printed = new(), errors = new();
    private readonly TaskCompletionSource<NotebookOutcome> told =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool over;

    /// <summary>How it went; null where the process did not come to tell.</summary>
    internal NotebookOutcome? Outcome => told.Task.IsCompletedSuccessfully ? told.Task.Result : null;

    /// <summary>The cell that began last, 0 for none, and its source.</summary>
    internal (int Number, string Source) At { get; private set; } = (0, "");

    /// <summary>What was said on standard error.</summary>
    internal string Errors => Text(errors);

    /// <summary>What was printed on standard output, and is none of our lines.</summary>
    internal string Printed => Text(printed);

    /// <summary>Listens until the process has ended.</summary>
    internal async Task HearAsync(Process process)
    {
        var silent = Task.WhenAll(EachLineAsync(process.StandardOutput, Take),
            EachLineAsync(process.StandardError, line => Keep(errors, line)));
        await process.WaitForExitAsync(CancellationToken.None);
        await Task.WhenAny(told.Task, silent, Task.Delay(LastWords, CancellationToken.None));
        await Task.WhenAny(silent, Task.Delay(LastLines, CancellationToken.None));
        lock (gate)
        {
            over = true;
        }
    }

    private async Task EachLineAsync(StreamReader reader, Action<string> take)
    {
        while (await reader.ReadLineAsync(CancellationToken.None) is { } line)
        {
            lock (gate)
            {
                if (over)
                {
                    return;
                }

                take(line);
            }
        }
    }

    private void Take(string line)
    {
        // native code may have printed something before it on the same line
        if (line.IndexOf(NotebookExecution.Prefix, StringComparison.Ordinal) is not (>= 0 and var begin)
            || Message(line[(begin + NotebookExecution.Prefix.Length)..]) is not { } message)
        {
            Keep(printed, line);
            return;
        }

        if (begin > 0)
        {
            Keep(printed, line[..begin]);
        }

        if (message["Executed"] is not null)
        {
            told.TrySetResult(message.ToObject<NotebookOutcome>()!);
            return;
        }

        At = message["source"] is null ? At : ((int)message["number"]!, (string)message["source"]!);
        status($"cell {message["cell"]} of {message["of"]} {Terminal.Line((string?)message["line"] ?? "")}");
    }

    private static void Keep(Queue<string> lines, string line)
    {
        lines.Enqueue(line.Length > LongestLine ? line[..LongestLine] + "…" : line);
        if (lines.Count > MostLines)
        {
            lines.Dequeue();
        }
    }

    private string Text(Queue<string> lines)
    {
        lock (gate)
        {
            return string.Join('\n', lines).Trim();
        }
    }

    private static JObject? Message(string text)
    {
        try
        {
            return PlainJson.Parse(text) as JObject;
        }
        catch (JsonException)
        {
            return null; // what a cell's own processes print may look like it
        }
    }
}
