using System.Text;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using ReasonGen.Host.Engine;

namespace ReasonGen.Host.Notebooks;

/// <summary>C# as HTML whose keywords, strings, numbers and comments can be coloured.</summary>
internal static class CodeColors
{
    private static readonly CSharpParseOptions Options = new(LanguageVersion.Latest, kind: SourceCodeKind.Script);

    /// <summary>A cell's code; without colours where it is nested deeper than can be read.</summary>
    internal static string ToHtml(string code)
    {
        if (CellNesting.TooDeepAt(code) is not null)
        {
            return Notebook.Html.Escape(code);
        }

        var html = new StringBuilder();
        foreach (var token in SyntaxFactory.ParseTokens(code, options: Options))
        {
            Trivia(html, token.LeadingTrivia);
            Append(html, Class(token), token.Text);
            Trivia(html, token.TrailingTrivia);
        }

        return html.ToString();
    }

    private static string Class(SyntaxToken token) => token.Kind() switch
    {
        SyntaxKind.StringLiteralToken or SyntaxKind.CharacterLiteralToken or SyntaxKind.InterpolatedStringToken
            or SyntaxKind.SingleLineRawStringLiteralToken or SyntaxKind.MultiLineRawStringLiteralToken => "s",
        SyntaxKind.NumericLiteralToken => "n",
        _ => SyntaxFacts.IsReservedKeyword(token.Kind())
            || token.Text is "var" or "await" or "record" or "with" or "when" ? "k" : "",
    };

    private static void Trivia(StringBuilder html, SyntaxTriviaList list)
    {
        foreach (var trivia in list)
        {
            var text = trivia.ToFullString();
            Append(html,
                trivia.IsDirective || text.StartsWith("#!") ? "d"
                    : text.StartsWith("//") || text.StartsWith("/*") ? "c" : "", text);
        }
    }

    private static void Append(StringBuilder html, string type, string text)
    {
        text = Notebook.Html.Escape(text);
        html.Append(type.Length == 0 || text.Length == 0 ? text : $"<span class=\"{type}\">{text}</span>");
    }
}
