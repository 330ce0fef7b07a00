// The paper's judge behind an address (reward worker of ReasonGen-R1, fsdp_workers.py): prompt and picture in one user's turn, greedy; the last
// \boxed{…} of the answer is the reward, 0 when there is none.
// Deviation: a call that fails is an error or an unknown reward (NaN), never 0.
using Microsoft.Extensions.AI;
using ReasonGen.Core;

namespace ReasonGen.Rewards;

/// <summary>What a judge said about one picture.</summary>
/// <param name="Reward">0 or 1; NaN when no answer was to be had.</param>
/// <param name="Answer">The whole answer; empty when there is none.</param>
/// <param name="Boxed">Whether it held a box.</param>
/// <param name="Failure">Why there is no answer; null when there is one.</param>
public sealed record RemoteVerdict(float Reward, string Answer, bool Boxed, string? Failure = null);

/// <summary>What a judge was asked so far.</summary>
/// <param name="Requests">Pictures to be judged.</param>
/// <param name="Cached">Of these, known before or asked twice in one batch.</param>
/// <param name="Retries">Tries beyond the first.</param>
/// <param name="Failed">Questions without an answer.</param>
/// <param name="Unboxed">Answers without a box, which count as 0.</param>
public readonly record struct RemoteJudgeCounts(long Requests, long Cached, long Retries, long Failed, long Unboxed);

/// <summary>A vision-language model behind an OpenAI-compatible endpoint (vLLM and the like) as a reward.</summary>
public sealed class RemoteJudge : IReward
{
    private const string PicturePlace = "<image>";
    private readonly IChatClient client;
    private readonly ChatCaller caller;
    private readonly RemoteJudgeCache cache;
    private long requested, cached, failed, unboxed;

    /// <param name="client">The endpoint; it stays the caller's to dispose.</param>
    /// <param name="config">Settings.</param>
    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public RemoteJudge(IChatClient client, RemoteJudgeConfig config)
    {
        config.Validate();
        (this.client, Config, caller) = (client, config, new ChatCaller(client, config.Calls));
        cache = new RemoteJudgeCache(config.CacheFolder, config.CachedAnswers);
    }

    public RemoteJudgeConfig Config { get; }

    public string Name => Config.Name ?? Config.Model;

    /// <summary>What it was asked so far.</summary>
    public RemoteJudgeCounts Counts => new(requested, cached, caller.Retries, failed, unboxed);

    /// <summary>How it waits; replaced in tests.</summary>
    internal Func<TimeSpan, CancellationToken, Task> Wait { init => caller = new ChatCaller(client, Config.Calls) { Wait = value }; }

    /// <inheritdoc/>
    /// <returns>0, 1, or NaN where a call failed and <see cref="FailedCall.SkipGroup"/> is chosen.</returns>
    /// <exception cref="EndpointException">A call failed, and <see cref="FailedCall.Stop"/> is chosen.</exception>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        Task.Run(() => JudgeAsync(requests, cancel), cancel).GetAwaiter().GetResult().Select(verdict => verdict.Reward).ToArray();

    /// <summary>Rewards with the answers that they come from, in the order of the requests.</summary>
    /// <exception cref="EndpointException">As <see cref="Score"/>.</exception>
    /// <exception cref="ArgumentException">A prompt holds the mark of a picture.</exception>
    public async Task<RemoteVerdict[]> JudgeAsync(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
    {
        var questions = requests.Select(request =>
        {
            var text = Config.Prompt.Turn(request.Prompt.Text);
            return text.Split(PicturePlace).Length == 2 ? (Key: RemoteJudgeCache.Key(Config, text, request.Picture), Text: text, request.Picture)
                : throw new ArgumentException($"the judge's question says {PicturePlace} once, where the picture belongs, and a prompt never may: "
                    + $"'{request.Prompt.Text}'", nameof(requests));
        }).ToArray();
        var verdicts = new Dictionary<string, RemoteVerdict>();
        var open = new List<(string Key, string Text, Picture Picture)>();
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
        var bound = new ParallelOptions { MaxDegreeOfParallelism = Config.Calls.ConcurrentCalls, CancellationToken = cancel };
        await Parallel.ForEachAsync(open, bound, async (question, stop) =>
        {
            var verdict = await AskAsync(question.Key, question.Text, question.Picture, stop);
            lock (verdicts)
            {
                verdicts[question.Key] = verdict;
            }
        });
        return [.. questions.Select(question => verdicts[question.Key])];
    }

    private async Task<RemoteVerdict> AskAsync(string key, string text, Picture picture, CancellationToken cancel)
    {
        var options = new ChatOptions { ModelId = Config.Model, Temperature = 0, TopP = 1, MaxOutputTokens = Config.MaxAnswerTokens };
        try
        {
            var index = Convert.ToInt64(key[..15], 16); // the question's own waits, whatever is asked beside it
            var answer = await caller.AskAsync([new ChatMessage(ChatRole.User, Turn(text, picture))], options, said => said, index, cancel);
            var verdict = Verdict(cache.Keep(key, Config.Model, text, answer));
            Interlocked.Add(ref unboxed, verdict.Boxed ? 0 : 1);
            return verdict;
        }
        catch (EndpointException e)
        {
            Interlocked.Increment(ref failed);
            if (Config.OnFailure == FailedCall.Stop)
            {
                throw;
            }

            return new(float.NaN, "", false, e.Message);
        }
    }

    private static RemoteVerdict Verdict(string answer) => new(BoxedAnswer.Score(answer), answer, BoxedAnswer.Parse(answer) != "None");

    // Text, picture, text, as a server joins them: byte for byte the turn that the reference hands to its engine.
    private IList<AIContent> Turn(string text, Picture picture)
    {
        var around = text.Split(PicturePlace);
        var png = new DataContent(Png.Encode(Config.Image.Prepare(picture)), "image/png");
        AIContent[] parts = [new TextContent(around[0]), png, new TextContent(around[1])];
        return [.. parts.Where(part => part is not TextContent { Text: "" })];
    }
}
