using System.Text;

namespace ReasonGen.Host.Engine;

/// <summary>Sends what a cell writes to the console to that cell, whichever thread writes it; everything else goes
/// where it went before.</summary>
internal sealed class ConsoleCapture(string name, TextWriter otherwise) : TextWriter
{
    private static readonly Lock Gate = new();
    private static TextWriter? output, error;
    private static TextReader? input;

    public override Encoding Encoding => Encoding.UTF8;

    /// <summary>Puts itself in the console's place, where it does not stand there already.</summary>
    internal static void Install()
    {
        lock (Gate)
        {
            if (output is null)
            {
                Console.SetOut(new ConsoleCapture("stdout", Console.Out));
                Console.SetError(new ConsoleCapture("stderr", Console.Error));
                Console.SetIn(new CellInput(Console.In));
                (output, error, input) = (Console.Out, Console.Error, Console.In);
            }
            else if ((Console.Out, Console.Error, Console.In) != (output, error, input))
            {
                Console.SetOut(output);
                Console.SetError(error!);
                Console.SetIn(input!);
            }
        }
    }

    public override void Write(char value) => Write(value.ToString());

    public override void Write(char[] buffer, int index, int count) => Write(new string(buffer, index, count));

    public override void Write(string? value)
    {
        if (string.IsNullOrEmpty(value))
        {
            return;
        }

        if (CellFunctions.Output is { } output)
        {
            output.Stream(name, value);
        }
        else
        {
            otherwise.Write(value);
        }
    }

    public override void WriteLine(string? value) => Write(value + "\n");

    public override void WriteLine() => Write("\n");
}

/// <summary>Lets a cell that reads a line from the console ask the person at the notebook; others read what they read
/// before.</summary>
internal sealed class CellInput(TextReader otherwise) : TextReader
{
    private (ICellOutput? Cell, string Text) rest; // of the last answer, which is that of the cell that asked

    private string Waiting => rest.Cell is { } cell && cell == CellFunctions.Output ? rest.Text : "";

    public override string? ReadLine()
    {
        if (CellFunctions.Output is not { } output)
        {
            return otherwise.ReadLine();
        }

        var line = Waiting.Length > 0 ? Waiting.TrimEnd('\n') : output.Read("", false);
        rest = default;
        return line;
    }

    public override int Read()
    {
        if (CellFunctions.Output is not { } output)
        {
            return otherwise.Read();
        }

        var text = Waiting.Length > 0 ? Waiting : output.Read("", false) + "\n";
        rest = (output, text[1..]);
        return text[0];
    }

    public override int Peek() => Waiting.Length > 0 ? Waiting[0] : -1;
}
