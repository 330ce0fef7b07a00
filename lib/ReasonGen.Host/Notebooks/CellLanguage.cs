using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Notebooks;

/// <summary>The language of a cell: its own metadata's, as Polyglot Notebooks writes it, or else the
/// notebook's.</summary>
internal static class CellLanguage
{
    /// <summary>C#, which runs; the others that are shown are <c>html</c> and <c>markdown</c>.</summary>
    internal const string CSharp = "csharp";

    /// <summary>Whether cells of the language run here, or are shown.</summary>
    internal static bool IsKnown(string language) => language is CSharp or "html" or "markdown";

    internal static string Of(JObject cell, string ofNotebook) =>
        Named(cell["metadata"], "polyglot_notebook", "kernelName")
            ?? Named(cell["metadata"], "dotnet_interactive", "language") ?? ofNotebook;

    /// <summary>The language of a notebook's cells that name none; C# where it names none itself.</summary>
    internal static string OfNotebook(JObject? metadata) =>
        Named(metadata, "polyglot_notebook", "kernelInfo", "defaultKernelName")
            ?? Named(metadata, "kernelspec", "language")
        ?? OfKernel(Named(metadata, "kernelspec", "name"), Named(metadata, "language_info", "name")) ?? CSharp;

    private static string? OfKernel(string? kernel, string? language) =>
        kernel?.Contains(CSharp) == true || kernel?.Contains("reasongen") == true ? CSharp
            : language is null or "polyglot-notebook" ? kernel : language;

    private static string? Named(JToken? within, params string[] names)
    {
        foreach (var name in names)
        {
            within = (within as JObject)?[name];
        }

        return within is JValue { Type: JTokenType.String } text && (string)text! is { Length: > 0 } value
            ? Plain(value.ToLowerInvariant()) : null;
    }

    private static string Plain(string name) => (name.StartsWith(".net-") ? name[5..] : name) switch
    {
        "c#" => CSharp,
        "f#" => "fsharp",
        "powershell" => "pwsh",
        var other => other,
    };
}
