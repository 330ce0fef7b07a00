using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

/// <summary>How an answer is drawn.</summary>
public sealed record TextConfig
{
    /// <summary>Most tokens of an answer. Default 512; at least 1.</summary>
    public int MaxTokens { get; init; } = 512;

    /// <summary>Divides the logits; 0 takes the likeliest token. Default 0, as the reference's inference.py; its demo
    /// samples at 0.1.</summary>
    public double Temperature { get; init; }

    /// <summary>Share of the probability that is drawn from, the likeliest tokens first. Default 0.95, as the demo; in
    /// (0, 1].</summary>
    public double TopP { get; init; } = 0.95;

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        if (MaxTokens < 1 || !(Temperature >= 0) || !(TopP > 0) || TopP > 1)
        {
            throw new ArgumentException(
                $"{nameof(MaxTokens)} must be at least 1, {nameof(Temperature)} at least 0 "
                + $"and {nameof(TopP)} in (0, 1]: {this}");
        }
    }
}

/// <summary>Writes text after what the model has read, token by token.</summary>
public sealed class TextGenerator
{
    private readonly IImageTextModel model;
    private readonly int eos;

    /// <param name="model">Reads and writes.</param>
    /// <param name="eos">Ends a row; later places of the row are filled with it. −1 ends none.</param>
    /// <param name="config">How tokens are drawn.</param>
    public TextGenerator(IImageTextModel model, int eos, TextConfig config)
    {
        config.Validate();
        (this.model, this.eos, Config) = (model, eos, config);
    }

    public TextConfig Config { get; }

    /// <summary>The next token of every row, until all rows have ended or the most tokens are written.</summary>
    /// <param name="embeddings">[N, P, D], left-padded.</param>
    /// <param name="attentionMask">[N, P], 0 on pads.</param>
    /// <param name="seed">The same seed draws the same tokens.</param>
    /// <param name="cancel">Ends it between tokens.</param>
    public IEnumerable<long[]> Write(Tensor embeddings, Tensor attentionMask, long seed = 0,
        CancellationToken cancel = default)
    {
        using var generator = Seeds.Torch(seed);
        using var feed = Start(embeddings, attentionMask);
        var ended = new bool[embeddings.shape[0]];
        for (var written = 0; written < Config.MaxTokens && !ended.All(end => end) && !cancel.IsCancellationRequested;
        written++)
        {
            var next = Next(feed, generator, ended, last: written + 1 == Config.MaxTokens);
            yield return next;
        }
    }

    private DecodeState Start(Tensor embeddings, Tensor attentionMask)
    {
        using var free = no_grad();
        var (rows, columns) = ((int)attentionMask.shape[0], (int)attentionMask.shape[1]);
        return new DecodeState(
            model, embeddings, attentionMask, model.NewCache(rows, columns + Config.MaxTokens), Config.MaxTokens);
    }

    private long[] Next(DecodeState feed, Generator generator, bool[] ended, bool last)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var logits = model.TextLogits(feed.Hidden).squeeze(1); // [N, V]
        var greedy = Config.Temperature == 0;
        Tensor Noise(Tensor like) => DeviceKernels.Noise(like, generator);
        var drawn = TokenSampler.Draw(logits, greedy ? 1 : Config.Temperature, greedy, Noise, Config.TopP).Ids
            .Values<long>();
        for (var row = 0; row < drawn.Length; row++)
        {
            drawn[row] = ended[row] ? eos : drawn[row];
            ended[row] |= drawn[row] == eos;
        }

        if (!last && !ended.All(end => end))
        {
            feed.Append(model.Embed(tensor(drawn, [drawn.Length, 1], device: logits.device)));
        }

        return drawn;
    }
}
