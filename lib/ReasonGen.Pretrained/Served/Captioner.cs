using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.AI;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Rollouts;
using ReasonGen.TrainingData;

namespace ReasonGen.Served;

/// <summary>
/// Makes SFT data from images: a served model writes captions in several styles and a chain of thought for each. Every
/// answer goes at once to a journal beside the set ("set.parquet.jsonl"), so that an interrupted run, or one with more
/// images, asks only about what is not finished. A image that the server refuses is left out, named, and asked about
/// again, after the new ones, by the next run.
/// </summary>
public sealed class Captioner
{
    private const int MostBraces = 200;
    private readonly IChatClient client;
    private readonly CaptionerConfig config;
    private readonly string output;
    private readonly string task;
    private CaptionAnswers known;

    /// <summary>What is sent and stored of a file's bytes: an image that every reader shows upright. Default: the bytes
    /// as they are.</summary>
    public Func<byte[], byte[]> Upright { get; init; } = bytes => bytes;

    /// <summary>How it waits; replaced in tests.</summary>
    internal Func<TimeSpan, CancellationToken, Task> Wait { get; init; } = Task.Delay;

    /// <param name="client">The endpoint; it stays the caller's to dispose.</param>
    /// <param name="config">Settings.</param>
    /// <param name="output">The parquet file to make.</param>
    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    /// <exception cref="UnusableFileException">The journal cannot be read, another process fills it, or the output is
    /// in the way.</exception>
    public Captioner(IChatClient client, CaptionerConfig config, string output)
    {
        config.Validate();
        (this.client, this.config, this.output) = (client, config, output);
        task = Convert.ToHexStringLower(
            SHA256.HashData(Encoding.UTF8.GetBytes(config.Model + "\n" + config.Prompt)))[..16];
        known = CaptionJournal.Read(Journal, task);
        var other = FileTarget.NoFile(output);
        if (other is not null || (File.Exists(output) && !File.Exists(Journal)))
        {
            throw new UnusableFileException(output,
                other is not null ? $"it is {other}" : "it is there, but was not made here: there is no "
                + $"{Path.GetFileName(Journal)} beside it", "give another name for the set, or move that away");
        }
    }

    /// <summary>The journal.</summary>
    public string Journal => output + ".jsonl";

    /// <summary>Lines of the journal that cannot be read; what stood in them is asked about again.</summary>
    public int DamagedLines => known.Damaged;

    /// <summary>What the images will take, before anything is asked.</summary>
    public CaptionEstimate Estimate(IReadOnlyList<CaptionImage> images)
    {
        var open = Open(images);
        long read = open.Sum(image =>
            (config.Prompt.Length + 3) / 4 + (long)((image.Width + 27) / 28) * ((image.Height + 27) / 28));
        long written = (long)open.Length * config.ExpectedAnswerTokens;
        var finished = images.Count(image => known.Finished.ContainsKey(image.Hash));
        return new(open.Length, finished, read, written, (read * config.PriceIn + written * config.PriceOut) / 1e6)
        {
            Duplicates = images.Count - finished - open.Length,
        };
    }

    /// <summary>Asks about every image that is not finished, then writes the set with all that are, in the order
    /// given.</summary>
    /// <param name="images">The images.</param>
    /// <param name="progress">Told after each image: images finished, and in all.</param>
    /// <param name="cancel">Ends it; what was answered is kept, the set is not written.</param>
    /// <exception cref="EndpointException">
    /// The endpoint is away, refuses all, or failed as often in a row as the settings allow; what was answered is kept.
    /// </exception>
    /// <exception cref="UnusableFileException">
    /// Another process fills the same set, journal or set cannot be written, or an image changed meanwhile.
    /// </exception>
    public async Task<CaptionOutcome> RunAsync(
        IReadOnlyList<CaptionImage> images, Action<int, int>? progress = null, CancellationToken cancel = default)
    {
        using var journal = CaptionJournal.Open(Journal);
        known = journal.Read(task); // another process may have added to it
        var open = Open(images);
        var caller = new ChatCaller(client, config.Calls) { Wait = Wait };
        var (unusable, refused) = (new List<(string Name, string Reason)>(), 0);
        var files = images.ToLookup(image => image.Hash); // the same image may lie in several
        var (done, inARow) = (images.Count(image => known.Finished.ContainsKey(image.Hash)), 0);
        var bound =
            new ParallelOptions { MaxDegreeOfParallelism = config.Calls.ConcurrentCalls, CancellationToken = cancel };
        await Parallel.ForEachAsync(open, bound, async (image, stop) =>
        {
            EndpointException? failure = null;
            JObject? record = null;
            try
            {
                record = await AskAsync(caller, image, stop);
            }
            catch (EndpointException e) when (e.ThisQuestionOnly)
            {
                failure = e;
            }

            lock (unusable)
            {
                var refusedBefore = known.Refused.ContainsKey(image.Hash);
                journal.Append(new JObject
                {
                    ["task"] = task, ["hash"] = image.Hash, ["name"] = image.Name,
                    [record is null ? "refused" : "captions"] = record is null ? failure!.Message : record,
                });
                if (record is not null)
                {
                    (known.Finished[image.Hash], inARow) = (record, 0);
                }
                else
                {
                    unusable.AddRange(files[image.Hash].Select(file => (file.Name, failure!.Message)));
                    refused++;
                    inARow += refusedBefore ? 0 : 1; // those are expected to fail
                }

                progress?.Invoke(done += files[image.Hash].Count(), images.Count);
                if (failure is not null && inARow >= config.FailuresInARow)
                {
                    throw failure;
                }
            }
        });

        CaptionImage[] captioned = [.. images.Where(image => known.Finished.ContainsKey(image.Hash))];
        var rows = captioned.Select(image => new SftRow(Bytes(image), image.Name, known.Finished[image.Hash]));
        var missing = captioned.SelectMany(image => SftCaptions.Parse(known.Finished[image.Hash]).Missing)
            .CountBy(style => style);
        return new(captioned.Length == 0 ? 0 : SftParquet.Write(output, rows), open.Length,
            [.. unusable.OrderBy(item => item.Name, StringComparer.Ordinal)])
        {
            MissingStyles = missing.ToDictionary(), Answered = open.Length - refused,
        };
    }

