// A Janus as a judge: the paper's question (JudgePrompt.Paper) with the image in the understanding chat, greedy; the
//   last \boxed{…} decides.
// Deviation: the paper asks a Qwen2.5-VL; where Janus' chat puts its image is before the question, which keeps its line
//   "Below is one generated image:".
using ReasonGen.JanusPro;
using ReasonGen.Rewards;

namespace ReasonGen.Judging;

/// <summary>A Janus that looks at images and boxes 1 or 0, one image at a time.</summary>
/// <param name="name">Name in logs and plots.</param>
/// <param name="pipeline">Answers; it stays the caller's.</param>
/// <param name="maxTokens">Most tokens of an answer; at least 1.</param>
public sealed class JanusJudge(string name, JanusPipeline pipeline, int maxTokens = 512) : IReward
{
    private const string Place = "<image>\n";

    public string Name => name;

    /// <summary>The answers behind the newest rewards.</summary>
    public IReadOnlyList<string> Answers { get; private set; } = [];

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The model reads no images, or a question is too long for it.</exception>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
    {
        Answers = [.. requests.Select(request =>
        {
            cancel.ThrowIfCancellationRequested();
            var question = JudgePrompt.Paper.Turn(request.Prompt.Text).Replace(Place, "");
            return string.Concat(pipeline.Chat(new() { MaxTokens = maxTokens })
                .Ask(question, [request.Image], cancel: cancel));
        })];
        cancel.ThrowIfCancellationRequested(); // an answer that was broken off is none
        return [.. Answers.Select(BoxedAnswer.Score)];
    }
}
