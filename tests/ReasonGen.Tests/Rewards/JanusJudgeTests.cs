using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judging;
using ReasonGen.Rewards;
using ReasonGen.Setups;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Rewards;

/// <summary>A Janus as a judge, on the tiny one.</summary>
public sealed class JanusJudgeTests
{
    private static readonly RewardRequest[] Requests =
        [.. new byte[] { 0, 200 }.Select(tone => new RewardRequest(new("a grey wall", "", []), "",
            new RgbImage(32, 32, [.. Enumerable.Repeat(tone, 32 * 32 * 3)])))];

    [Fact]
    public void Answers_are_those_of_the_chat_about_the_image_and_the_papers_question()
    {
        using var pipeline = TinyJanus.Open(new ComputeTarget(CPU, ScalarType.Float32));
        var judge = new JanusJudge("tiny", pipeline, maxTokens: 6);
        Assert.Equal([0, 0], judge.Score(Requests)); // noise boxes nothing
        var question = JudgePrompt.Paper.Turn("a grey wall").Replace("<image>\n", "");
        Assert.Equal(Requests.Select(request =>
            string.Concat(pipeline.Ask(request.Image, question, new() { MaxTokens = 6 }))), judge.Answers);
    }

    [Fact]
    public void A_judge_that_is_told_to_end_gives_no_rewards()
    {
        using var pipeline = TinyJanus.Open(new ComputeTarget(CPU, ScalarType.Float32));
        Assert.Throws<OperationCanceledException>(() =>
            new JanusJudge("tiny", pipeline).Score(Requests, new CancellationToken(true)));
    }
}
