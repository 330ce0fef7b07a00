using Microsoft.DotNet.Interactive.Formatting;
using Newtonsoft.Json.Linq;
using ReasonGen.Files;

namespace ReasonGen.Host.Engine;

/// <summary>Something a cell has displayed and may replace.</summary>
public sealed class DisplayedValue
{
    private readonly ICellOutput output;
    private readonly string mime, id;

    internal DisplayedValue(ICellOutput output, string mime, string id) =>
        (this.output, this.mime, this.id) = (output, mime, id);

    /// <summary>Replaces what is shown, wherever it stands. In a cell it is that cell which says so: a front end takes
    /// what one says that is no longer running for nothing.</summary>
    public void Update(object? value) => (CellFunctions.Output ?? output).Update(Bundles.Of(value, mime), id);
}

/// <summary>Values as bundles of mime types, by the registered formatters.</summary>
internal static class Bundles
{
    internal static JObject Of(object? value, string mime = "")
    {
        if (value is null)
        {
            return new JObject { ["text/plain"] = Formatter.NullString };
        }

        var types = mime.Length > 0 ? [mime] : Formatter.GetPreferredMimeTypesFor(value.GetType()).ToArray();
        var bundle = new JObject();
        foreach (var type in types.DefaultIfEmpty(Formatter.DefaultMimeType))
        {
            var text = value.ToDisplayString(type);
            bundle[type] = type == "application/json" ? PlainJson.Parse(text) : text;
        }

        return bundle;
    }
}

/// <summary>What every cell can call without a using.</summary>
public static class CellFunctions
{
    private static readonly AsyncLocal<ICellOutput?> Current = new();

    internal static ICellOutput? Output
    {
        get => Current.Value;
        set => Current.Value = value;
    }

    private static ICellOutput InCell =>
        Output ?? throw new InvalidOperationException("this is for code that runs in a notebook cell");

    /// <summary>Shows a value, as its formatter or the given mime type has it.</summary>
    public static DisplayedValue display(object? value, string mimeType = "")
    {
        var (output, id) = (InCell, Guid.NewGuid().ToString("N"));
        output.Display(Bundles.Of(value, mimeType), id);
        return new DisplayedValue(output, mimeType, id);
    }

    /// <summary>Asks the person at the notebook for a line.</summary>
    /// <exception cref="InvalidOperationException">Nobody can be asked.</exception>
    public static Task<string?> GetInputAsync(string prompt = "") => Task.FromResult(InCell.Read(prompt, false));

    /// <summary>Asks for a line that is not to be seen while it is typed.</summary>
    /// <exception cref="InvalidOperationException">Nobody can be asked.</exception>
    public static Task<string?> GetPasswordAsync(string prompt = "") => Task.FromResult(InCell.Read(prompt, true));

    /// <summary>Text to be shown as HTML.</summary>
    public static Notebook.Html HTML(string text) => new(text);

    /// <summary>Shows a value.</summary>
    public static DisplayedValue Display(this object? value, string mimeType = "") => display(value, mimeType);

    /// <summary>Shows text as a mime type.</summary>
    public static DisplayedValue DisplayAs(this string text, string mimeType)
    {
        var (output, id) = (InCell, Guid.NewGuid().ToString("N"));
        output.Display(new JObject { [mimeType] = text }, id);
        return new DisplayedValue(output, mimeType, id);
    }
}
