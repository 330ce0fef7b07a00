using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.AI;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;

namespace ReasonGen.Data;

/// <summary>
/// Makes SFT data from pictures: a served model writes captions in several styles and a chain of thought for each. Every answer goes at once to
/// a journal beside the set ("set.parquet.jsonl"), so that an interrupted run, or one with more pictures, asks only about what is new.
/// </summary>
public sealed class Captioner
{
    private readonly IChatClient client;
    private readonly CaptionerConfig config;
    private readonly string output;
    private readonly string task;
    private readonly Dictionary<string, JObject> finished = [];

    /// <summary>How it waits; replaced in tests.</summary>
    internal Func<TimeSpan, CancellationToken, Task> Wait { get; init; } = Task.Delay;

    /// <param name="client">The endpoint; it stays the caller's to dispose.</param>
    /// <param name="config">Settings.</param>
    /// <param name="output">The parquet file to make.</param>
    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    /// <exception cref="CheckpointException">The journal cannot be read.</exception>
    public Captioner(IChatClient client, CaptionerConfig config, string output)
    {
        config.Validate();
        (this.client, this.config, this.output) = (client, config, output);
        task = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(config.Model + "\n" + config.Prompt)))[..16];
        ReadJournal();
    }

    /// <summary>The journal.</summary>
    public string Journal => output + ".jsonl";

    /// <summary>What the pictures will take, before anything is asked.</summary>
    public CaptionEstimate Estimate(IReadOnlyList<CaptionPicture> pictures)
    {
        var open = Open(pictures);
        long read = open.Sum(picture => (config.Prompt.Length + 3) / 4 + (long)((picture.Width + 27) / 28) * ((picture.Height + 27) / 28));
        long written = (long)open.Length * config.ExpectedAnswerTokens;
        return new(open.Length, pictures.Count - open.Length, read, written, (read * config.PriceIn + written * config.PriceOut) / 1e6);
    }

    /// <summary>Asks about every picture that is not finished, then writes the set with all that are, in the order given.</summary>
    /// <param name="pictures">The pictures.</param>
    /// <param name="progress">Told after each picture: pictures finished, and in all.</param>
    /// <param name="cancel">Ends it; what was answered is kept, the set is not written.</param>
    /// <exception cref="EndpointException">The endpoint is away or refuses; what was answered is kept.</exception>
    /// <exception cref="CheckpointException">Journal or set cannot be written, or a picture changed meanwhile.</exception>
    public async Task<CaptionOutcome> RunAsync(
        IReadOnlyList<CaptionPicture> pictures, Action<int, int>? progress = null, CancellationToken cancel = default)
    {
        var open = Open(pictures);
        var caller = new ChatCaller(client, config.Calls) { Wait = Wait };
        var unusable = new List<(string Name, string Reason)>();
        var done = pictures.Count - open.Length;
        await using (var journal = OpenJournal())
        {
            var bound = new ParallelOptions { MaxDegreeOfParallelism = config.Calls.ConcurrentCalls, CancellationToken = cancel };
            await Parallel.ForEachAsync(open, bound, async (picture, stop) =>
            {
                string? reason = null;
                JObject? record = null;
                try
                {
                    record = await AskAsync(caller, picture, stop);
                }
                catch (EndpointException e) when (e.BadAnswer)
                {
                    reason = e.Message;
                }

                lock (finished)
                {
                    if (record is null)
                    {
                        unusable.Add((picture.Name, reason!));
                    }
                    else
                    {
                        Keep(journal, picture, record);
                    }

                    progress?.Invoke(++done, pictures.Count);
                }
            });
        }

        var rows = pictures.Where(picture => finished.ContainsKey(picture.Hash))
            .Select(picture => new SftRow(Bytes(picture), picture.Name, finished[picture.Hash]));
        return new(SftParquet.Write(output, rows), open.Length, [.. unusable.OrderBy(item => item.Name, StringComparer.Ordinal)]);
    }

    /// <summary>Reads an answer: one JSON object with every member and no other, perhaps in a code fence.</summary>
    /// <exception cref="FormatException">It is none; what is wrong is named.</exception>
    public static SftCaptions Read(string answer)
    {
        var text = answer.Trim();
        if (text.StartsWith("```", StringComparison.Ordinal) && text.EndsWith("```", StringComparison.Ordinal)
            && text.IndexOf('\n') is > 0 and var line && line < text.Length - 3)
        {
            text = text[line..^3];
        }

        try
        {
            using var reader = new JsonTextReader(new StringReader(text)) { DateParseHandling = DateParseHandling.None };
            var json = JObject.Load(reader, new JsonLoadSettings { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error });
            return !reader.Read() ? SftCaptions.Parse(json) : throw new FormatException("there is more than one JSON object");
        }
        catch (JsonException e)
        {
            throw new FormatException($"it is no JSON object: {e.Message}", e);
        }
    }

    private CaptionPicture[] Open(IReadOnlyList<CaptionPicture> pictures) =>
        [.. pictures.Where(picture => !finished.ContainsKey(picture.Hash)).DistinctBy(picture => picture.Hash)];

    private async Task<JObject> AskAsync(ChatCaller caller, CaptionPicture picture, CancellationToken cancel)
    {
        var options = new ChatOptions
        {
            ModelId = config.Model, Temperature = config.Temperature, MaxOutputTokens = config.MaxAnswerTokens,
            ResponseFormat = config.JsonMode ? ChatResponseFormat.Json : null,
        };
        ChatMessage[] messages = [new(ChatRole.User, [new DataContent(Bytes(picture), picture.MediaType), new TextContent(config.Prompt)])];
        return (await caller.AskAsync(messages, options, Read, Convert.ToInt64(picture.Hash[..15], 16), cancel)).ToRecord();
    }

    private static byte[] Bytes(CaptionPicture picture)
    {
        try
        {
            var bytes = File.ReadAllBytes(picture.File);
            return CaptionPicture.HashOf(bytes) == picture.Hash ? bytes : throw new IOException("it changed while it was being captioned");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(picture.File, $"the picture cannot be read: {e.Message}".TrimEnd('.'),
                "run the command again; captions that are finished are kept", e);
        }
    }

    // A line is written whole or, when the process dies in it, is torn; a torn last line is not taken and the next run starts on a new line.
    private void Keep(StreamWriter journal, CaptionPicture picture, JObject record)
    {
        finished[picture.Hash] = record;
        try
        {
            var entry = new JObject { ["task"] = task, ["hash"] = picture.Hash, ["name"] = picture.Name, ["captions"] = record };
            journal.WriteLine(entry.ToString(Formatting.None));
            journal.Flush();
        }
        catch (IOException e)
        {
            throw new CheckpointException(Journal, $"the answers cannot be kept: {e.Message}", "make room, or choose another folder", e);
        }
    }

    private StreamWriter OpenJournal()
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(output))!);
            var journal = new StreamWriter(new FileStream(Journal, FileMode.Append, FileAccess.Write, FileShare.Read)); // one process at a time
            journal.Write(new FileInfo(Journal).Length > 0 ? "\n" : "");
            return journal;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(Journal, $"the answers cannot be kept: {e.Message}".TrimEnd('.'),
                "choose another folder, or let the other process end", e);
        }
    }

    private void ReadJournal()
    {
        try
        {
            foreach (var line in File.Exists(Journal) ? File.ReadLines(Journal) : [])
            {
                try
                {
                    var entry = line.Length == 0 ? null : JObject.Parse(line);
                    if ((string?)entry?["task"] == task && (string?)entry?["hash"] is { } hash && entry["captions"] is JObject captions)
                    {
                        finished[hash] = SftCaptions.Parse(captions).ToRecord();
                    }
                }
                catch (Exception e) when (e is JsonException or FormatException)
                {
                    // torn by an interruption: asked again
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(Journal, $"the journal cannot be read: {e.Message}".TrimEnd('.'),
                "close what holds it open, or choose another output", e);
        }
    }
}
