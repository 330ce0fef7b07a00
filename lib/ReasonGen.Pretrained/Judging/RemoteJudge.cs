// The paper's judge behind an address (reward worker of ReasonGen-R1, fsdp_workers.py): prompt and image in one user's
// turn, greedy; the last \boxed{…} of the answer is the reward, 0 when there is none.
// Deviation: a call that fails, or whose answer the server breaks off, is an error or an unknown reward (NaN), never 0;
// so is an answer that says nothing (an empty text, one held back by a content filter, reasoning without an answer),
// which the reference takes for one without a box.
using Microsoft.Extensions.AI;
using ReasonGen.Imaging;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Served;

namespace ReasonGen.Judging;

/// <summary>What a judge said about one image.</summary>
/// <param name="Reward">0 or 1; NaN when no answer was to be had.</param>
/// <param name="Answer">The whole answer; empty when there is none.</param>
/// <param name="Boxed">Whether it held a box.</param>
/// <param name="Failure">Why there is no answer; null when there is one.</param>
public sealed record RemoteVerdict(float Reward, string Answer, bool Boxed, string? Failure = null)
{
    /// <summary>Whether the box holds 0 or 1. Everything else counts as 0, as in the reference, "1." and "\text{1}"
    /// too.</summary>
    public bool Readable => Failure is null && BoxedAnswer.Parse(Answer) is "0" or "1";
}

/// <summary>What a judge was asked so far.</summary>
/// <param name="Requests">Images to be judged.</param>
/// <param name="Cached">Of these, known before or asked twice in one batch.</param>
/// <param name="Retries">Tries beyond the first.</param>
/// <param name="Failed">Questions without an answer.</param>
/// <param name="Unboxed">Answers without a box, which count as 0.</param>
/// <param name="Unreadable">Answers whose box, if there is one, holds neither 0 nor 1; they count as 0.</param>
/// <param name="Silent">Of the failed: the endpoint answered, but said nothing.</param>
public readonly record struct RemoteJudgeCounts(
    long Requests, long Cached, long Retries, long Failed, long Unboxed, long Unreadable = 0, long Silent = 0);

/// <summary>A vision-language model behind an OpenAI-compatible endpoint (vLLM and the like) as a reward.</summary>
public sealed class RemoteJudge : IReward, IRewardParts
{
    private const int FewQuestions = 8;
    private const string ImagePlace = "<image>";
    private readonly IChatClient client;
    private readonly ChatCaller caller;
    private readonly RemoteJudgeCache cache;
    private readonly Action<string>? tell;
    private long requested, cached, failed, unboxed, unreadable, silent;

    /// <param name="client">The endpoint; it stays the caller's to dispose.</param>
    /// <param name="config">Settings.</param>
    /// <param name="tell">Told in a sentence when the endpoint is away and waited for, and when it is back.</param>
    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public RemoteJudge(IChatClient client, RemoteJudgeConfig config, Action<string>? tell = null)
    {
        config.Validate();
        (this.client, this.tell, Config) = (client, tell, config);
        caller = new ChatCaller(client, config.Calls) { Tell = tell };
        cache = new RemoteJudgeCache(config.CacheFolder, config.CachedAnswers);
    }

    public RemoteJudgeConfig Config { get; }

    public string Name => Config.Name ?? Config.Model;

    /// <summary>What it was asked so far.</summary>
    public RemoteJudgeCounts Counts => new(requested, cached, caller.Retries, failed, unboxed, unreadable, silent);

    /// <summary>Of the last <see cref="Score"/>: the share of answers that could not be read and so counted as 0, as a
    /// curve.</summary>
    public IReadOnlyList<(string Name, float[] Rewards)> Parts { get; private set; } = [];

    /// <summary>How it waits; replaced in tests.</summary>
    internal Func<TimeSpan, CancellationToken, Task> Wait { init =>
        caller = new ChatCaller(client, Config.Calls) { Wait = value, Tell = tell }; }

    /// <inheritdoc/>
    /// <returns>
    /// 0, 1, or NaN where the endpoint said nothing, or a call failed and <see cref="FailedCall.SkipGroup"/> is chosen.
    /// </returns>
    /// <exception cref="EndpointException">
    /// A call failed, or not one of eight or more questions was answered, and <see cref="FailedCall.Stop"/> is chosen.
    /// </exception>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
    {
        var verdicts = Task.Run(() => JudgeAsync(requests, cancel), cancel).GetAwaiter().GetResult();
        Parts = [
            ("unreadable answers",
                [.. verdicts.Select(verdict => verdict.Failure is not null ? float.NaN : verdict.Readable ? 0f : 1f)])];
        return [.. verdicts.Select(verdict => verdict.Reward)];
    }

