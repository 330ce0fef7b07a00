using ReasonGen.Rollouts;
using ReasonGen.TrainingData;

namespace ReasonGen.Served;

/// <summary>Settings of captioning a folder of images.</summary>
public sealed record CaptionerConfig
{
    /// <summary>Model as the endpoint names it. Not empty.</summary>
    public required string Model { get; init; }

    /// <summary>What the model is told; the answer stays what <see cref="SftCaptions"/> reads. Default:
    /// <see cref="Instruction"/>.</summary>
    public string Prompt { get; init; } = Instruction;

    /// <summary>Temperature; above 0 a bad answer comes out differently when asked again. Default 0.7; at least
    /// 0.</summary>
    public float Temperature { get; init; } = 0.7f;

    /// <summary>Longest answer in tokens. Default 2048; at least 1.</summary>
    public int MaxAnswerTokens { get; init; } = 2048;

    /// <summary>
    /// New images refused one after another at which the run ends, as the server will hardly take any. Default 8; at
    /// least 1.
    /// </summary>
    public int FailuresInARow { get; init; } = 8;

    /// <summary>Asks the server to allow nothing but json (response_format). Default true; false for servers that
    /// refuse it.</summary>
    public bool JsonMode { get; init; } = true;

    /// <summary>Tokens an answer is reckoned at beforehand. Default 500; at least 1.</summary>
    public int ExpectedAnswerTokens { get; init; } = 500;

    /// <summary>Price of a million tokens read, in whatever currency. Default 0; at least 0.</summary>
    public double PriceIn { get; init; }

    /// <summary>Price of a million tokens written. Default 0; at least 0.</summary>
    public double PriceOut { get; init; }

    /// <summary>Concurrency, retries, time-outs, rate.</summary>
    public ChatCallConfig Calls { get; init; } = new() { ConcurrentCalls = 4 };

    /// <summary>The default instruction.</summary>
    public const string Instruction = """
        You write training data for a program that thinks before it paints. Look at the picture and answer with one JSON object
        and nothing else. It has exactly these members:
        "brief_caption": what the picture shows, in one sentence of at most 20 words.
        "detailed_caption": the thoughts of a painter before painting exactly this picture, 60 to 150 words of running
        text: which objects, how many, in which colours, materials and sizes, where each stands and how it relates to the others; then
        background, light, style and mood. Only what can be seen.
        "augmented_prompts": an object with exactly these members:
          "short_caption": 3 to 8 words,
          "paraphrases": a list of 3 rewordings of brief_caption,
          "varied_captions": a list of 3 captions that differ in style and in what they dwell on,
          "tags": a list of 5 to 12 words or short phrases,
          "object_prompts": a list with one noun phrase for each main object, with its attributes, such as "a red cup".
        """;

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        static void Require(bool holds, string name, object value, string range)
        {
            if (!holds)
            {
                throw new ArgumentException($"{nameof(CaptionerConfig)}.{name} is '{value}'; it must be {range}");
            }
        }

        Require(!string.IsNullOrWhiteSpace(Model), nameof(Model), Model, "the model's name at the endpoint");
        Require(!string.IsNullOrWhiteSpace(Prompt), nameof(Prompt), Prompt, "what the model is told");
        Require(Temperature >= 0 && float.IsFinite(Temperature), nameof(Temperature), Temperature, "at least 0");
        Require(MaxAnswerTokens >= 1, nameof(MaxAnswerTokens), MaxAnswerTokens, "at least 1");
        Require(FailuresInARow >= 1, nameof(FailuresInARow), FailuresInARow, "at least 1");
        Require(ExpectedAnswerTokens >= 1, nameof(ExpectedAnswerTokens), ExpectedAnswerTokens, "at least 1");
        Require(PriceIn >= 0 && double.IsFinite(PriceIn), nameof(PriceIn), PriceIn, "at least 0");
        Require(PriceOut >= 0 && double.IsFinite(PriceOut), nameof(PriceOut), PriceOut, "at least 0");
        Calls.Validate();
    }
}

/// <summary>An image to be captioned.</summary>
/// <param name="Name">Its name in the set.</param>
/// <param name="File">Where its bytes are.</param>
/// <param name="Hash">Of its bytes; see <see cref="HashOf"/>.</param>
/// <param name="Width">Pixels.</param>
/// <param name="Height">Pixels.</param>
/// <param name="MediaType">E.g. "image/png".</param>
public sealed record CaptionImage(string Name, string File, string Hash, int Width, int Height, string MediaType)
{
    /// <summary>SHA-256 in hexadecimal: an image that was moved or renamed is still known.</summary>
    public static string HashOf(byte[] encoded) =>
        Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(encoded));
}

/// <summary>What captioning will take.</summary>
/// <param name="Images">Images to ask about.</param>
/// <param name="Finished">Images whose captions are there.</param>
/// <param name="TokensIn">Tokens read: 4 characters of text each, and 28 x 28 pixels each, as Qwen2.5-VL
/// counts.</param>
/// <param name="TokensOut">Tokens written.</param>
/// <param name="Cost">In the currency of the prices.</param>
public sealed record CaptionEstimate(int Images, int Finished, long TokensIn, long TokensOut, double Cost)
{
    /// <summary>Files that hold the same image as one that is to be asked about, and get its captions.</summary>
    public int Duplicates { get; init; }
}

/// <summary>How captioning went.</summary>
/// <param name="Captioned">Rows in the set.</param>
/// <param name="Asked">Images that were asked about just now.</param>
/// <param name="Unusable">Files left out as the server refused them or no answer could be read, with the reason; the
/// next run asks again.</param>
public sealed record CaptionOutcome(long Captioned, int Asked, IReadOnlyList<(string Name, string Reason)> Unusable)
{
    /// <summary>Images of those asked about that were answered.</summary>
    public int Answered { get; init; }

    /// <summary>Styles that rows lack, and how many rows lack each.</summary>
    public IReadOnlyDictionary<string, int> MissingStyles { get; init; } = new Dictionary<string, int>();
}
