using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Rollouts;
using ReasonGen.Verification;
using ReasonGen.World;
using ReasonGen.WorldData;

namespace ReasonGen.Studies;

/// <summary>The fine-tuned miniature, its good judge and what they are checked with: the same checks as of a published
/// model, in
/// the drawn world's words, with bands that were measured.</summary>
public static class MiniatureVerification
{
    private const int Samples = 12;
    private const string Wanted = "a photo of a red circle and a blue square";

    /// <summary>Opens model and judge of the data that ships.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">A checkpoint is not there, or damaged.</exception>
    public static (JanusPipeline Pipeline, VerifySuite Suite, VerifyJudge Judge) Open(Study study) =>
        (new JanusPipeline(study.Load("sft"), study.Tokenizer, source: "the miniature"), Suite(study),
            new VerifyJudge("judge-large", study.LoadJudge("judge-large")));

    private static VerifySuite Suite(Study study)
    {
        var stream = new WorldStream(study.World, Seeds.Mix(study.Config.Seed, 91)); // no stage has seen these
        var samples = stream.Take(0, Samples);
        var template = PromptTemplate.Mini;
        return new()
        {
            Name = "miniature",
            TokenVectors = [("a photo of", study.Tokenizer.Encode("a photo of"))],
            SingleTokens = [JanusChat.User, JanusChat.Assistant],
            Texts = [.. samples.Select(sample => (template.Fill(sample.Prompt.Text), sample.Rationale))],
            Perplexity = VerifyBand.AtMost(2.2), Turn = (Wanted, ["red circle", "blue square"]), Chat = template.Chat,
                AnswerTokens = 36,
            Pictures = [.. samples.Select(sample =>
                ($"{template.Fill(sample.Prompt.Text)} {sample.Rationale}", sample.Image(study.World)))],
            Psnr = VerifyBand.AtLeast(26), ImageLoss = VerifyBand.AtMost(3.5),
            Questions = [.. samples.Index()
                .Select(item => Question(item.Item, item.Index % 2 == 0, item.Index, study))],
            Answers = (@"\boxed{1}", @"\boxed{0}"), QuestionEnd = "", LeastRightOfJudge = 10,
            Prompt = Wanted, Nouns = ["red circle", "blue square"], Describe = Wanted, Template = template,
            Drawing = RolloutConfig.Mini, Neighbours = VerifyBand.AtLeast(.5),
        };
    }

    // its own prompt is to be answered with yes, an altered one with no
    private static VerifyQuestion Question(WorldSample sample, bool yes, int index, Study study)
    {
        var prompt = yes ? sample.Prompt : JudgeData.Alter(sample.Prompt, Seeds.Random(study.Config.Seed, 92, index));
        return new(sample.Image(study.World), prompt.Text, yes);
    }
}
