// How often and how long a served model is asked, for the judge and the captioner alike.
//   wait before try k + 1 = min(FirstDelay · 2^(k−1), LongestDelay) · u,  u uniform in [½, 1) from the seed, the
//     question's number and k;
//   at least what the server asks for (Retry-After), which also holds back the questions that were not asked yet. A
//     server that asks for more than LongestAskedWait has failed.
//   tries at an endpoint that has answered before and is away (no connection, HTTP 502 to 504) do not count until it
//     has been away for LongestOutage, of all questions together: a server that is started again is waited for.
using System.Net;
using Microsoft.Extensions.AI;
using ReasonGen.Core;

namespace ReasonGen.Served;

/// <summary>A chat endpoint that did not answer usefully: which, why, and what to do.</summary>
public sealed class EndpointException(string endpoint, string cause, string remedy, Exception? inner = null)
    : InvalidOperationException($"{endpoint}: {cause}. {remedy}.", inner)
{
    /// <summary>Whether the endpoint answered, but nothing that could be used.</summary>
    public bool BadAnswer => InnerException is FormatException;

    /// <summary>Whether it may well answer another question: it is there and takes the key, and refused or spoiled this
    /// one.</summary>
    public bool ThisQuestionOnly => InnerException is not HttpRequestException http || (http.StatusCode is { } status
        ? (int)status >= 400
            && status is not (HttpStatusCode.Unauthorized or HttpStatusCode.PaymentRequired or HttpStatusCode.Forbidden
            or HttpStatusCode.NotFound or HttpStatusCode.MethodNotAllowed or HttpStatusCode.ProxyAuthenticationRequired
            or HttpStatusCode.TooManyRequests)
        : http.HttpRequestError is HttpRequestError.ResponseEnded or HttpRequestError.InvalidResponse
            or HttpRequestError.HttpProtocolError);
}

/// <summary>Asks a served model patiently: bounded rate and time, retries with growing and jittered waits.</summary>
/// <param name="client">The endpoint. An HTTP status is expected as
/// <see cref="HttpRequestException.StatusCode"/>.</param>
/// <param name="config">Settings.</param>
public sealed class ChatCaller(IChatClient client, ChatCallConfig config)
{
    /// <summary>Key under which an exception's data holds the wait a server asks for, a
    /// <see cref="TimeSpan"/>.</summary>
    public const string RetryAfter = "Retry-After";

    /// <summary>Key under which an exception's data says that asking again cannot help.</summary>
    public const string Final = "Final";

    private readonly string endpoint =
        client.GetService<ChatClientMetadata>()?.ProviderUri?.ToString() ?? "the chat endpoint";
    private readonly Lock pace = new();
    private readonly Outage outage = new(config.LongestOutage);
    private DateTime nextStart, pausedUntil;
    private long retries;

    /// <summary>Tries beyond the first, so far.</summary>
    public long Retries => Interlocked.Read(ref retries);

    /// <summary>How it waits; replaced in tests.</summary>
    internal Func<TimeSpan, CancellationToken, Task> Wait { get; init; } = Task.Delay;

    /// <summary>The time; replaced in tests.</summary>
    internal Func<DateTime> Now { get; init; } = () => DateTime.UtcNow;

    /// <summary>Told in a sentence when the endpoint is away and waited for, each minute of that, and when it is back;
    /// by one thread at a time.</summary>
    public Action<string>? Tell { get; init; }

