using System.ClientModel;
using System.ClientModel.Primitives;
using System.Globalization;
using System.Net;
using Microsoft.Extensions.AI;
using OpenAI;
using ReasonGen.Core;

namespace ReasonGen.Notebook;

/// <summary>
/// Connects to an OpenAI-compatible endpoint. It lives here, beside the notebooks that give the address, so that lib/ReasonGen needs no more than the
/// abstraction of a chat client and takes any other one as well.
/// </summary>
public static class ChatEndpoint
{
    /// <param name="address">The API's address up to its version, e.g. "http://localhost:8000/v1".</param>
    /// <param name="model">Model as the endpoint names it.</param>
    /// <param name="key">The key; by default that of the environment variable OPENAI_API_KEY. A local server needs none.</param>
    /// <exception cref="ArgumentException">The address is not an http or https address.</exception>
    public static IChatClient Connect(string address, string model, string? key = null)
    {
        if (!Uri.TryCreate(address, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https"))
        {
            throw new ArgumentException($"'{address}' is no address of an endpoint; give one such as http://localhost:8000/v1", nameof(address));
        }

        key ??= Environment.GetEnvironmentVariable("OPENAI_API_KEY") is { Length: > 0 } set ? set : "none";
        var options = new OpenAIClientOptions
        {
            Endpoint = uri, RetryPolicy = new ClientRetryPolicy(0), NetworkTimeout = Timeout.InfiniteTimeSpan, // both are the ChatCaller's
        };
        return new StatusClient(new OpenAIClient(new ApiKeyCredential(key), options).GetChatClient(model).AsIChatClient());
    }

    /// <summary>Tells of failures as every other HTTP client does, so that the library need not know this one.</summary>
    private sealed class StatusClient(IChatClient inner) : DelegatingChatClient(inner)
    {
        public override async Task<ChatResponse> GetResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
        {
            try
            {
                return await base.GetResponseAsync(messages, options, cancellationToken);
            }
            catch (ClientResultException e)
            {
                var failure = new HttpRequestException(e.InnerException?.Message ?? e.Message, e.InnerException ?? e,
                    e.Status == 0 ? null : (HttpStatusCode)e.Status);
                if (e.GetRawResponse()?.Headers.TryGetValue(ChatCaller.RetryAfter, out var wait) == true
                    && double.TryParse(wait, NumberStyles.Float, CultureInfo.InvariantCulture, out var seconds) && seconds is >= 0 and < 86400)
                {
                    failure.Data[ChatCaller.RetryAfter] = TimeSpan.FromSeconds(seconds);
                }

                throw failure;
            }
        }
    }
}
