using ReasonGen.Core;
using ReasonGen.Rollouts;
using ReasonGen.Studies;
using ReasonGen.World;
using Xunit;

namespace ReasonGen.Tests.Studies;

/// <summary>What a notebook asks of finished stages, from those that ship.</summary>
public sealed class StudySamplesTests
{
    private readonly Study study = new(StudyConfig.Smoke);

    [Fact]
    public void Rationales_written_without_images_are_those_written_with_them()
    {
        const int count = 4, purpose = 7;
        using var model = study.Load("sft");
        var policy = study.Policy(model);
        var prompts =
            Enumerable.Range(0, count).Select(i => Prompts.Draw(Seeds.Random(study.Config.Seed, purpose, i))).ToArray();
        using var rollouts = policy.Generate(prompts, 1, Seeds.Mix(study.Config.Seed, purpose, 0, 1));
        var written = study.Write("sft", count, purpose);
        Assert.Equal(policy.Rationales(rollouts), written.Select(item => item.Rationale));
        Assert.Equal(prompts.Select(prompt => prompt.Text), written.Select(item => item.Prompt.Text));
    }

    [Theory]
    [InlineData("rl-judge-large", "1, 2")]
    [InlineData("rl-adaptive", "1")]
    [InlineData("sft", "1")]
    public void Records_of_a_stage_are_of_every_seed_that_ships(string stage, string seeds) =>
        Assert.Equal(seeds, string.Join(", ", study.Records(stage).Select(record => record.Seed)));
}
