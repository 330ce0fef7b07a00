using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judging;
using ReasonGen.Qwen;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;

namespace ReasonGen.Verification;

/// <summary>A judge that is checked, and that says what it sees in the drawn images.</summary>
/// <param name="Name">For the report.</param>
/// <param name="Judge">Asked with what its prompt makes of a question.</param>
public sealed record VerifyJudge(string Name, QwenJudge Judge)
{
    /// <summary>A published Qwen2.5-VL from its folder, which is asked the bare question.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">The folder holds no such model, or a damaged
    /// one.</exception>
    public static VerifyJudge Open(string folder, ComputeTarget target)
    {
        var tokenizer = QwenVl.Tokenizer(folder); // first: it is read in no time, and may be wrong
        var model = QwenVl.Load(folder, target);
        var name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        return new(name, new QwenJudge(name, model, tokenizer, JudgeConfig.Paper with
        {
            Prompt = JudgePrompt.Paper with { Template = "<image>{prompt}" }, MaxTokens = 32,
            Processor = QwenProcessor.Read(folder, model.Config.Vision),
        }));
    }

    /// <summary>Its likeliest answer to a question about an image.</summary>
    public string Ask(RgbImage image, string question, CancellationToken cancel) =>
        Judge.Judge([new RewardRequest(new Prompt(question, "", []), "", image)], cancel)[0].Text;
}
