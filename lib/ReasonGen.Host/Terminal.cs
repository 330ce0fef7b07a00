using System.Globalization;
using System.Text;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace ReasonGen.Host;

/// <summary>Text that others wrote, such as file names, prompts and errors, as it may be printed: a terminal takes no
/// orders from it.</summary>
internal static class Terminal
{
    private const int AnyWidth = 1 << 20; // columns: a log or a pipe has none, and breaks no line

    /// <summary>Text of several lines; control characters other than line ends and tabs are spelt out, as
    /// <c>\u001b</c>.</summary>
    internal static string Plain(string text)
    {
        text = text.Replace("\r\n", "\n");
        if (!text.Any(IsOrder))
        {
            return text;
        }

        var plain = new StringBuilder();
        foreach (var c in text)
        {
            plain.Append(IsOrder(c) ? $"\\u{(int)c:x4}" : c.ToString());
        }

        return plain.ToString();
    }

    /// <summary>The same on one line.</summary>
    internal static string Line(string text) => Plain(text).Replace("\n", "\\n").Replace("\t", " ");

    /// <summary>A line on standard error in place of the one that stands there, until the next; empty to clear it. Only
    /// a terminal shows it.</summary>
    internal static void Passing(string line)
    {
        if (!System.Console.IsErrorRedirected)
        {
            System.Console.Error.Write($"\r{line}\x1b[K");
        }
    }

    /// <summary>A console on standard output or standard error, which breaks lines at a terminal's width and nowhere
    /// else.</summary>
    internal static IAnsiConsole Console(bool error = false)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(error ? System.Console.Error : System.Console.Out),
        });
        if (error ? System.Console.IsErrorRedirected : System.Console.IsOutputRedirected)
        {
            console.Profile.Width = AnyWidth;
        }

        return console;
    }

    /// <summary>Prints a table or a grid to standard output; in a log or a pipe each line ends where its text
    /// does.</summary>
    internal static void Print(IRenderable table)
    {
        var console = Console();
        if (!System.Console.IsOutputRedirected)
        {
            console.Write(table);
            return;
        }

        foreach (var line in Segment.SplitLines(table.GetSegments(console)))
        {
            System.Console.WriteLine(string.Concat(line.Select(segment => segment.Text)).TrimEnd());
        }
    }

    // controls, line separators, and the marks that turn the direction of what follows
    private static bool IsOrder(char c) => (c is not '\n' and not '\t' && char.IsControl(c))
        || char.GetUnicodeCategory(c) is UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator
        || c is '\u200e' or '\u200f' or '\u061c' or (>= '\u202a' and <= '\u202e') or (>= '\u2066' and <= '\u2069');
}
