using System.ClientModel;
using System.ClientModel.Primitives;
using Microsoft.Extensions.AI;
using OpenAI;

namespace ReasonGen.Notebook;

/// <summary>
/// Connects to an OpenAI-compatible endpoint. It lives here, beside the notebooks that give the address, so that
/// lib/ReasonGen needs no more than the abstraction of a chat client and takes any other one as well.
/// </summary>
public static class ChatEndpoint
{
    /// <summary>Whether a judge is named by the address of an endpoint.</summary>
    internal static bool IsAddress(string judge) => judge.StartsWith("http://") || judge.StartsWith("https://");

    /// <param name="address">The API's address up to its version, e.g. "http://localhost:8000/v1"; a server's bare
    /// address means its "/v1" where it knows no other.</param>
    /// <param name="model">Model as the endpoint names it.</param>
    /// <param name="key">The key; by default that of the environment variable OPENAI_API_KEY. A local server needs
    /// none.</param>
    /// <exception cref="ArgumentException">The address is not an http or https address, or the key is none.</exception>
    public static IChatClient Connect(string address, string model, string? key = null)
    {
        if (!Uri.TryCreate(Base(address), UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https")
            || uri.Query + uri.Fragment != "")
        {
            throw new ArgumentException(
                $"'{address}' is no address of an endpoint; give one such as http://localhost:8000/v1",
                nameof(address));
        }

        key = (key ?? Environment.GetEnvironmentVariable("OPENAI_API_KEY"))?.Trim() is { Length: > 0 } set ? set
            : "none";
        if (key.Any(c => c is < '!' or > '~'))
        {
            throw new ArgumentException(
                "the key holds blanks, line breaks or letters that no request can carry; look at what was copied",
                nameof(key));
        }

        var http = new HttpClient(new ChatAnswers(uri)) { Timeout = Timeout.InfiniteTimeSpan };
        var options = new OpenAIClientOptions
        {
            // both are the ChatCaller's
            Endpoint = uri, RetryPolicy = new ClientRetryPolicy(0), NetworkTimeout = Timeout.InfiniteTimeSpan,
            Transport = new HttpClientPipelineTransport(http),
        };
        return new StatusClient(new OpenAIClient(new ApiKeyCredential(key), options).GetChatClient(model)
            .AsIChatClient(), http);
    }

    /// <summary>An address as it may be written down: without user, password and query.</summary>
    internal static string Plain(string address) => Uri.TryCreate(Base(address), UriKind.Absolute, out var uri)
        ? uri.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped).TrimEnd('/')
        : address;

    private static string Base(string address)
    {
        const string Completions = "/chat/completions";
        var plain = address.Trim().TrimEnd('/');
        return plain.EndsWith(Completions, StringComparison.OrdinalIgnoreCase) ? plain[..^Completions.Length] : plain;
    }

    /// <summary>Tells of failures as every other HTTP client does, so that the library need not know this
    /// one.</summary>
    private sealed class StatusClient(IChatClient inner, HttpClient http) : DelegatingChatClient(inner)
    {
        public override async Task<ChatResponse> GetResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null,
            CancellationToken cancellationToken = default)
        {
            try
            {
                return await base.GetResponseAsync(messages, options, cancellationToken);
            }
            catch (ClientResultException e)
            {
                throw e.InnerException as HttpRequestException ?? new HttpRequestException(e.Message, e);
            }
        }

        protected override void Dispose(bool disposing)
        {
            base.Dispose(disposing);
            http.Dispose();
        }
    }
}
