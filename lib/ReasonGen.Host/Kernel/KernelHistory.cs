using System.IO.Enumeration;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Kernel;

/// <summary>The cells that this session ran, for a front end's history (Jupyter messaging 5.3, "History").</summary>
internal sealed class KernelHistory
{
    private const int Longest = 10_000; // cells
    private readonly Lock gate = new();
    private readonly Queue<(int Line, string Code)> cells = new();

    internal void Add(int line, string code)
    {
        lock (gate)
        {
            cells.Enqueue((line, code));
            if (cells.Count > Longest)
            {
                cells.Dequeue();
            }
        }
    }

    /// <summary>Entries (session, line, code) that a request asks for: a range, the last n, or those that match a
    /// pattern with * and ?.</summary>
    /// <exception cref="MalformedRequestException">The request has something of another type than the protocol gives
    /// it.</exception>
    internal JArray Find(JObject request)
    {
        (int Line, string Code)[] all;
        lock (gate)
        {
            all = [.. cells];
        }

        var (n, withOutput) = (Math.Clamp(request.Number("n", Longest), 0, Longest), request.Flag("output", false));
        var (start, stop, pattern) =
            (request.Number("start", 0), request.Number("stop", int.MaxValue), request.Text("pattern", "*"));
        var found = request.Text("hist_access_type") switch
        {
            "range" => all.Where(cell => cell.Line >= start && cell.Line < stop),
            "search" =>
                Unique(all.Where(cell => FileSystemName.MatchesSimpleExpression(pattern, cell.Code, ignoreCase: false)),
                    request.Flag("unique", false)).TakeLast(n),
            _ => all.TakeLast(n),
        };
        return new JArray(
            found.Select(cell =>
                new JArray(0, cell.Line, withOutput ? new JArray(cell.Code, JValue.CreateNull()) : cell.Code)));
    }

    private static IEnumerable<(int Line, string Code)> Unique(IEnumerable<(int Line, string Code)> found,
        bool unique) =>
        unique ? found.GroupBy(cell => cell.Code).Select(group => group.Last()) : found;
}
