using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace ReasonGen.Host.Engine;

/// <summary>
/// Tells code that is nested deeper than the compiler's stack bears. The compiler guards most kinds of expressions and
/// statements, but not tuples and types when it parses, nor chains of members and queries when it binds, and a stack
/// that overflows ends the process and with it the session.
/// </summary>
internal static class CellNesting
{
    private const int DeepestBrackets = 500, DeepestTree = 1000, DeepestText = 100; // what people write has some dozen
    // of brackets wherever they stand: the compiler reads those within an interpolated string by recursion
    private const int DeepestRaw = 5000;
    private static readonly CSharpParseOptions Parsing = new(LanguageVersion.Latest, kind: SourceCodeKind.Script);

    /// <summary>The line, counted from 1, on which code is nested too deeply; null where it is not.</summary>
    internal static int? TooDeepAt(string code) =>
        code.Length <= DeepestText ? null : BracketsAt(code) ?? (code.Length <= DeepestTree ? null : TreeAt(code));

    /// <summary>The line on which even telling strings from code would overflow the stack; null where it does
    /// not.</summary>
    internal static int? OverflowsAt(string code) => code.Contains('$') ? At(code, DeepestRaw, "([{", ")]}") : null;

    private static int? BracketsAt(string code)
    {
        var text = code.AsSpan();
        if (text.Count('(') + text.Count('[') + text.Count('{') + text.Count('<') + text.Count('?') <= DeepestText)
        {
            return null;
        }

        if (OverflowsAt(code) is { } raw)
        {
            return raw;
        }

        var (depth, types, choices) = (0, 0, 0);
        foreach (var token in SyntaxFactory.ParseTokens(code)) // which does not nest, and knows what is a string
        {
            switch (token.Kind())
            {
                case SyntaxKind.OpenParenToken or SyntaxKind.OpenBracketToken or SyntaxKind.OpenBraceToken:
                    (depth, types, choices) = (depth + 1, 0, 0);
                    break;
                case SyntaxKind.CloseParenToken or SyntaxKind.CloseBracketToken or SyntaxKind.CloseBraceToken:
                    (depth, types, choices) = (Math.Max(0, depth - 1), 0, 0);
                    break;
                case SyntaxKind.LessThanToken or SyntaxKind.LessThanLessThanToken:
                    types++;
                    break;
                case SyntaxKind.QuestionToken: // of a conditional: a chain of them stands one within another
                    choices++;
                    break;
                // each is read again for each that holds it
                case SyntaxKind.InterpolatedStringToken when At(token.Text, DeepestText, "{", "}") is not null:
                    return LineOf(code, token.SpanStart);
                case SyntaxKind.SemicolonToken or SyntaxKind.CommaToken:
                    (types, choices) = (token.IsKind(SyntaxKind.CommaToken) ? types : 0, 0);
                    break;
                case SyntaxKind.AmpersandAmpersandToken or SyntaxKind.BarBarToken or SyntaxKind.EqualsToken:
                    types = 0; // it was a comparison
                    break;
            }

            if (Math.Max(depth, Math.Max(types, choices)) > DeepestBrackets)
            {
                return LineOf(code, token.SpanStart);
            }
        }

        return null;
    }

    private static int? TreeAt(string code)
    {
        Stack<(SyntaxNode Node, int Depth)> open = [];
        open.Push((CSharpSyntaxTree.ParseText(code, Parsing).GetRoot(), 0));
        while (open.TryPop(out var at))
        {
            if (at.Depth > DeepestTree)
            {
                return LineOf(code, at.Node.SpanStart);
            }

            foreach (var child in at.Node.ChildNodes())
            {
                // sums of many terms are no depth: the compiler goes through them one by one
                open.Push(
                    (child, at.Node is BinaryExpressionSyntax sum && sum.Left == child ? at.Depth : at.Depth + 1));
            }
        }

        return null;
    }

    // The line on which brackets, strings and all, stand deeper than a limit.
    private static int? At(string code, int limit, string opening, string closing)
    {
        var depth = 0;
        foreach (var (at, c) in code.Index())
        {
            depth = opening.Contains(c) ? depth + 1 : closing.Contains(c) ? Math.Max(0, depth - 1) : depth;
            if (depth > limit)
            {
                return LineOf(code, at);
            }
        }

        return null;
    }

    private static int LineOf(string code, int position) => code.AsSpan(0, position).Count('\n') + 1;
}
