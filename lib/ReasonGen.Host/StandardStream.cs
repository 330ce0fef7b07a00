using System.Text;
using ReasonGen.Checkpoints;
using ReasonGen.Host.Commands;

namespace ReasonGen.Host;

/// <summary>
/// Standard output or standard error. A terminal that was closed, or a log on a full disk, must not end a run between
/// a step and its saving: what cannot be written is dropped. Where standard output was sent to a file or a pipe, its
/// lack is told in the end.
/// </summary>
internal sealed class StandardStream(TextWriter inner) : TextWriter
{
    private static StandardStream? output; // where somebody keeps it: not on a terminal
    private Exception? failure;

    public override Encoding Encoding => inner.Encoding;

    /// <summary>Puts itself in the place of both.</summary>
    internal static void Guard()
    {
        var guarded = new StandardStream(Console.Out);
        output = Console.IsOutputRedirected ? guarded : null;
        Console.SetOut(guarded);
        Console.SetError(new StandardStream(Console.Error));
    }

    /// <summary>The exit code of a command that has ended.</summary>
    /// <exception cref="UnusableFileException">It would say that all is there, and what was sent to a file is not
    /// whole.</exception>
    internal static int Checked(int code) => code != CommandLine.Done || output?.failure is not { } failure ? code
        : throw new UnusableFileException("standard output", $"it could not be written: {failure.Message.TrimEnd('.')}",
            "free space there, or send it elsewhere; what the command wrote to other files is whole", failure);

    public override void Write(char value) => Try(() => inner.Write(value));

    public override void Write(char[] buffer, int index, int count) => Try(() => inner.Write(buffer, index, count));

    public override void Write(string? value) => Try(() => inner.Write(value));

    // a line in one piece: several processes may write to one log
    public override void WriteLine(string? value) => Try(() => inner.WriteLine(value));

    public override void Flush() => Try(inner.Flush);

    private void Try(Action write)
    {
        try
        {
            write();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            failure ??= e;
        }
    }
}
