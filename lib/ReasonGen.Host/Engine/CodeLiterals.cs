using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace ReasonGen.Host.Engine;

/// <summary>Finds out whether a line of a cell begins inside a string, a comment or a stretch that is left out (<c>#if
/// false</c>) and began above it, where <c>#!</c> and <c>#r</c> are text.</summary>
internal sealed class CodeLiterals(string code)
{
    private static readonly CSharpParseOptions Options = new(LanguageVersion.Latest, kind: SourceCodeKind.Script);
    // when it is to be compiled: it must not be read before
    private readonly bool isRefused = CellNesting.OverflowsAt(code) is not null;

    /// <summary>The end of the string or comment in which a position lies; the position itself where it lies in
    /// none.</summary>
    /// <param name="start">A place above that lies between two tokens; only from there on is looked.</param>
    /// <param name="position">What is asked about.</param>
    internal int EndAround(int start, int position)
    {
        if (isRefused)
        {
            return position;
        }

        // as little as answers the question, and then twice as much each time, so that all questions together take time
        // in proportion to the cell
        for (var limit = Math.Min(code.Length, position + 1); ;
            limit = Math.Min(code.Length, start + 2 * (limit - start)))
        {
            var end = Within(code[start..limit], position - start) + start;
            if (end < limit || limit == code.Length)
            {
                return end;
            }
        }
    }

    private static int Within(string stretch, int position)
    {
        foreach (var token in SyntaxFactory.ParseTokens(stretch, options: Options))
        {
            if (token.FullSpan.End <= position && !token.IsKind(SyntaxKind.EndOfFileToken))
            {
                continue;
            }

            return Surrounds(token.Span) ? token.Span.End : token.LeadingTrivia.Concat(token.TrailingTrivia)
                .Where(trivia =>
                    IsComment(trivia) ? Surrounds(trivia.FullSpan)
                        : IsLeftOut(trivia) && trivia.FullSpan.Contains(position))
                .Select(trivia => trivia.FullSpan.End).FirstOrDefault(position);
        }

        return position;

        bool Surrounds(Microsoft.CodeAnalysis.Text.TextSpan span) => span.Start < position && position < span.End;
    }

    private static bool IsComment(SyntaxTrivia trivia) =>
        trivia.Kind() is SyntaxKind.MultiLineCommentTrivia or SyntaxKind.MultiLineDocumentationCommentTrivia;

    // between an #if that does not hold and its #endif
    private static bool IsLeftOut(SyntaxTrivia trivia) =>
        trivia.IsKind(SyntaxKind.DisabledTextTrivia)
            || trivia.GetStructure() is DirectiveTriviaSyntax { IsActive: false };
}
