using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Engine;

/// <summary>Where the outputs of a cell go: a notebook file, or a Jupyter client.</summary>
public interface ICellOutput
{
    /// <summary>Text on "stdout" or "stderr".</summary>
    void Stream(string name, string text);

    /// <summary>Something displayed, by mime type; <paramref name="displayId"/> names it for updates.</summary>
    void Display(JObject bundle, string displayId);

    /// <summary>A new state of something displayed.</summary>
    void Update(JObject bundle, string displayId);

    /// <summary>The value of the trailing expression.</summary>
    void Result(JObject bundle);
}

/// <summary>How a cell ended: well, or with a name, a message and lines of trace.</summary>
public sealed record CellResult(string? ErrorName = null, string ErrorValue = "", IReadOnlyList<string>? Traceback = null)
{
    public bool Ok => ErrorName is null;
}
