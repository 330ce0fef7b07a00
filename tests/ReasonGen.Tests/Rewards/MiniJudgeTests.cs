using ReasonGen.Checkpoints;
using ReasonGen.Judging;
using ReasonGen.Qwen;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Studies;
using ReasonGen.World;
using ReasonGen.WorldData;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Rewards;

public sealed class MiniJudgeTests : IDisposable
{
    private static readonly Study Study = new(StudyConfig.Quick);
    private static readonly WorldStream World = new(new WorldConfig(), 5);
    private static readonly JudgeData Data =
        new([.. World.Take(0, 40).Select(sample => (sample.Prompt, sample.Image(World.Config)))], World, 6);
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void Training_samples_say_what_the_detector_says()
    {
        var right = 0;
        for (var i = 0; i < 300; i++)
        {
            var sample = Data[i];
            var seen = Detector.Detect(sample.Image);
            Assert.All(seen,
                thing => Assert.Contains($"{thing.Color} {thing.Class} {WorldConfig.Places[thing.Cell]}",
                    sample.Answer));
            Assert.Equal(sample.Answer, Study.JudgeTokenizer.Decode(Study.JudgeTokenizer.Encode(sample.Answer)));
            Assert.NotEmpty(Study.JudgeTokenizer.Encode(sample.Prompt));
            Assert.NotEqual("None", BoxedAnswer.Parse(sample.Answer));
            right += (int)BoxedAnswer.Score(sample.Answer);
            Assert.Equal((sample.Prompt, sample.Answer), (Data[i].Prompt, Data[i].Answer));
            Assert.Equal(sample.Image.Rgb, Data[i].Image.Rgb);
        }

        Assert.InRange(right, 60, 240);
    }

    [Fact]
    public void A_description_is_satisfied_and_an_altered_one_differs()
    {
        var random = new Random(7);
        foreach (var sample in World.Take(100, 300))
        {
            var seen = Detector.Detect(sample.Image(World.Config));
            var described = JudgeData.Describe(seen, random);
            Assert.True(described is null || Checker.Check(seen, described).Correct,
                $"'{described?.Text}' does not describe {string.Join(", ", seen)}");
            Assert.NotEqual(sample.Prompt.Text, JudgeData.Alter(sample.Prompt, random).Text);
        }
    }

    [Fact]
    public void A_batch_is_judged_like_its_images_one_by_one()
    {
        var (model, judge) = Study.NewJudge("judge-small");
        using var own = model;
        var requests = World.Take(0, 9)
            .Select(sample => new RewardRequest(sample.Prompt, "", sample.Image(World.Config))).ToArray();
        var scores = judge.Score(requests);
        Assert.Equal(requests.Length, scores.Length);
        foreach (var (i, request) in requests.Index())
        {
            var alone = Assert.Single(judge.Judge([request]));
            Assert.Equal(alone.Text, judge.Answers[i].Text);
            Assert.Equal(alone.Score, scores[i]);
            Assert.All(alone.Tokens, token => Assert.InRange(token.Probability, 0, 1.00001f));
        }

        Assert.Empty(judge.Judge([]));
    }

    [Fact]
    public void Training_lowers_the_loss_and_resumes_to_the_same_weights()
    {
        const int steps = 32;
        var config = new JudgeTrainerConfig { TotalSteps = steps, SamplesPerStep = 16 };
        JudgeTrainer New((ReasonGen.Qwen.QwenVl Model, QwenJudge Judge) of) =>
            new(of.Model, of.Judge, Study.JudgeTokenizer, i => Data[i], config);
        var (whole, half) = (Study.NewJudge("judge-small"), Study.NewJudge("judge-small"));
        var path = Path.Combine(folder, "state");
        using (var trainer = New(whole))
        {
            var losses = Enumerable.Range(0, steps).Select(i =>
            {
                if (i == steps / 2)
                {
                    trainer.Save(path);
                }

                return trainer.Step().Loss;
            }).ToArray();
            Assert.True(losses[^1] < 0.8 * losses[0], string.Join(", ", losses));
        }

        using (var trainer = New(half))
        {
            trainer.Resume(path);
            Assert.Equal(steps / 2, trainer.StepCount);
            while (trainer.StepCount < steps)
            {
                trainer.Step();
            }
        }

        Assert.All(whole.Model.Weights().Zip(half.Model.Weights()),
            pair => Golden.Equal(pair.First.Parameter, pair.Second.Parameter, pair.First.Name));
        using var other = new JudgeTrainer(half.Model, half.Judge, Study.JudgeTokenizer, i => Data[i],
            config with { TotalSteps = 99 });
        Assert.Contains("other settings", Assert.Throws<UnusableFileException>(() => other.Resume(path)).Message);
    }

    [Fact]
    public void Quality_counts_agreement_precision_and_recall()
    {
        var quality = JudgeQuality.Of([true, true, false, false, true], [true, false, true, false, true]);
        Assert.Equal(new JudgeQuality(5, 3 / 5.0, 2 / 3.0, 2 / 3.0, 3 / 5.0), quality);
        Assert.True(double.IsNaN(JudgeQuality.Of([false], [true]).Precision));
    }

    [Fact]
    public void An_audited_reward_is_the_judges_with_the_detectors_word_beside_it()
    {
        var audit = new AuditedReward(new LambdaReward("kind", _ => 1));
        var right = World[0];
        var other = World.Take(1, 50)
            .First(sample =>
                !Checker.Check(sample.Scene.Objects.Select(o => o.ToSeen()).ToArray(), right.Prompt).Correct);
        Assert.Equal([1, 1],
            audit.Score([new(right.Prompt, "", right.Image(World.Config)),
                new(right.Prompt, "", other.Image(World.Config))]));
        Assert.Equal((1.0, 0.5, 0.5), audit.Take());
        Assert.Equal((0.0, 0.0, 0.0), audit.Take());
    }

    [Fact]
    public void Bad_settings_and_names_are_named()
    {
        Assert.Contains("judge-large", Assert.Throws<ArgumentException>(() => Study.NewJudge("judge-huge")).Message);
        Assert.Contains("rl-judge-small", Assert.Throws<ArgumentException>(() => Study.Rl("rl-judge-huge")).Message);
        Assert.Throws<ArgumentException>(() => new JudgeTrainerConfig { TotalSteps = 0 }.Validate());
    }

    public void Dispose() => Directory.Delete(folder, true);
}
