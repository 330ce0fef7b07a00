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

    /// <summary>Asks the person at the notebook for a line.</summary>
    /// <param name="prompt">What is asked.</param>
    /// <param name="hidden">Whether what is typed is not to be seen.</param>
    /// <exception cref="InvalidOperationException">Nobody can be asked.</exception>
    string? Read(string prompt, bool hidden) =>
        throw new InvalidOperationException(
            "the cell asks for input, and nobody is there to answer: it runs without a person");
}

/// <summary>Ends a cell that was interrupted when it next shows something, wherever it runs by then.</summary>
internal sealed class StoppableOutput(ICellOutput output, CancellationToken stopped) : ICellOutput
{
    public void Stream(string name, string text) => Live.Stream(name, text);

    public void Display(JObject bundle, string displayId) => Live.Display(bundle, displayId);

    public void Update(JObject bundle, string displayId) => Live.Update(bundle, displayId);

    public void Result(JObject bundle) => Live.Result(bundle);

    public string? Read(string prompt, bool hidden) => Live.Read(prompt, hidden);

    private ICellOutput Live
    {
        get
        {
            stopped.ThrowIfCancellationRequested();
            return output;
        }
    }
}

/// <summary>How a cell ended: well, or with a name, a message and lines of trace.</summary>
public sealed record CellResult(string? ErrorName = null, string ErrorValue = "",
    IReadOnlyList<string>? Traceback = null)
{
    public bool Ok => ErrorName is null;
}
