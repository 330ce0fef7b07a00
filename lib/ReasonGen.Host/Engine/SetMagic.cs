using Microsoft.CodeAnalysis.CSharp;

namespace ReasonGen.Host.Engine;

/// <summary>The magic <c>#!set --name x --value v</c> as .NET Interactive has it, for a session of C# alone: it becomes
/// the statement that declares x.</summary>
internal static class SetMagic
{
    private const string Usage = "it is #!set --name NAME --value VALUE, where VALUE is text, @NAME or @csharp:NAME "
        + "for a variable, or @input:PROMPT or @password:PROMPT for a question";

    /// <exception cref="CellSyntaxException">It lacks a name or a value, or wants another language's
    /// variable.</exception>
    internal static string Statement(string arguments)
    {
        string? name = null, value = null;
        var words = Words(arguments);
        for (var i = 0; i < words.Count; i += 2)
        {
            var given = i + 1 < words.Count ? words[i + 1]
                : throw new CellSyntaxException($"#!set {arguments}: {words[i]} has no value; {Usage}");
            switch (words[i])
            {
                case "--name":
                    name = given;
                    break;
                case "--value":
                    value = given;
                    break;
                default:
                    throw new CellSyntaxException($"#!set {arguments}: there is no {words[i]} here; {Usage}");
            }
        }

        return name is not null && SyntaxFacts.IsValidIdentifier(name) && value is not null
            ? $"var @{name} = {Expression(arguments, name, value)};"
            : throw new CellSyntaxException($"#!set {arguments}: it lacks a value or a name that C# allows; {Usage}");
    }

    private static string Expression(string arguments, string name, string value)
    {
        if (!value.StartsWith('@'))
        {
            return Literal(value);
        }

        var (source, rest) =
            value[1..].Split(':', 2) is [var before, var after] ? (before, after.Trim('"')) : (value[1..], null);
        return source switch
        {
            "input" => $"await GetInputAsync({Literal(rest ?? name)})",
            "password" => $"await GetPasswordAsync({Literal(rest ?? name)})",
            "csharp" when rest is not null && SyntaxFacts.IsValidIdentifier(rest) => "@" + rest,
            _ when rest is null && SyntaxFacts.IsValidIdentifier(source) => "@" + source,
            _ => throw new CellSyntaxException(
                $"#!set {arguments}: '{value}' names no variable of this session, which has C# alone; {Usage}"),
        };
    }

    private static string Literal(string text) => SymbolDisplay.FormatLiteral(text, quote: true);

    // Words apart by blanks; what stands in quotes is one, or part of one.
    private static List<string> Words(string text)
    {
        List<string> words = [];
        var (word, quoted, any) = (new System.Text.StringBuilder(), false, false);
        foreach (var c in text + " ")
        {
            if (c == '"')
            {
                (quoted, any) = (!quoted, true);
            }
            else if (char.IsWhiteSpace(c) && !quoted)
            {
                if (any)
                {
                    words.Add(word.ToString());
                }

                word.Clear();
                any = false;
            }
            else
            {
                word.Append(c);
                any = true;
            }
        }

        return quoted ? throw new CellSyntaxException($"#!set {text}: a quotation mark is not closed") : words;
    }
}
