// What comes back from a chat endpoint, brought into the one form that the client library reads. Servers, and the
// proxies before them, say the same in many ways: content as a list of parts, a stream where none was asked for, an
// error under HTTP 200, finish reasons of their own, log-probs of NaN.
using System.Globalization;
using System.Net;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Served;

namespace ReasonGen.Notebook;

/// <summary>Sends requests to one endpoint and makes its answers uniform. Refusals are
/// <see cref="HttpRequestException"/>s with a status.</summary>
/// <param name="address">The endpoint's address, as given.</param>
internal sealed class ChatAnswers(Uri address) : DelegatingHandler(new SocketsHttpHandler
{
    AllowAutoRedirect = false, // a request with a key in its head goes nowhere else by itself
    AutomaticDecompression = DecompressionMethods.All, PooledConnectionLifetime = TimeSpan.FromMinutes(5),
})
{
    private const int MostBytes = 16 << 20, MostBytesOfRefusal = 64 << 10;
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);
    private volatile bool versioned;

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request,
        CancellationToken cancellationToken)
    {
        var given = request.RequestUri!;
        request.RequestUri = versioned ? Versioned(given) : given;
        var response = await base.SendAsync(request, cancellationToken);
        if (response.StatusCode is HttpStatusCode.NotFound or HttpStatusCode.MethodNotAllowed && !versioned
            && address.AbsolutePath == "/")
        {
            response.Dispose(); // the address was given without its version
            request.RequestUri = Versioned(given);
            response = await base.SendAsync(request, cancellationToken);
            versioned = response.IsSuccessStatusCode;
        }

        using (response)
        {
            if (!response.IsSuccessStatusCode)
            {
                throw await RefusalAsync(response, cancellationToken);
            }

            var answer = Uniform(await ReadAsync(response, MostBytes, cancellationToken));
            return new(HttpStatusCode.OK)
            {
                RequestMessage = request,
                Content = new StringContent(answer.ToString(Formatting.None), Encoding.UTF8, "application/json"),
            };
        }
    }

    /// <summary>The answer in one form: one choice that holds a text.</summary>
    /// <exception cref="InvalidDataException">The body is no answer of a chat endpoint, or one that it broke
    /// off.</exception>
    /// <exception cref="FormatException">It is one, but says nothing.</exception>
    /// <exception cref="HttpRequestException">It is an error that came as a success.</exception>
    internal static JObject Uniform(byte[] body)
    {
        var json = Parse(body);
        if (json["error"] is JObject or JValue { Value: string { Length: > 0 } })
        {
            var code = json["error"] is JObject error
                && int.TryParse((error["code"] ?? error["status"])?.ToString(), out var number) ? number : 0;
            throw new HttpRequestException(Message(json), null,
                (HttpStatusCode)(code is >= 400 and < 600 ? code : 500));
        }

        var choice = (json["choices"] as JArray)?.FirstOrDefault() as JObject;
        var message =
            choice?["message"] as JObject ?? throw new InvalidDataException("it holds no message (choices[0].message)");
        var finish = Finish(choice!["finish_reason"]);
        var text = Text(message["content"]);
        if (text.Trim().Length == 0 || finish == "content_filter")
        {
            throw Silence(message, finish);
        }

        var chosen = new JObject
        {
            ["index"] = 0, ["finish_reason"] = finish,
            ["message"] = new JObject { ["role"] = "assistant", ["content"] = text },
        };
        if (choice["logprobs"] is JObject chances && Finite(chances))
        {
            chosen["logprobs"] = chances;
        }

        var answer = new JObject
        {
            ["id"] = json["id"]?.ToString() ?? "", ["object"] = "chat.completion", ["created"] = 0,
            ["model"] = json["model"]?.ToString() ?? "",
            ["choices"] = new JArray(chosen),
        };
        string[] counts = ["prompt_tokens", "completion_tokens", "total_tokens"];
        if (json["usage"] is JObject usage && counts.All(name => usage[name]?.Type == JTokenType.Integer))
        {
            answer["usage"] = new JObject(counts.Select(name => new JProperty(name, usage[name])));
        }

        return answer;
    }

    private static JObject Parse(byte[] body)
    {
        try
        {
            var text = Strict.GetString(body).TrimStart('\uFEFF', ' ', '\r', '\n', '\t');
            return text.StartsWith("data:", StringComparison.Ordinal)
                || text.StartsWith("event:", StringComparison.Ordinal)
                || text.StartsWith(':') ? Joined(text)
                : text.Length == 0 ? throw new InvalidDataException("its body is empty")
                : text[0] == '<' ? throw new InvalidDataException("it is a web page (HTML), no JSON")
                : Json(text) as JObject ?? throw new InvalidDataException("it is no JSON object");
        }
        catch (DecoderFallbackException)
        {
            throw new InvalidDataException("it is not valid UTF-8");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"it is no JSON, or JSON that breaks off: {e.Message}", e);
        }
    }

    private static JToken Json(string text)
    {
        using var reader = new JsonTextReader(new StringReader(text)) { DateParseHandling = DateParseHandling.None };
        return JToken.ReadFrom(reader);
    }

    // a stream of deltas, though none was asked for
    private static JObject Joined(string stream)
    {
        var (content, finish, ended) = (new StringBuilder(), (JToken?)null, false);
        foreach (var line in stream.Split('\n').Select(line => line.Trim())
            .Where(line => line.StartsWith("data:", StringComparison.Ordinal)))
        {
            var data = line["data:".Length..].Trim();
            ended |= data == "[DONE]";
            if (data is "" or "[DONE]" || Json(data) is not JObject chunk)
            {
                continue;
            }

            if (chunk["error"] is not (null or { Type: JTokenType.Null }))
            {
                return chunk;
            }

            var choice = (chunk["choices"] as JArray)?.FirstOrDefault() as JObject;
            content.Append(Text(choice?["delta"]?["content"]));
            finish = choice?["finish_reason"] is { Type: JTokenType.String } reason ? reason : finish;
        }

        return ended || finish is not null ? new JObject
        {
            ["choices"] = new JArray(new JObject
            {
                ["finish_reason"] = finish, ["message"] = new JObject { ["content"] = content.ToString() },
            }),
        } : throw new InvalidDataException("it is a stream that breaks off");
    }

    private static string Text(JToken? content) => content switch
    {
        JValue { Value: string text } => text,
        JArray parts => string.Concat(parts.Select(part => part is JValue { Value: string plain } ? plain
            : part is JObject { } item && item["text"] is JValue { Value: string text }
                && !((string?)item["type"] ?? "text").Contains("reason")
                ? text : "")),
        _ => "",
    };

    private static string Finish(JToken? reason) => (reason?.ToString() ?? "").ToLowerInvariant() switch
    {
        "length" or "max_tokens" or "max_output_tokens" => "length",
        "content_filter" or "safety" or "recitation" or "blocklist" or "prohibited_content" => "content_filter",
        "tool_calls" or "function_call" or "tool_use" => "tool_calls",
        "abort" or "error" or "cancelled" or "canceled" => // of an engine that is shut down: half a text is no answer
            throw new InvalidDataException($"the server broke it off (finish_reason {reason})"),
        _ => "stop",
    };

    private static FormatException Silence(JObject message, string finish)
    {
        var thought = new[] { "reasoning_content", "reasoning" }.Any(name => Text(message[name]).Trim().Length > 0);
        var refusal = Text(message["refusal"]);
        var reason = refusal.Length > 0 ? $"it refuses: {refusal}"
            : finish == "content_filter" ? "its content filter held the answer back"
            : finish == "tool_calls" || message["tool_calls"] is JArray { Count: > 0 }
                ? "it called a tool instead of answering"
            : thought && finish == "length" ? "it reasoned up to the limit of tokens and gave no answer"
            : thought ? "it gave its reasoning only (reasoning_content), and no answer"
            : finish == "length" ? "it reached the limit of tokens before it said anything" : "its answer is empty";
        var silence = new FormatException(reason);
        if (refusal.Length > 0 || finish == "content_filter")
        {
            silence.Data[ChatCaller.Final] = true;
        }

        return silence;
    }

    // -∞ is a chance of 0, which OpenAI writes as -9999; beside NaN none of them says anything
    private static bool Finite(JObject chances)
    {
        foreach (var value in chances.Descendants().OfType<JValue>()
            .Where(value => value.Value is double number && !double.IsFinite(number)).ToArray())
        {
            if (!double.IsNegativeInfinity((double)value.Value!))
            {
                return false;
            }

            value.Value = -9999.0;
        }

        return true;
    }

    private static async Task<Exception> RefusalAsync(HttpResponseMessage response, CancellationToken cancel)
    {
        var body = "";
        JObject? json = null;
        try
        {
            body = Encoding.UTF8.GetString(await ReadAsync(response, MostBytesOfRefusal, cancel)).Trim();
            json = Json(body) as JObject;
        }
        catch (Exception e) when (e is JsonException or IOException or HttpRequestException or InvalidDataException)
        {
            // the status says enough
        }

        var said = json is not null ? Message(json)
            : body.StartsWith('<') || body.Length == 0 ? response.ReasonPhrase ?? "without a word" : body;
        if (response.StatusCode == HttpStatusCode.BadRequest && body.Contains("content_filter"))
        {
            var held = new FormatException($"its content filter refuses the question: {said}");
            held.Data[ChatCaller.Final] = true;
            return held;
        }

        var refusal = new HttpRequestException((int)response.StatusCode is >= 300 and < 400
            ? $"{response.Headers.Location}" : said,
            null, response.StatusCode);
        if (Wait(response) is { } wait)
        {
            refusal.Data[ChatCaller.RetryAfter] = wait;
        }

        return refusal;
    }

    private static string Message(JObject json)
    {
        var error = json["error"] as JObject ?? json;
        var message = error["message"] ?? json["error"] ?? json["detail"] ?? json;
        return message is JValue { Value: string { Length: > 0 } text } ? text : message.ToString(Formatting.None);
    }

    // seconds, or a date by the server's own clock
    private static TimeSpan? Wait(HttpResponseMessage response)
    {
        var text = response.Headers.NonValidated.TryGetValues(ChatCaller.RetryAfter, out var values)
            ? values.ToString().Trim() : "";
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var seconds)
            ? double.IsNaN(seconds) ? null : TimeSpan.FromSeconds(Math.Clamp(seconds, 0, 1e9))
            : DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var date)
                ? Max(TimeSpan.Zero, date - (response.Headers.Date ?? DateTimeOffset.UtcNow)) : null;
    }

    private static TimeSpan Max(TimeSpan one, TimeSpan other) => one > other ? one : other;

    private static async Task<byte[]> ReadAsync(HttpResponseMessage response, int most, CancellationToken cancel)
    {
        await using var body = await response.Content.ReadAsStreamAsync(cancel);
        var (kept, block) = (new MemoryStream(), new byte[16384]);
        for (int read; (read = await body.ReadAsync(block, cancel)) > 0;)
        {
            kept.Write(block, 0, read);
            if (kept.Length > most)
            {
                throw new InvalidDataException($"it is longer than {most >> 10} KiB");
            }
        }

        return kept.ToArray();
    }

    private static Uri Versioned(Uri uri) => new UriBuilder(uri) { Path = "/v1" + uri.AbsolutePath }.Uri;
}
