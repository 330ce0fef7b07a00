using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <content>What finished stages draw and write.</content>
public sealed partial class Study
{
    private const int TogetherSampled = 250;

    /// <summary>Images that a stage's policy draws at temperature 1 for prompts of the world.</summary>
    /// <param name="stage">"base", "sft" or an arm.</param>
    /// <param name="count">How many.</param>
    /// <param name="purpose">Another purpose, other prompts and images.</param>
    public (Prompt Prompt, RgbImage Image)[] Draw(string stage, int count, long purpose)
    {
        using var model = Trained(stage);
        var policy = Policy(model, stage != "base");
        return Sample(count, purpose, policy, policy.Images);
    }

    /// <summary>Rationales that a stage's policy writes at temperature 1 for prompts of the world. It does not
    /// draw.</summary>
    /// <param name="stage">"sft" or an arm; also "base", which never learned to write before an image.</param>
    /// <param name="count">How many.</param>
    /// <param name="purpose">Another purpose, other prompts and rationales.</param>
    public (Prompt Prompt, string Rationale)[] Write(string stage, int count, long purpose)
    {
        using var model = Trained(stage);
        // text is sampled first, so one image token behind it changes nothing
        var writer = new PolicySampler(model, Tokenizer, PromptTemplate.Mini,
            RolloutConfig.Mini with { ImageTokens = 1 }, model.Target.Device);
        return Sample(count, purpose, writer, writer.Rationales);
    }

    /// <summary>Sees to it that a stage is there: what is not is trained, with what it stands on.</summary>
    internal void Make(string stage)
    {
        if (Judges.Contains(stage))
        {
            _ = Judge(stage);
        }
        else
        {
            Trained(stage).Dispose();
        }
    }

    private Janus Trained(string stage)
    {
        var made = NearEqualCodes.Read(stage) switch
        {
            ("tokenizer", _) => ImageTokenizer(), ("base", var copies) => Base(copies),
            ("sft", var copies) => Sft(copies), _ => Rl(stage),
        };
        return made.Model;
    }

    private (Prompt, T)[] Sample<T>(int count, long purpose, PolicySampler policy, Func<RolloutBatch, T[]> what) =>
        Enumerable.Range(0, count).Chunk(TogetherSampled).SelectMany(numbers =>
        {
            Cancel.ThrowIfCancellationRequested();
            var prompts = numbers.Select(i => Prompts.Draw(Seeds.Random(Config.Seed, purpose, i))).ToArray();
            using var rollouts = policy.Generate(prompts, 1, Seeds.Mix(Config.Seed, purpose, numbers[0], 1));
            return prompts.Zip(what(rollouts)).ToArray();
        }).ToArray();
}