    /// <summary>Asks until there is an answer that can be read.</summary>
    /// <param name="messages">The question.</param>
    /// <param name="options">Model and sampling.</param>
    /// <param name="read">Makes something of the answer's text; throws a <see cref="FormatException"/> when it should
    /// be asked again.</param>
    /// <param name="index">Number of the question, for the waits' seed.</param>
    /// <param name="cancel">Ends it at once.</param>
    /// <exception cref="EndpointException">It failed as often as the settings allow, or in a way that trying again
    /// cannot mend.</exception>
    public async Task<T> AskAsync<T>(
        IEnumerable<ChatMessage> messages, ChatOptions options, Func<string, T> read, long index,
        CancellationToken cancel = default)
    {
        for (int attempt = 1, tries = 1; ; attempt++)
        {
            await PaceAsync(attempt == 1, cancel);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            limit.CancelAfter(config.TimeOut);
            try
            {
                var response = await client.GetResponseAsync(messages, options, limit.Token);
                Say(outage.Ends(Now()));
                return Read(response, read, options);
            }
            catch (Exception e) when (!cancel.IsCancellationRequested)
            {
                var asked = e.Data[RetryAfter] as TimeSpan? ?? TimeSpan.Zero;
                var lasting = !IsPassing(e) || asked > config.LongestAskedWait;
                var (waits, word) = !lasting && IsAway(e) ? outage.Lasts(Now(), Short(e))
                    : (false, IsThere(e) ? outage.Ends(Now(), usable: false) : null);
                Say(word);
                if (lasting || (!waits && tries++ >= config.Tries))
                {
                    throw Failure(e, attempt, options.ModelId, asked);
                }

                Interlocked.Increment(ref retries);
                await Wait(Delay(index, attempt, asked), cancel);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                // whatever a client makes of it
                throw new OperationCanceledException("the call was cancelled", e, cancel);
            }
        }
    }

    private void Say(string? word)
    {
        if (word is not null)
        {
            lock (outage)
            {
                Tell?.Invoke($"{endpoint}: {word}.");
            }
        }
    }

    private static T Read<T>(ChatResponse response, Func<string, T> read, ChatOptions options)
    {
        var text = response.Text;
        if (string.IsNullOrWhiteSpace(text))
        {
            var said = response.Messages.SelectMany(message => message.Contents).OfType<ErrorContent>()
                .FirstOrDefault()?.Message;
            throw new FormatException(said is { Length: > 0 } ? $"it refuses: {said}"
                : $"its answer is empty{(response.FinishReason is { } reason ? $" (finish reason {reason})" : "")}");
        }

        try
        {
            return read(text);
        }
        catch (FormatException e) when (response.FinishReason == ChatFinishReason.Length)
        {
            throw new FormatException(
                $"{e.Message}; the answer was cut at the limit of {options.MaxOutputTokens} tokens", e);
        }
    }

    private TimeSpan Delay(long index, int attempt, TimeSpan asked)
    {
        lock (pace)
        {
            var until = DateTime.UtcNow + asked;
            pausedUntil = asked > TimeSpan.Zero && until > pausedUntil ? until : pausedUntil;
        }

        var longest =
            Math.Min(config.FirstDelay.TotalSeconds * Math.Pow(2, attempt - 1), config.LongestDelay.TotalSeconds);
        var drawn = longest * (0.5 + 0.5 * Seeds.Random(config.Seed, index, attempt).NextDouble());
        return TimeSpan.FromSeconds(Math.Max(drawn, asked.TotalSeconds));
    }

    private async Task PaceAsync(bool first, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        TimeSpan wait;
        lock (pace)
        {
            var now = DateTime.UtcNow;
            var start = first && pausedUntil > now ? pausedUntil : now;
            if (config.CallsPerMinute > 0)
            {
                start = nextStart > start ? nextStart : start;
                nextStart = start + TimeSpan.FromMinutes(1.0 / config.CallsPerMinute);
            }

            wait = start - now;
        }

        if (wait > TimeSpan.Zero)
        {
            await Wait(wait, cancel);
        }
    }

    // A request that the server refuses stays refused; all else may pass.
    private static bool IsPassing(Exception e) =>
        !e.Data.Contains(Final) && (e is not HttpRequestException { StatusCode: { } status }
        || (int)status >= 500
        || status is HttpStatusCode.RequestTimeout or HttpStatusCode.TooManyRequests or HttpStatusCode.Conflict
        || (int)status == 425);

    // as while a server is started again
    private static bool IsAway(Exception e) => e is HttpRequestException http && (http.StatusCode is { } status
        ? status is HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout
        : http.HttpRequestError is HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError);

    // whatever it says: a refusal, an error of its own, an answer of no use
    private static bool IsThere(Exception e) =>
        e is FormatException || (e is HttpRequestException { StatusCode: not null } && !IsAway(e));

