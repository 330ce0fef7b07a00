using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.World;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Core;

/// <summary>Training on several threads is training on one, up to the order of sums.</summary>
[Collection(typeof(NothingBeside))]
public sealed class RowPiecesTests
{
    private const double Tolerance = 1e-5;
    private static readonly Study Study = new(StudyConfig.Quick);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Loss_and_gradients_of_pieces_are_those_of_the_whole(bool checkpoints)
    {
        var whole = Sft(1, checkpoints: false);
        var pieces = Sft(2, checkpoints);
        Assert.NotEqual(whole.Gradients, pieces.Gradients); // several pieces
        Assert.Equal(whole.Loss, pieces.Loss, Tolerance);
        Assert.InRange(Furthest(whole.Gradients, pieces.Gradients), 0, Tolerance);
    }

    [Fact]
    public void Bits_are_those_of_any_number_of_threads_beside_a_busy_collector()
    {
        using var end = new CancellationTokenSource();
        var collector = new Thread(() =>
        {
            while (!end.IsCancellationRequested)
            {
                GC.Collect(0);
                Thread.Sleep(1);
            }
        });
        var two = Sft(2);
        collector.Start();
        try
        {
            var three = Sft(3);
            Assert.Equal(two.Loss, three.Loss);
            Assert.Equal(two.Gradients, three.Gradients);
        }
        finally
        {
            end.Cancel();
            collector.Join();
        }
    }

    [Fact]
    public void A_step_of_rollouts_in_pieces_is_that_of_the_whole()
    {
        float[] Trained(int threads) => With(threads, () =>
        {
            using var model = Study.Load("sft");
            // Where a gradient is all but 0, AdamW makes a step of the learning rate of its rounding.
            var config = Study.GrpoSettings with
            {
                PromptsPerStep = 6, PromptsPerUpdate = 3, PromptsPerRound = 8, MicroBatchRollouts = 24,
                WarmupSteps = 0, LearningRate = 1e-4, KlWeight = 0.1,
            };
            using var reference = Study.Load("sft");
            var collector = new RolloutCollector(Study.Policy(model), new DetectorReward(),
                i => Prompts.Draw(Seeds.Random(1, 22, i)), config);
            using var trainer = new GrpoTrainer(model, collector, Study.Entropy("adaptive"),
                Study.Tokenizer.Special.BeginOfImage, reference);
            var step = trainer.Step();
            Assert.True(step.Groups > 0);
            return Weights(model);
        });
        Assert.InRange(Furthest(Trained(1), Trained(2)), 0, Tolerance);
    }

    [Fact]
    public void A_pass_of_the_image_tokenizer_in_pieces_is_that_of_the_whole()
    {
        (double Loss, float[] Gradients) Passed(int threads) => With(threads, () =>
        {
            using var scope = NewDisposeScope();
            using var model = Study.Untrained();
            var images = rand([40, 3, 32, 32], generator: new Generator(3)).mul(2).sub(1);
            var (made, _, _, codebook, commitment, entropy) = model.ImageTokenizer.Reconstruct(images);
            var loss = made.sub(images).square().mean() + codebook + commitment + entropy;
            ActivationCheckpoint.Backward(loss);
            return (loss.ToDouble(), (float[])[.. model.ImageTokenizer.parameters()
                .SelectMany(weight => weight.grad!.Values<float>())]);
        });
        var (whole, pieces) = (Passed(1), Passed(2));
        Assert.NotEqual(whole.Gradients, pieces.Gradients);
        Assert.Equal(whole.Loss, pieces.Loss, Tolerance);
        Assert.InRange(Furthest(whole.Gradients, pieces.Gradients), 0, Tolerance);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_a_piece_throws_reaches_the_caller(bool backward)
    {
        With(2, () =>
        {
            using var scope = NewDisposeScope();
            var w = new TorchSharp.Modules.Parameter(ones(3));
            Tensor Part(int start, int count)
            {
                var y = w.mul(ones(count, 3));
                return backward ? ActivationCheckpoint.Run(t => is_grad_enabled() // computed again
                    ? throw new InvalidOperationException("out of memory") : t[0].mul(w), y)
                    : start > 0 ? throw new InvalidOperationException("out of memory") : y;
            }

            Assert.Equal("out of memory", Assert.Throws<InvalidOperationException>(() =>
                ActivationCheckpoint.Backward(RowPieces.Run([w], 40, Part).sum())).Message);
            return 0;
        });
    }

    [Fact]
    public void Gradients_add_up_and_a_weight_without_a_part_in_it_gets_none()
    {
        var gradients = With(2, () =>
        {
            using var scope = NewDisposeScope();
            TorchSharp.Modules.Parameter used = new(ones(2)), other = new(ones(2)), sometimes = new(ones(2));
            for (var i = 0; i < 2; i++)
            {
                RowPieces.Run([used, other, sometimes], 40, (start, count) =>
                {
                    var y = used.mul(ones(count, 2));
                    return start == 0 ? y : y.mul(sometimes);
                }).sum().backward();
            }

            Assert.Null(other.grad);
            return used.grad!.Values<float>().Concat(sometimes.grad!.Values<float>()).ToArray();
        });
        Assert.Equal([80f, 80f], gradients[..2]);
        Assert.InRange(gradients[2], 2f, 78f);
    }

    private static (double Loss, float[] Gradients) Sft(int threads, bool checkpoints = false) => With(threads, () =>
    {
        using var scope = NewDisposeScope();
        using var model = Study.Load("sft");
        model.CheckpointActivations = checkpoints;
        using var batch = Study.Batches(model, "sft").Rationale(3);
        var parts = SftLoss.Compute(model, batch, Study.Tokenizer.Special.BeginOfImage, 2, 1, 2);
        ActivationCheckpoint.Backward(parts.Total);
        var gradients = model.TrainableParameters().SelectMany(p => p.Parameter.grad!.Values<float>());
        return (parts.Total.ToDouble(), gradients.ToArray());
    });

    private static float[] Weights(Janus model) =>
        [.. model.TrainableParameters().SelectMany(p => p.Parameter.Values<float>())];

    private static double Furthest(float[] one, float[] other) => one.Zip(other, (a, b) => Math.Abs(a - b)).Max();

    private static T With<T>(int threads, Func<T> work)
    {
        var before = get_num_threads();
        set_num_threads(threads);
        try
        {
            return work();
        }
        finally
        {
            set_num_threads(before);
        }
    }
}
