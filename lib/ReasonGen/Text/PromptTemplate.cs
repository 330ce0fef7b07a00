namespace ReasonGen.Text;

/// <summary>How a prompt becomes the user's turn of a chat.</summary>
/// <param name="Turn">The user's turn, "{}" standing for the prompt.</param>
/// <param name="Chat">The chat up to where the policy goes on, "{}" standing for the user's turn.</param>
public sealed record PromptTemplate(string Turn, string Chat)
{
    private const string JanusChat = "<|User|>: {}\n\n<|Assistant|>:";

    /// <summary>Janus in RL and evaluation (rl_dataset.py, generate_inference_geneval.py).</summary>
    public static PromptTemplate JanusRl { get; } = new("A photo of {}. Output a richly detailed prompt: ", JanusChat);

    /// <summary>Janus in supervised fine-tuning (janus_sft.sh).</summary>
    public static PromptTemplate JanusSft { get; } = new("{}. Output a richly detailed prompt: ", JanusChat);

    /// <summary>The miniature: as few tokens as possible.</summary>
    public static PromptTemplate Mini { get; } = new("{}", "<|User|> {} <|Assistant|>");

    /// <summary>The whole text of a prompt; the turn is trimmed, as the reference does.</summary>
    public string Fill(string prompt) => Chat.Replace("{}", Turn.Replace("{}", prompt).Trim());
}
