using ReasonGen.Models;
using ReasonGen.Tokenizers;

namespace ReasonGen.Rollouts;

/// <summary>How a prompt becomes the text a policy continues.</summary>
/// <param name="Turn">The user's turn, "{}" standing for the prompt.</param>
/// <param name="Chat">The chat up to where the policy goes on, of the user's turn.</param>
public sealed record PromptTemplate(string Turn, Func<string, string> Chat)
{
    /// <summary>Janus in RL and evaluation (rl_dataset.py, generate_inference_geneval.py). The prompt's own full stop
    /// stays: "..".</summary>
    public static PromptTemplate JanusRl { get; } = new("A photo of {}. Output a richly detailed prompt: ", Janus);

    /// <summary>Janus in supervised fine-tuning (janus_sft.sh).</summary>
    public static PromptTemplate JanusSft { get; } = new("{}. Output a richly detailed prompt: ", Janus);

    /// <summary>Janus-Pro without a rationale, as the paper's baseline is drawn: the image follows at once.</summary>
    public static PromptTemplate JanusBaseline { get; } =
        new("A photo of {}.", turn => Janus(turn) + JanusChat.BeginOfImage);

    /// <summary>Janus-Pro as published: the bare prompt, then the image (generation_inference.py).</summary>
    public static PromptTemplate JanusImage { get; } = new("{}", turn => Janus(turn) + JanusChat.BeginOfImage);

    /// <summary>The miniature: as few tokens as possible.</summary>
    public static PromptTemplate Mini { get; } =
        new("{}", turn => $"{JanusChat.User} {PythonText.Strip(turn)} {JanusChat.Assistant}");

    /// <summary>The whole text of a prompt.</summary>
    public string Fill(string prompt) => Chat(Turn.Replace("{}", prompt));

    /// <summary>The subject of a benchmark's prompt: "a photo of" is taken out wherever it stands, the rest stripped
    /// (evaluation scripts).</summary>
    public static string Subject(string prompt) =>
        PythonText.Strip(prompt.Replace("A photo of", "").Replace("a photo of", ""));

    private static string Janus(string turn) => JanusChat.Prompt(turn);
}
