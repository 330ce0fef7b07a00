using System.Net;
using Microsoft.Extensions.AI;
using OpenAI.Chat;
using ReasonGen.Scoring;

namespace ReasonGen.Notebook;

/// <summary>Asks an OpenAI-compatible endpoint for the 20 likeliest first tokens too and joins them to the text; one
/// that refuses them from the beginning is asked without.</summary>
/// <param name="inner">The endpoint, of <see cref="ChatEndpoint.Connect"/>.</param>
public sealed class FirstTokens(IChatClient inner) : DelegatingChatClient(inner)
{
    private const int Most = 20;
    private volatile bool refused, given;

    public override async Task<ChatResponse> GetResponseAsync(
        IEnumerable<Microsoft.Extensions.AI.ChatMessage> messages, ChatOptions? options = null,
            CancellationToken cancellationToken = default)
    {
        if (!refused)
        {
            try
            {
                var asking = options?.Clone() ?? new();
                asking.RawRepresentationFactory = _ => new ChatCompletionOptions { IncludeLogProbabilities = true,
                    TopLogProbabilityCount = Most };
                var response = await base.GetResponseAsync(messages, asking, cancellationToken);
                var first = (response.RawRepresentation as ChatCompletion)?.ContentTokenLogProbabilities;
                var tokens = first is { Count: > 0 } ? first[0]
                    .TopLogProbabilities.Select(t => (t.Token, (double)t.LogProbability)).ToArray() : [];
                if (tokens.Length > 0)
                {
                    given = true;
                }

                response.Messages = [new(ChatRole.Assistant, new ServedReply(response.Text, tokens).Join())];
                return response;
            }
            catch (HttpRequestException e) when (!given
                && e.StatusCode is HttpStatusCode.BadRequest or HttpStatusCode.UnprocessableEntity)
            {
                var plain = await base.GetResponseAsync(messages, options, cancellationToken);
                refused = true; // the tokens, and not the question
                return plain;
            }
        }

        return await base.GetResponseAsync(messages, options, cancellationToken);
    }
}
