using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;

namespace ReasonGen.TrainingData;

/// <summary>What a journal says of one task (model and instruction).</summary>
/// <param name="Finished">Captions by the image's hash.</param>
/// <param name="Refused">Why there are none, by the image's hash.</param>
/// <param name="Damaged">Lines that cannot be read, a torn last one not counted.</param>
internal sealed record CaptionAnswers(Dictionary<string, JObject> Finished, Dictionary<string, string> Refused,
    int Damaged);

/// <summary>
/// Answers of a captioning run, a line each, in a file that one process at a time fills: it is locked, and the
/// operating system gives the lock back however the process ends. A line is there whole or not at all: one that a
/// killed process left torn is cut off when the file is next opened.
/// </summary>
internal sealed class CaptionJournal : IDisposable
{
    private const int LockTries = 20;
    private static readonly TimeSpan LockWait = TimeSpan.FromMilliseconds(50); // a reader holds it for an instant
    private readonly FileStream file;

    private CaptionJournal(FileStream file) => this.file = file;

    /// <summary>Opens it to be filled.</summary>
    /// <exception cref="UnusableFileException">It cannot be written, or another process fills it.</exception>
    internal static CaptionJournal Open(string path)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            // on Unix FileShare.None alone is an exclusive lock; on Windows others may go on reading
            var journal = new CaptionJournal(Locked(path, FileMode.OpenOrCreate, FileAccess.ReadWrite,
                OperatingSystem.IsWindows() ? FileShare.Read : FileShare.None));
            try
            {
                journal.Mend();
                return journal;
            }
            catch
            {
                journal.Dispose();
                throw;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the answers cannot be kept: {e.Message}".TrimEnd('.'),
                "choose another folder, or make room", e);
        }
    }

    /// <summary>What it holds, without opening it to be filled; nothing where it is not there.</summary>
    /// <exception cref="UnusableFileException">It cannot be read, or another process fills it.</exception>
    internal static CaptionAnswers Read(string path, string task)
    {
        try
        {
            if (!File.Exists(path))
            {
                return new([], [], 0);
            }

            using var file = Locked(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            return Read(file, task);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the journal cannot be read: {e.Message}".TrimEnd('.'),
                "close what holds it open, or choose another output", e);
        }
    }

    /// <summary>What it holds.</summary>
    internal CaptionAnswers Read(string task) => Read(file, task);

    /// <summary>Adds a line.</summary>
    /// <exception cref="UnusableFileException">It cannot be written; the lines before are whole.</exception>
    internal void Append(JObject entry)
    {
        var end = file.Seek(0, SeekOrigin.End);
        try
        {
            file.Write(Encoding.UTF8.GetBytes(entry.ToString(Formatting.None) + "\n"));
        }
        catch (IOException e)
        {
            file.SetLength(end);
            throw new UnusableFileException(file.Name, $"the answers cannot be kept: {e.Message}".TrimEnd('.'),
                "make room, then run the command again: what was answered before is there", e);
        }
    }

    public void Dispose() => file.Dispose();

    private static CaptionAnswers Read(FileStream file, string task)
    {
        var answers = new CaptionAnswers([], [], 0);
        file.Position = Math.Max(0, file.Length - 1);
        var torn = file.ReadByte() != '\n'; // the last line is being written, or never will be
        file.Position = 0;
        using var reader = new StreamReader(file, leaveOpen: true);
        while (reader.ReadLine() is { } line)
        {
            try
            {
                var entry = line.Length == 0 ? null : (JObject)PlainJson.Parse(line);
                if ((string?)entry?["task"] is not { } of || of != task || (string?)entry["hash"] is not { } hash)
                {
                    continue;
                }

                if (entry["captions"] is JObject captions)
                {
                    answers.Finished[hash] = SftCaptions.Parse(captions).ToRecord();
                    answers.Refused.Remove(hash);
                }
                else if ((string?)entry["refused"] is { } reason)
                {
                    answers.Refused[hash] = reason;
                }
            }
            catch (Exception e)
                when (e is JsonException or FormatException or ArgumentException or InvalidCastException)
            {
                // asked again
                answers = answers with { Damaged = answers.Damaged + (torn && reader.EndOfStream ? 0 : 1) };
            }
        }

        return answers;
    }

    // the last line may lack its end: whole, it gets one; torn, it goes
    private void Mend()
    {
        var tail = new List<byte>();
        for (var at = file.Length - 1; at >= 0; at--)
        {
            file.Position = at;
            if (file.ReadByte() is var read && read == '\n')
            {
                break;
            }

            tail.Add((byte)read);
        }

        if (tail.Count == 0)
        {
            return;
        }

        tail.Reverse();
        try
        {
            JObject.Parse(Encoding.UTF8.GetString([.. tail]));
            file.Seek(0, SeekOrigin.End);
            file.WriteByte((byte)'\n');
        }
        catch (JsonException)
        {
            file.SetLength(file.Length - tail.Count);
        }
    }

    private static FileStream Locked(string path, FileMode mode, FileAccess access, FileShare share)
    {
        for (var tries = LockTries; ; tries--)
        {
            try
            {
                return new FileStream(path, mode, access, share, bufferSize: access == FileAccess.Read ? 4096 : 0);
            }
            catch (IOException e) when (FileHeld.IsCauseOf(e))
            {
                if (tries == 0)
                {
                    throw new UnusableFileException(path, "another process is writing captions into it",
                        "let that one end, or choose another output", e);
                }

                Thread.Sleep(LockWait);
            }
        }
    }
}
