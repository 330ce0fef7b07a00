using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Qwen;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judging;

/// <summary>Settings of a judge.</summary>
public sealed record JudgeConfig
{
    /// <summary>What it is asked.</summary>
    public required JudgePrompt Prompt { get; init; }

    /// <summary>The size in which images are sent.</summary>
    public required JudgeImage Image { get; init; }

    /// <summary>Images to patches.</summary>
    public required QwenProcessor Processor { get; init; }

    /// <summary>Most tokens of an answer. Default 1024 (fsdp_workers.py); at least 1.</summary>
    public int MaxTokens { get; init; } = 1024;

    /// <summary>Images judged together. Default 8; at least 1.</summary>
    public int ImagesPerBatch { get; init; } = 8;

    /// <summary>The paper's judge: 384 → 512 → 504 pixels, 324 tokens an image.</summary>
    public static JudgeConfig Paper { get; } = new() { Prompt = JudgePrompt.Paper, Image = new(), Processor = new() };

    /// <summary>A miniature judge, which reads the world's images as they are.</summary>
    public static JudgeConfig Mini(QwenConfig model) => new()
    {
        Prompt = JudgePrompt.Mini, Image = new(1, int.MaxValue), Processor = QwenProcessor.For(model.Vision),
        MaxTokens = 24, ImagesPerBatch = 256,
    };
}

/// <summary>One token of an answer, and the probability the judge gave it.</summary>
public readonly record struct JudgeToken(string Text, float Probability);

/// <summary>What a judge said about one image.</summary>
/// <param name="Text">The whole answer.</param>
/// <param name="Tokens">The same, token by token.</param>
/// <param name="Verdict">What stands in its last box, "None" without one.</param>
/// <param name="Score">1 for a verdict of "1", else 0.</param>
public sealed record JudgeAnswer(string Text, IReadOnlyList<JudgeToken> Tokens, string Verdict, float Score);

/// <summary>
/// The paper's reward: a vision-language model describes the image, reasons, and boxes 1 or 0 (fsdp_workers.py
/// RewardModelWorker). Greedy, batched, prompts padded on the left.
/// </summary>
public sealed class QwenJudge(string name, QwenVl model, ITokenizer tokenizer, JudgeConfig config) : IReward
{
    public string Name => name;

    public JudgeConfig Config => config;

    /// <summary>The same model with other settings.</summary>
    public QwenJudge With(JudgeConfig other) => new(name, model, tokenizer, other);

    /// <summary>The answers behind the newest rewards.</summary>
    public IReadOnlyList<JudgeAnswer> Answers { get; private set; } = [];

    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
    {
        Answers = Judge(requests, cancel);
        return Answers.Select(answer => answer.Score).ToArray();
    }

    /// <summary>An answer for each request, in order.</summary>
    public IReadOnlyList<JudgeAnswer> Judge(IReadOnlyList<RewardRequest> requests,
        CancellationToken cancel = default) =>
        requests.Chunk(config.ImagesPerBatch).SelectMany(some =>
        {
            using var scope = NewDisposeScope();
            var (tokens, probabilities) = model.Generate(
                Input(some.Select(request => (request.Prompt.Text, request.Image)).ToArray()), config.MaxTokens,
                cancel: cancel);
            var (ids, chances, length) = (tokens.Values<long>(), probabilities.Values<float>(), (int)tokens.shape[1]);
            return some
                .Select((_, row) => Answer(ids.AsSpan(row * length, length), chances.AsSpan(row * length, length)))
                .ToArray();
        }).ToArray();

    /// <summary>The batch that the judge reads for prompts and images.</summary>
    public QwenInput Input(IReadOnlyList<(string Prompt, RgbImage Image)> items)
    {
        using var scope = NewDisposeScope();
        var (patches, grids) =
            config.Processor.Process(items.Select(item => config.Image.Prepare(item.Image)).ToArray());
        var merge = config.Processor.MergeSize * config.Processor.MergeSize;
        // the one image token of a text becomes as many as the image has
        var rows = items.Select((item, i) => tokenizer.Encode(config.Prompt.Fill(item.Prompt))
            .SelectMany(id => Enumerable.Repeat((long)id, id == model.Config.ImageToken ? grids[i].Patches / merge : 1))
            .ToArray()).ToArray();
        var (ids, mask) = Pad(rows, model.Config.Pad, left: true);
        return new(ids.to(model.Target.Device).MoveToOuterDisposeScope(),
            mask.to(model.Target.Device).MoveToOuterDisposeScope(),
            patches.to(model.Target.Device).MoveToOuterDisposeScope(), grids);
    }

    /// <summary>Rows of ids → [B, T] ids and mask, padded on the left or on the right.</summary>
    internal static (Tensor Ids, Tensor Mask) Pad(IReadOnlyList<long[]> rows, long pad, bool left)
    {
        var columns = rows.Max(row => row.Length);
        IEnumerable<long> Filled(IEnumerable<long> row, int count, long fill) =>
            left ? Enumerable.Repeat(fill, columns - count).Concat(row)
                : row.Concat(Enumerable.Repeat(fill, columns - count));
        Tensor Stack(Func<long[], IEnumerable<long>> of, long fill) =>
            tensor(rows.SelectMany(row => Filled(of(row), row.Length, fill)).ToArray(), [rows.Count, columns]);
        return (Stack(row => row, pad), Stack(row => row.Select(_ => 1L), 0));
    }

    private JudgeAnswer Answer(ReadOnlySpan<long> ids, ReadOnlySpan<float> probabilities)
    {
        var kept = new List<int>();
        foreach (var id in ids)
        {
            if (model.Config.EndTokens.Contains((int)id))
            {
                break;
            }

            kept.Add((int)id);
        }

        var tokens = new JudgeToken[kept.Count];
        for (var i = 0; i < tokens.Length; i++)
        {
            tokens[i] = new(tokenizer.Decode([kept[i]]), probabilities[i]);
        }

        var text = tokenizer.Decode(kept);
        return new(text, tokens, BoxedAnswer.Parse(text), BoxedAnswer.Score(text));
    }
}
