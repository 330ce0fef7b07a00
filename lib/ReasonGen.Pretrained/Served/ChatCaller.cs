// How often and how long a served model is asked, for the judge and the captioner alike.
//   wait before try k + 1 = min(FirstDelay · 2^(k−1), LongestDelay) · u,  u uniform in [½, 1) from the seed, the
//     question's number and k;
//   at least what the server asks for (Retry-After), which also holds back the questions that were not asked yet. A
//     server that asks for more than LongestAskedWait has failed.
using System.Net;
using Microsoft.Extensions.AI;
using ReasonGen.Core;

namespace ReasonGen.Served;

/// <summary>Settings of calls to a chat endpoint.</summary>
public sealed record ChatCallConfig
{
    /// <summary>Calls under way at once. Default 16; at least 1.</summary>
    public int ConcurrentCalls { get; init; } = 16;

    /// <summary>Times a question is asked before it counts as failed. Default 4; at least 1.</summary>
    public int Tries { get; init; } = 4;

    /// <summary>Longest wait before the second try; it doubles with each. Default 1 s; at least 0.</summary>
    public TimeSpan FirstDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest wait before any try, unless the server asks for a longer one. Default 30 s; at least
    /// <see cref="FirstDelay"/>.</summary>
    public TimeSpan LongestDelay { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Longest wait that a server may ask for (Retry-After); one that asks for more has failed. Default 10
    /// min; at least 0.</summary>
    public TimeSpan LongestAskedWait { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Time one call may take. Default 2 min; above 0.</summary>
    public TimeSpan TimeOut { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>Calls started a minute, evenly spread. Default 0, which sets no bound; at least 0.</summary>
    public int CallsPerMinute { get; init; }

    /// <summary>Seed of the waits. Default 1.</summary>
    public long Seed { get; init; } = 1;

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        static void Require(bool holds, string name, object value, string range)
        {
            if (!holds)
            {
                throw new ArgumentException($"{nameof(ChatCallConfig)}.{name} is {value}; it must be {range}");
            }
        }

        Require(ConcurrentCalls >= 1, nameof(ConcurrentCalls), ConcurrentCalls, "at least 1");
        Require(Tries >= 1, nameof(Tries), Tries, "at least 1");
        Require(FirstDelay >= TimeSpan.Zero, nameof(FirstDelay), FirstDelay, "at least 0");
        Require(LongestDelay >= FirstDelay, nameof(LongestDelay), LongestDelay,
            $"at least {nameof(FirstDelay)}, {FirstDelay}");
        Require(LongestAskedWait >= TimeSpan.Zero, nameof(LongestAskedWait), LongestAskedWait, "at least 0");
        Require(TimeOut > TimeSpan.Zero, nameof(TimeOut), TimeOut, "above 0");
        Require(CallsPerMinute >= 0, nameof(CallsPerMinute), CallsPerMinute, "at least 0");
    }
}

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
    private DateTime nextStart, pausedUntil;
    private long retries;

    /// <summary>Tries beyond the first, so far.</summary>
    public long Retries => Interlocked.Read(ref retries);

    /// <summary>How it waits; replaced in tests.</summary>
    internal Func<TimeSpan, CancellationToken, Task> Wait { get; init; } = Task.Delay;

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
        for (var attempt = 1; ; attempt++)
        {
            await PaceAsync(attempt == 1, cancel);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            limit.CancelAfter(config.TimeOut);
            try
            {
                return Read(await client.GetResponseAsync(messages, options, limit.Token), read, options);
            }
            catch (Exception e) when (!cancel.IsCancellationRequested)
            {
                var asked = e.Data[RetryAfter] as TimeSpan? ?? TimeSpan.Zero;
                if (attempt == config.Tries || !IsPassing(e) || asked > config.LongestAskedWait)
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

    private EndpointException Failure(Exception e, int attempts, string? model, TimeSpan asked)
    {
        var tried = attempts == 1 ? "once" : $"{attempts} times";
        var (cause, remedy) = e switch
        {
            HttpRequestException { StatusCode: { } status } when asked > config.LongestAskedWait =>
                ($"it asks to wait {asked:g} (HTTP {(int)status}, Retry-After), longer than "
                    + $"the {config.LongestAskedWait:g} that are allowed",
                "Start again after that time, or allow a longer wait (LongestAskedWait)"),
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
                "Start again later, with fewer ConcurrentCalls, a bound on CallsPerMinute or more Tries"),
            HttpRequestException { StatusCode: { } status } when IsPassing(e) =>
                ($"asked {tried}, it failed with HTTP {(int)status}: {Short(e)}",
                "Look at the server's log; fewer ConcurrentCalls or longer delays help an overloaded one"),
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
                "Raise TimeOut or lower ConcurrentCalls, or look at the server's log"),
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
