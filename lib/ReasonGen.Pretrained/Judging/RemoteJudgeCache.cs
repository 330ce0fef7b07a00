using System.Security.Cryptography;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Imaging;

namespace ReasonGen.Judging;

/// <summary>Answers by model, prompt and image: the newest in memory, all in a folder if one is given. Safe for several
/// threads and processes.</summary>
internal sealed class RemoteJudgeCache(string? folder, int capacity)
{
    private readonly Dictionary<string, string> answers = [];
    private readonly Queue<string> order = [];

    /// <summary>Names a question: the same for the same model, settings, text and pixels, and for nothing
    /// else.</summary>
    internal static string Key(RemoteJudgeConfig config, string text, RgbImage image)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var question = new JArray(config.Model, text, config.MaxAnswerTokens, config.Image.MinPixels,
            config.Image.MaxPixels, image.Width, image.Height);
        hash.AppendData(Encoding.UTF8.GetBytes(question.ToString(Formatting.None)));
        hash.AppendData(image.Rgb);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    internal string? Find(string key)
    {
        lock (answers)
        {
            if (answers.TryGetValue(key, out var known))
            {
                return known;
            }
        }

        var path = PathOf(key);
        if (path is null || !File.Exists(path))
        {
            return null;
        }

        try
        {
            return JObject.Parse(File.ReadAllText(path))["answer"]?.Value<string>() is { } answer
                // older versions kept silence, too
                && !string.IsNullOrWhiteSpace(answer) ? Remember(key, answer) : null;
        }
        catch (Exception e) when (e is JsonException or IOException or InvalidCastException)
        {
            return null; // a damaged file is asked for again and replaced
        }
    }

    /// <exception cref="UnusableFileException">The folder cannot be written.</exception>
    internal string Keep(string key, string model, string text, string answer)
    {
        if (PathOf(key) is { } path)
        {
            try
            {
                AtomicFile.Write(path,
                    new JObject { ["model"] = model, ["prompt"] = text, ["answer"] = answer }.ToString());
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new UnusableFileException(path, $"the judge's answer cannot be kept: {e.Message}",
                    $"give another {nameof(RemoteJudgeConfig.CacheFolder)}, or none", e);
            }
        }

        return Remember(key, answer);
    }

    private string Remember(string key, string answer)
    {
        lock (answers)
        {
            if (capacity > 0 && answers.TryAdd(key, answer))
            {
                order.Enqueue(key);
                if (order.Count > capacity)
                {
                    answers.Remove(order.Dequeue());
                }
            }
        }

        return answer;
    }

    // two letters a folder, as no folder should hold a hundred thousand files
    private string? PathOf(string key) => folder is null ? null : Path.Combine(folder, key[..2], key + ".json");
}
