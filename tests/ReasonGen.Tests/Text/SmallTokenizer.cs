using Newtonsoft.Json.Linq;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;

namespace ReasonGen.Tests.Text;

/// <summary>Tokenizers of a few tokens, written to a file and read back.</summary>
internal static class SmallTokenizer
{
    internal static object Split(string regex) =>
        new { type = "Split", pattern = new { Regex = regex }, behavior = "Isolated", invert = false };

    internal static HuggingFaceTokenizer Load(DirectoryInfo folder, object? step = null, Action<JObject>? change = null)
    {
        object bytes = new { type = "ByteLevel", add_prefix_space = false, use_regex = false };
        var json = JObject.FromObject(new
        {
            added_tokens = new object[] { new { id = 6, content = "<x>", special = true } },
            normalizer = (object?)null,
            pre_tokenizer = new { type = "Sequence", pretokenizers = new[] { step, bytes }.Where(s => s is not null) },
            post_processor = (object?)null,
            decoder = new { type = "ByteLevel" },
            model = new
            {
                type = "BPE", vocab = new { a = 0, b = 1, c = 2, ab = 3, abc = 4, Ġ = 5 },
                    merges = new[] { "a b", "ab c" },
            },
        });
        change?.Invoke(json);
        var file = Path.Combine(folder.FullName, "tokenizer.json");
        File.WriteAllText(file, json.ToString());
        return HuggingFaceTokenizer.Load(folder.FullName, JanusChat.SpecialNames);
    }
}