    /// <summary>Rewards with the answers that they come from, in the order of the requests.</summary>
    /// <exception cref="EndpointException">As <see cref="Score"/>.</exception>
    /// <exception cref="ArgumentException">A prompt holds the mark of an image.</exception>
    public async Task<RemoteVerdict[]> JudgeAsync(IReadOnlyList<RewardRequest> requests,
        CancellationToken cancel = default)
    {
        var questions = requests.Select(request =>
        {
            var text = Config.Prompt.Turn(request.Prompt.Text);
            return text.Split(ImagePlace).Length == 2
                ? (Key: RemoteJudgeCache.Key(Config, text, request.Image), Text: text, request.Image)
                : throw new ArgumentException(
                    $"the judge's question says {ImagePlace} once, where the image belongs, and a prompt never may: "
                    + $"'{request.Prompt.Text}'", nameof(requests));
        }).ToArray();
        var verdicts = new Dictionary<string, RemoteVerdict>();
        var open = new List<(string Key, string Text, RgbImage Image)>();
        foreach (var question in questions.DistinctBy(question => question.Key))
        {
            if (cache.Find(question.Key) is { } answer)
            {
                verdicts[question.Key] = Verdict(answer);
            }
            else
            {
                open.Add(question);
            }
        }

        Interlocked.Add(ref requested, requests.Count);
        Interlocked.Add(ref cached, requests.Count - open.Count);
        var bound =
            new ParallelOptions { MaxDegreeOfParallelism = Config.Calls.ConcurrentCalls, CancellationToken = cancel };
        var failures = new List<EndpointException>();
        await Parallel.ForEachAsync(open, bound, async (question, stop) =>
        {
            var (verdict, failure) = await AskAsync(question.Key, question.Text, question.Image, stop);
            lock (verdicts)
            {
                verdicts[question.Key] = verdict;
                failures.AddRange(failure is null ? [] : [failure]);
            }
        });
        if (Config.OnFailure == FailedCall.Stop && failures.Count >= FewQuestions && failures.Count == open.Count)
        {
            throw failures[0]; // no image is to blame for it
        }

        return [.. questions.Select(question => verdicts[question.Key])];
    }

    private async Task<(RemoteVerdict Verdict, EndpointException? Failure)> AskAsync(string key, string text,
        RgbImage image, CancellationToken cancel)
    {
        var options = new ChatOptions
        {
            ModelId = Config.Model, Temperature = 0, TopP = 1, MaxOutputTokens = Config.MaxAnswerTokens,
        };
        try
        {
            var index = Convert.ToInt64(key[..15], 16); // the question's own waits, whatever is asked beside it
            var answer = await caller.AskAsync([new ChatMessage(ChatRole.User, Turn(text, image))], options,
                said => said, index, cancel);
            var verdict = Verdict(cache.Keep(key, Config.Model, text, answer));
            Interlocked.Add(ref unboxed, verdict.Boxed ? 0 : 1);
            Interlocked.Add(ref unreadable, verdict.Readable ? 0 : 1);
            return (verdict, null);
        }
        catch (EndpointException e)
        {
            Interlocked.Increment(ref failed);
            Interlocked.Add(ref silent, e.BadAnswer ? 1 : 0);
            if (Config.OnFailure == FailedCall.Stop && !e.BadAnswer)
            {
                throw;
            }

            return (new(float.NaN, "", false, e.Message), e);
        }
    }

    private static RemoteVerdict Verdict(string answer) =>
        new(BoxedAnswer.Score(answer), answer, BoxedAnswer.Parse(answer) != "None");

    // Text, image, text, as a server joins them: byte for byte the turn that the reference hands to its engine.
    private IList<AIContent> Turn(string text, RgbImage image)
    {
        var around = text.Split(ImagePlace);
        var png = new DataContent(Png.Encode(Config.Image.Prepare(image)), "image/png");
        AIContent[] parts = [new TextContent(around[0]), png, new TextContent(around[1])];
        return [.. parts.Where(part => part is not TextContent { Text: "" })];
    }
}
