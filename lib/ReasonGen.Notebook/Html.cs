using System.Net;
using System.Runtime.CompilerServices;
using Microsoft.DotNet.Interactive.Formatting;

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
    /// <summary>Makes every kernel that uses the formatting library show our types: .NET Interactive and the runner alike.</summary>
#pragma warning disable CA2255 // a kernel loads this assembly with #r and calls nothing
    [ModuleInitializer]
    internal static void Register()
#pragma warning restore CA2255
    {
        Formatter.Register<IHtml>((value, writer) => writer.Write(value.ToHtml()), HtmlFormatter.MimeType);
        Formatter.Register<Core.Picture>((picture, writer) => writer.Write(Show.Pictures([picture]).ToHtml()), HtmlFormatter.MimeType);
        Formatter.Register<Microsoft.Data.Analysis.DataFrame>((frame, writer) => writer.Write(Show.Table(frame).ToHtml()), HtmlFormatter.MimeType);
        Formatter.Register<Plotly.NET.GenericChart>((chart, writer) => writer.Write(Plotly.NET.GenericChart.toChartHTML(chart)), HtmlFormatter.MimeType);
    }
}