    /// <summary>Finds the one JSON object in an answer that holds the captions, whatever stands around it: thoughts, a
    /// code fence, words.</summary>
    /// <exception cref="FormatException">There is none, or more than one; what is wrong is named.</exception>
    public static SftCaptions Read(string answer)
    {
        const string EndOfThought = "</think>";
        var text = answer.LastIndexOf(EndOfThought, StringComparison.Ordinal) is >= 0 and var end
            ? answer[(end + EndOfThought.Length)..] : answer;
        var (found, wrong) = (new List<SftCaptions>(), (FormatException?)null);
        var (at, tries) = (text.IndexOf('{'), 0);
        for (int next; at >= 0 && tries < MostBraces; at = next < text.Length ? text.IndexOf('{', next) : -1, tries++)
        {
            next = at + 1; // what is no object, or wraps one, is looked into
            try
            {
                var close = EndOfObject(text, at);
                using var reader = new JsonTextReader(new StringReader(text[at..close]))
                {
                    DateParseHandling = DateParseHandling.None,
                };
                var json = JObject.Load(reader,
                    new JsonLoadSettings { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error });
                next = json.ContainsKey("brief_caption") || json.ContainsKey("detailed_caption") ? close : next;
                found.Add(SftCaptions.Parse(json));
            }
            catch (JsonException e)
            {
                wrong ??= new FormatException($"it is no JSON object: {e.Message}", e);
            }
            catch (FormatException e)
            {
                // what captions lack says more than that some brace opens none
                wrong = wrong is null || next > at + 1 ? e : wrong;
            }
        }

        return found.Count switch
        {
            1 when found[0].ToRecord().ToString().Contains('\uFFFD') =>
                throw new FormatException("it holds broken characters (U+FFFD)"),
            1 => found[0],
            0 => throw wrong ?? new FormatException("it is no JSON object"),
            _ => throw new FormatException("there is more than one JSON object"),
        };
    }

    // After the brace that closes the one here; the text's end where none does.
    private static int EndOfObject(string text, int at)
    {
        var (depth, quoted) = (0, false);
        for (; at < text.Length; at++)
        {
            switch (text[at])
            {
                case '\\' when quoted:
                    at++;
                    break;
                case '"':
                    quoted = !quoted;
                    break;
                case '{' or '}' when !quoted:
                    depth += text[at] == '{' ? 1 : -1;
                    if (depth == 0)
                    {
                        return at + 1;
                    }

                    break;
            }
        }

        return text.Length;
    }

    // new ones first, so that images which were refused before hold nothing up
    private CaptionImage[] Open(IReadOnlyList<CaptionImage> images) =>
        [.. images.Where(image => !known.Finished.ContainsKey(image.Hash)).DistinctBy(image => image.Hash)
            .OrderBy(image => known.Refused.ContainsKey(image.Hash))];

    private async Task<JObject> AskAsync(ChatCaller caller, CaptionImage image, CancellationToken cancel)
    {
        var options = new ChatOptions
        {
            ModelId = config.Model, Temperature = config.Temperature, MaxOutputTokens = config.MaxAnswerTokens,
            ResponseFormat = config.JsonMode ? ChatResponseFormat.Json : null,
        };
        ChatMessage[] messages =
            [new(ChatRole.User, [new DataContent(Bytes(image), image.MediaType), new TextContent(config.Prompt)])];
        return (await caller.AskAsync(messages, options, Read, Convert.ToInt64(image.Hash[..15], 16), cancel))
            .ToRecord();
    }

    private byte[] Bytes(CaptionImage image)
    {
        try
        {
            var bytes = File.ReadAllBytes(image.File);
            return CaptionImage.HashOf(bytes) == image.Hash ? Upright(bytes)
                : throw new IOException("it changed while it was being captioned");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(image.File, $"the image cannot be read: {e.Message}".TrimEnd('.'),
                "run the command again; captions that are finished are kept", e);
        }
    }
}
