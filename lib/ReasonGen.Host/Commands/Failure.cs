using System.CommandLine;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using ReasonGen.Checkpoints;
using ReasonGen.Optimization;
using ReasonGen.Served;

namespace ReasonGen.Host.Commands;

/// <summary>The one place where what went wrong becomes words and an exit code: nobody meets a stack trace who has not
/// asked for one.</summary>
internal static partial class Failure
{
    private const int Full = 28, TooLarge = 27, ReadOnly = 30; // ENOSPC, EFBIG, EROFS; Windows says it in words alone

    /// <summary>Shows where an unexpected error arose; for every command.</summary>
    internal static Option<bool> VerboseOption { get; } =
        new("--verbose") { Description = "Shows where in the program an error arose.", Recursive = true };

    /// <summary>Runs a command; whatever it throws is said in a paragraph on standard error.</summary>
    /// <param name="verbose">Whether the stack trace is wanted too.</param>
    /// <param name="command">The command.</param>
    /// <returns>Its exit code, or the one of <see cref="Explain"/>.</returns>
    internal static async Task<int> GuardAsync(bool verbose, Func<Task<int>> command)
    {
        try
        {
            return await command();
        }
        catch (Exception e)
        {
            var (code, words) = Explain(e);
            Console.Error.WriteLine(verbose ? $"{words}\n{Terminal.Plain($"{e}")}" : words);
            return code;
        }
    }

    /// <summary>Cause and remedy of an error, and the exit code that goes with it; orders to a terminal in what it
    /// quotes are spelt out.</summary>
    internal static (int Code, string Words) Explain(Exception error)
    {
        var (code, words) = Explained(error);
        return (code, Terminal.Plain(Parameter().Replace(words, "")));
    }

    private static (int Code, string Words) Explained(Exception error) => error switch
    {
        AggregateException { InnerExceptions: [var only] } => Explained(only),
        TargetInvocationException or TypeInitializationException when error.InnerException is { } inner =>
            Explained(inner),
        UsageException or UnusableFileException or PlatformNotSupportedException => (CommandLine.Wrong, error.Message),
        ArgumentException and not ArgumentNullException => (CommandLine.Wrong, error.Message),
        OperationCanceledException => (CommandLine.Interrupted, "Interrupted."),
        EndpointException or NonFiniteLossException or InvalidOperationException => (CommandLine.Failed, error.Message),
        OutOfMemoryException or InsufficientExecutionStackException =>
            (CommandLine.Failed, $"There is not enough memory: {Sentence(error)} {MemoryRemedy}"),
        ExternalException when error.Message.Contains("memory", StringComparison.OrdinalIgnoreCase) =>
            (CommandLine.Failed, $"There is not enough memory: {Sentence(error)} {MemoryRemedy}"),
        // a reader says what it was at, and not why it could not go on
        _ when error.GetBaseException() is OutOfMemoryException memory => Explained(memory),
        _ when IsAboutFile(error) => (CommandLine.Wrong, $"{Sentence(error)} {FileRemedy(error)}"),
        _ => (CommandLine.Failed,
            $"Unexpected error, {error.GetType().Name}: {Sentence(error)} This is a fault of the program, or an input "
            + $"it does not know how to refuse; "
            + "--verbose shows where it arose. What was finished before is intact."),
    };

    // what .NET appends, a name in the program's source
    [GeneratedRegex(@" \(Parameter '\w+'\)")]
    private static partial Regex Parameter();

    private const string MemoryRemedy =
        "Choose a smaller model, fewer rows at a time or a smaller batch; 'reasongen plan' says what a run takes.";

    // a part of this program that is missing is another matter
    private static bool IsAboutFile(Exception error) =>
        error is UnauthorizedAccessException or System.Security.SecurityException
        || error is IOException and not FileLoadException
            && !(error is FileNotFoundException { FileName: { } name } && name.Contains(", Culture="));

    private static string FileRemedy(Exception error) => (error.HResult & 0xFFFF, error) switch
    {
        (Full, _) => "Free space there, or choose another folder.",
        (TooLarge, _) => "The system allows no larger file: raise the limit (ulimit -f), or choose another folder.",
        (ReadOnly, _) or (_, UnauthorizedAccessException) =>
            "Check who may read and write there, or choose another path.",
        (_, FileNotFoundException or DirectoryNotFoundException) => "Check the path, and where a link there points.",
        _ => "Check that the path is what the command wants, and that it can be read and written.",
    };

    // one line, and a sentence: libtorch appends where in its own code it was
    private static string Sentence(Exception error) => error.Message.Split('\n')[0].Trim().TrimEnd('.') + ".";
}
