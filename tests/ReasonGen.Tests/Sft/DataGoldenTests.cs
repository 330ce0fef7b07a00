using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using ReasonGen.TrainingData;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Sft;

[Trait("Category", "Golden")]
public sealed class DataGoldenTests
{
    [Fact]
    public void Wordings_equal_the_reference()
    {
        var json = Golden.Json("sft/augmentation");
        foreach (var c in json["cases"]!)
        {
            var draws = new Queue<JToken>(c["draws"]!);
            int Draw(int low, int high)
            {
                var draw = draws.Dequeue();
                Assert.Equal(((int)draw[0]!, (int)draw[1]!), (low, high));
                return (int)draw[2]!;
            }

            var record = (JObject)json["data"]![(string)c["data"]!]!;
            var keys = c["keys"]!.ToObject<string[]>()!;
            Assert.Equal((string)c["result"]!,
                (string)c["kind"]! == "prompt" ? PromptAugmentation.Prompt(record, keys, Draw)
                    : PromptAugmentation.Rationale(record, keys, Draw));
            Assert.Empty(draws);
        }
    }

    [Fact]
    public void Images_are_prepared_like_the_reference()
    {
        var t = Golden.Tensors("sft/image_prep");
        foreach (var name in t.Keys.Where(key => key.EndsWith(".pixels")).Some()
            .Select(key => key.Split('.')[0]))
        {
            var pixels = t[name + ".pixels"];
            var image =
                new RgbImage((int)pixels.shape[1], (int)pixels.shape[0], pixels.to(ScalarType.Byte).Values<byte>());
            foreach (var (mode, prepare) in new (string, Func<RgbImage, RgbImage>)[] {
                ("center_crop", Resampling.CropCentre), ("pad", p => Resampling.PadToSquare(p)), ("none", p => p) })
            {
                if (t.TryGetValue($"{name}.{mode}", out var expected))
                {
                    var square = Resampling.Resize(prepare(image), (int)expected.shape[2], (int)expected.shape[1]);
                    Golden.Close(expected, ImageTensors.ToTensor([square], CPU)[0], 1e-6, $"{name} {mode}");
                }
            }
        }
    }

    [Fact]
    public void Prompt_rows_equal_the_reference()
    {
        var json = Golden.Json("rollout/prompt_rows");
        var ids = json["ids"]!;
        var special = new SpecialTokens((int)ids["bos"]!, -1, (int)ids["pad"]!, -1, -1, -1);
        var vocabulary = json["vocab"]!.ToObject<Dictionary<string, int>>()!;
        int[] Encode(string text) =>
            [.. text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(word => vocabulary[word])];
        var template = new PromptTemplate((string)json["template"]!, PromptTemplate.JanusRl.Chat);
        var longest = (int)json["max_prompt_length"]!;
        foreach (var (name, token) in (JObject)json["variants"]!)
        {
            var kept = json["file_lines"]!.Select(line => ((string)line!).Trim())
                .Where(line =>
                    !name.Contains("filter_True")
                        || line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length + 10 <= longest)
                        .ToArray();
            Assert.Equal(token!.Select(row => (string)row["raw_prompt"]!), kept);
            foreach (var row in token!.Some())
            {
                var tokens = Encode(template.Fill((string)row["raw_prompt"]!));
                Assert.Equal(row["raw_prompt_ids"]!.Select(id => (int)id), tokens);
                var built = PromptRow.Build(tokens, longest, special, keepRight: name.Contains("truncate_left"));
                Assert.Equal(row["input_ids"]!.Select(id => (long)id), built.Ids);
                Assert.Equal(row["attention_mask"]!.Select(id => (long)id), built.AttentionMask);
                Assert.Equal(row["position_ids"]!.Select(id => (long)id), built.PositionIds);
            }
        }
    }
}
