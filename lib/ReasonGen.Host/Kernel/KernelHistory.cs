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

    /// <summary>Entries (session, line, code) that a request asks for: a range, the last n, or those that match a pattern with * and ?.</summary>
    internal JArray Find(JObject request)
    {
        lock (gate)
        {
            var n = Math.Clamp((int?)request["n"] ?? Longest, 0, Longest);
            var found = (string?)request["hist_access_type"] switch
            {
                "range" => cells.Where(cell => cell.Line >= ((int?)request["start"] ?? 0) && cell.Line < ((int?)request["stop"] ?? int.MaxValue)),
                "search" => Unique(cells.Where(cell => FileSystemName.MatchesSimpleExpression((string?)request["pattern"] ?? "*", cell.Code, ignoreCase: false)),
                    (bool?)request["unique"] ?? false).TakeLast(n),
                _ => cells.TakeLast(n),
            };
            var withOutput = (bool?)request["output"] ?? false;
            return new JArray(found.Select(cell => new JArray(0, cell.Line, withOutput ? new JArray(cell.Code, JValue.CreateNull()) : cell.Code)));
        }
    }

    private static IEnumerable<(int Line, string Code)> Unique(IEnumerable<(int Line, string Code)> found, bool unique) =>
        unique ? found.GroupBy(cell => cell.Code).Select(group => group.Last()) : found;
}
