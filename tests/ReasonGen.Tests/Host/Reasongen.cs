using Newtonsoft.Json.Linq;

namespace ReasonGen.Tests.Host;

/// <summary>The command, in a process of its own.</summary>
internal static class Reasongen
{
    internal static string Assembly { get; } = typeof(ReasonGen.Host.Engine.CSharpSession).Assembly.Location;

    internal static async Task<(int Code, string Output)> RunAsync(params string[] arguments)
    {
        var (code, output, error) = await RunApartAsync(arguments);
        return (code, output + error);
    }

    /// <summary>The same, with standard output and standard error apart.</summary>
    internal static Task<(int Code, string Output, string Error)> RunApartAsync(params string[] arguments) =>
        Child.RunAsync(new("dotnet", [Assembly, .. arguments]));
}

/// <summary>Notebook files for tests.</summary>
internal static class SmallNotebook
{
    /// <summary>Writes one.</summary>
    /// <param name="path">Where to.</param>
    /// <param name="cells">Source of each cell, and "markdown", "code" or "parameters".</param>
    internal static void Write(string path, params (string Source, string Kind)[] cells)
    {
        JObject Cell(string source, string kind, int i) => kind == "markdown"
            ? new() { ["cell_type"] = kind, ["id"] = $"c{i}", ["metadata"] = new JObject(), ["source"] = source }
            : new()
            {
                ["cell_type"] = "code", ["id"] = $"c{i}",
                ["metadata"] = kind == "code" ? new JObject() : new JObject { ["tags"] = new JArray(kind) },
                ["source"] = source, ["outputs"] = new JArray(), ["execution_count"] = null,
            };
        File.WriteAllText(path, new JObject
        {
            ["cells"] = new JArray(cells.Select((cell, i) => Cell(cell.Source, cell.Kind, i))),
            ["metadata"] = new JObject
            {
                ["kernelspec"] =
                    new JObject { ["display_name"] = ".NET (C#)", ["language"] = "C#", ["name"] = ".net-csharp" },
            },
            ["nbformat"] = 4, ["nbformat_minor"] = 5,
        }.ToString());
    }
}