    // "start again later, with fewer a, or more b": what has no name cannot be changed here
    private static string Help(string always, string before, params (string What, string? Name)[] ways)
    {
        string[] some = [.. ways.Where(way => way.Name is not null).Select(way => $"{way.What} {way.Name}")];
        return some.Length == 0 ? always : $"{always}{before} {string.Join(" or ", some)}";
    }

    private EndpointException Failure(Exception e, int attempts, string? model, TimeSpan asked)
    {
        var (tried, names) = (attempts == 1 ? "once" : $"{attempts} times", config.Names);
        var (cause, remedy) = e switch
        {
            HttpRequestException { StatusCode: { } status } when asked > config.LongestAskedWait =>
                ($"it asks to wait {asked:g} (HTTP {(int)status}, Retry-After), longer than "
                    + $"the {config.LongestAskedWait:g} that are allowed",
                Help("Start again after that time", ", or", ("raise", names.LongestAskedWait))),
            HttpRequestException { StatusCode: HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden } http =>
                ($"it refuses the key (HTTP {(int)http.StatusCode!}: {Short(e)})",
                    "Give the key that this endpoint expects"),
            HttpRequestException { StatusCode: HttpStatusCode.NotFound or HttpStatusCode.MethodNotAllowed } http =>
                ($"it knows no such address or model as '{model}' (HTTP {(int)http.StatusCode!}: {Short(e)})",
                "Compare the model with what GET …/models lists; the address usually ends in /v1"),
            HttpRequestException { StatusCode: { } status } when (int)status < 400 =>
                ($"it sends on to another address (HTTP {(int)status}: {Short(e)})",
                    "Give the address that really answers"),
            HttpRequestException { StatusCode: HttpStatusCode.TooManyRequests } =>
                ($"asked {tried}, it is overloaded or a quota is used up "
                + $"(HTTP 429: {Short(e)})",
                Help("Start again later", ", with", ("fewer", names.ConcurrentCalls),
                    ("a bound on", names.CallsPerMinute), ("more", names.Tries))),
            HttpRequestException { StatusCode: { } status } when IsPassing(e) =>
                ($"asked {tried}, it failed with HTTP {(int)status}: {Short(e)}",
                Help("Look at the server's log", ", and try", ("fewer", names.ConcurrentCalls),
                    ("more", names.Tries), ("a longer", IsAway(e) ? names.LongestOutage : null))),
            HttpRequestException { StatusCode: { } status } =>
                ($"it refuses the request (HTTP {(int)status}: {Short(e)})",
                "Check that the model takes images and that prompt and answer fit its context"),
            HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded
                or HttpRequestError.InvalidResponse } =>
                ($"asked {tried}, its answer cannot be read: {Short(e)}",
                    "Check that no proxy cuts its answers, and look at the server's log"),
            HttpRequestException =>
                ($"tried {tried}, it cannot be reached: {Short(e)}", "Start the server, or correct the address"),
            OperationCanceledException =>
                ($"asked {tried}, it did not answer within {config.TimeOut.TotalSeconds:0.###} s",
                Help("Look at the server's log", ", or", ("raise", names.TimeOut), ("lower", names.ConcurrentCalls))),
            FormatException =>
                ($"asked {tried}, it gave no usable answer: {Short(e)}",
                    "Ask a more capable model, or allow longer answers"),
            _ => ($"asked {tried}, its answer cannot be read: {Short(e)}",
                "Check that it is an OpenAI-compatible chat endpoint, and that no proxy cuts its answers"),
        };
        return new(endpoint, cause, remedy, e);
    }

    private static string Short(Exception e)
    {
        var text =
            string.Join(' ', (e.InnerException is System.Net.Sockets.SocketException inner ? inner.Message : e.Message)
            .Split(default(char[]), StringSplitOptions.RemoveEmptyEntries)).TrimEnd('.');
        text = string.Concat(text.Where(c => !char.IsControl(c))); // it goes to a terminal
        return text.Length <= 300 ? text : text[..300] + "…";
    }
}
