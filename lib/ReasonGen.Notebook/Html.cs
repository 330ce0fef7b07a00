using System.Net;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;
using Microsoft.DotNet.Interactive.Formatting;
using ReasonGen.Imaging;

namespace ReasonGen.Notebook;

/// <summary>Something a cell shows as HTML.</summary>
public interface IHtml
{
    /// <summary>HTML without outside references.</summary>
    string ToHtml();
}

/// <summary>A piece of HTML.</summary>
public sealed record Html(string Text) : IHtml
{
    public string ToHtml() => Text;

    /// <summary>Text with HTML's special characters escaped.</summary>
    public static string Escape(string text) => WebUtility.HtmlEncode(text);
}

internal static class Formatters
{
    private static readonly string[] Charting = ["FSharp.Core", "DynamicObj", "Giraffe.ViewEngine", "Plotly.NET",
        "Plotly.NET.CSharp"];

    /// <summary>Makes every kernel that uses the formatting library show our types: .NET Interactive and the runner
    /// alike.</summary>
#pragma warning disable CA2255 // a kernel loads this assembly with #r and calls nothing
    [ModuleInitializer]
    internal static void Prepare()
#pragma warning restore CA2255
    {
        KeepChartingTogether();
        Register();
        KernelBridge.LoadExtension();
    }

    [MethodImpl(MethodImplOptions.NoInlining)] // compiling it loads Plotly.NET, which must come after the above
    private static void Register()
    {
        Formatter.Register<IHtml>((value, writer) => writer.Write(value.ToHtml()), HtmlFormatter.MimeType);
        Formatter.Register<RgbImage>((image, writer) => writer.Write(Show.Images([image]).ToHtml()),
            HtmlFormatter.MimeType);
        Formatter.Register<Microsoft.Data.Analysis.DataFrame>((frame, writer) =>
            writer.Write(Show.Head(frame, Formatter.ListExpansionLimit).ToHtml()), HtmlFormatter.MimeType);
        Formatter.Register<Plotly.NET.GenericChart>((chart, writer) => writer.Write(Chart(chart)),
            HtmlFormatter.MimeType);
    }

    // a front end runs the chart's own script; the report, which runs none, draws it from the numbers beside it
    private static string Chart(Plotly.NET.GenericChart chart) =>
        $"<div class=\"rg-figure\">{Plotly.NET.GenericChart.toChartHTML(chart)}"
        + $"<script type=\"application/json\" "
        + $"class=\"rg-plotly\">{Plotly.NET.GenericChart.toFigureJson(chart).Replace("</", "<\\/")}</script></div>";

    // .NET Interactive gives each library a context of its own and ships an FSharp.Core older than Plotly.NET needs,
    // which some of Plotly.NET's libraries would get and others not. What lies in our own context, we and they find
    // there first.
    private static void KeepChartingTogether()
    {
        var here = typeof(Formatters).Assembly;
        if (AssemblyLoadContext.GetLoadContext(here) is { } context && context != AssemblyLoadContext.Default)
        {
            foreach (var path
                in Charting.Select(name => Path.Combine(Path.GetDirectoryName(here.Location) ?? "", name + ".dll"))
                    .Where(File.Exists))
            {
                context.LoadFromAssemblyPath(path);
            }
        }
    }
}
