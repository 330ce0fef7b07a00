using System.Security.Cryptography;
using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Preference;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class ImageRewardGoldenTests
{
    private static JObject Scores => Golden.Json("preference/imagereward/scores");

    private static SourceImage Image(int number) => ClipFixture.Image("preference", number);

    private static ImageRewardScorer Load(string? path = null) =>
        ImageRewardScorer.Load(path ?? Golden.Path("preference/imagereward/ImageReward.pt"),
        ClipFixture.Target,
        heads: ((int)Scores["vit"]!["heads"]!,
            (int)Golden.Json("preference/imagereward/med_config")["num_attention_heads"]!));

    [Fact]
    public void Rewards_and_ranks_equal_the_reference()
    {
        using var scorer = Load();
        var (json, prompts) = (Scores, Scores["prompts"]!.ToObject<string[]>()!);
        foreach (var (number, row) in json["rewards_image_by_prompt"]!.Index())
        {
            if (row.Any(value => value.Type == JTokenType.Null))
            {
                Assert.Throws<UnusableFileException>(() => scorer.Score(Image(number), prompts));
                continue;
            }

            Assert.All(row.Paired(scorer.Score(Image(number), prompts)),
                pair => Assert.Equal((double)pair.First, pair.Second, 1e-4));
        }

        Assert.All(json["inference_rank"]!, row =>
        {
            SourceImage[] images = [.. row["images"]!.Select(i => Image((int)i))];
            var rewards = scorer.Score(images, [.. images.Select(_ => prompts[(int)row["prompt"]!])]);
            Assert.All(row["rewards"]!.Paired(rewards), pair => Assert.Equal((double)pair.First, pair.Second, 1e-4));
            Assert.Equal(row["rank"]!.ToObject<int[]>()!, ImageRewardScorer.Ranks(rewards));
        });
        Assert.All(prompts.Paired(json["ids"]!), pair =>
        {
            var ids = scorer.Ids(pair.First);
            Assert.Equal(ClipFixture.Ids(pair.Second),
                ids.Concat(Enumerable.Repeat(scorer.Tokenizer.Pad, 35 - ids.Length)));
        });
        Assert.Contains("ImageReward's rules", scorer.Name);
    }

    [Fact]
    public void As_a_reward_it_scores_each_image_with_its_prompt()
    {
        using var scorer = Load();
        var prompts = Scores["prompts"]!.ToObject<string[]>()!;
        int[] numbers = [.. Enumerable.Range(0, Scores["rewards_image_by_prompt"]!.Count())
            .Where(i => Image(i).Mode == ImageMode.Rgb)];
        var rewards = scorer.Score(
            [.. numbers.Select((number, i) =>
                new RewardRequest(new Prompt(prompts[i % prompts.Length], "", []), "", Image(number).Rgb))]);
        Assert.All(numbers.Index(),
            pair => Assert.Equal((double)Scores["rewards_image_by_prompt"]![pair.Item]![pair.Index % prompts.Length]!,
                rewards[pair.Index], 1e-4));
    }

    [Fact]
    public void States_equal_the_reference()
    {
        using var scorer = Load();
        using var scope = NewDisposeScope();
        var t = Golden.Tensors("preference/imagereward/model");
        var seen = new Dictionary<string, Tensor>();
        void Keep(string name, Tensor x) => seen[name] = x.clone().MoveToOtherDisposeScope(scope);
        var pixels = scorer.Transform.PixelValues([.. Scores["intermediates"]!["images"]!.Select(i => Image((int)i))]);
        Golden.Close(t["pixel_values"], pixels, 1e-6, "pixels");
        var images = scorer.Model.EncodeImages(pixels, Keep);
        Golden.Close(t["image_embeds"], images, 1e-4, "images");
        var order = Scores["intermediates"]!["images"]!.ToObject<long[]>()!;
        var image = tensor(
            [.. TensorValues.Values<long>(t["pair.image"]).Select(number => (long)Array.IndexOf(order, number))]);
        var ids = t["input_ids"].index_select(0, t["pair.prompt"]);
        var mask = t["attention_mask"].index_select(0, t["pair.prompt"]).to(ScalarType.Bool).unsqueeze(1).unsqueeze(1);
        var paired = images.index_select(0, image);
        Golden.Close(t["rewards"], scorer.Model.Rewards(paired, ids, mask, Keep), 1e-4, "rewards");
        var rows = t["text.rows"];
        foreach (var name in seen.Keys.Where(name => name.StartsWith("text.")).ToArray())
        {
            seen[name] = seen[name].index_select(0, rows);
        }

        var real = mask.index_select(0, rows).view(rows.shape[0], -1, 1).to(ScalarType.Float32);
        BlipFixture.States(t, seen, scorer.Model, (name, x) => name.StartsWith("text.") ? x.mul(real) : x,
            ("text", "text", paired.index_select(0, rows), mask.index_select(0, rows), null));
        Assert.True(seen.Keys.Count(t.ContainsKey) > 10);
    }

    [Fact]
    public void Images_are_cropped_like_the_reference()
    {
        var (json, t) = (Golden.Json("preference/imagereward/image"), Golden.Tensors("preference/imagereward/image"));
        using var scorer = Load();
        Assert.Equal((int)json["size"]!, scorer.Transform.Size);
        Assert.All(json["images"]!, row =>
        {
            var number = (int)row["image"]!;
            using var values = scorer.Transform.PixelValues([Image(number)]);
            Golden.Close(t[$"{number}"], values[0], 1e-6, $"image {number}");
        });
        var large = scorer.Transform with { Size = 224 };
        Assert.All(json["at_224"]!, row => Assert.Equal((string)row["uint8_hwc_sha256"]!,
            Convert.ToHexStringLower(SHA256.HashData(large.Prepare(Image((int)row["image"]!)).Rgb))));
    }

    [Fact]
    public void The_published_size_has_the_names_and_shapes_of_the_reference()
    {
        var json = Golden.Json("preference/names_imagereward");
        using var model = new ImageRewardModel(BlipConfig.ImageReward, new(META, ScalarType.Float32));
        NamesOf.Equal((JObject)json["state_dict"]!, model, ImageRewardModel.Names,
            name => name.EndsWith("position_ids") || name.Contains("_proj."));
    }

    [Theory]
    [InlineData("blip_vqa/blip_vqa_small.pth", "answers questions")]
    [InlineData("preference/hps/HPS_tiny.pt", "lacks")]
    [InlineData("preference/imagereward/vocab.txt", "begins neither")]
    public void Other_files_are_refused_as_ImageReward(string path, string expected) =>
        Assert.Contains(expected, Assert.Throws<UnusableFileException>(() => Load(Golden.Path(path))).Message);

    [Fact]
    public void Heads_of_another_width_must_be_said() =>
        Assert.Contains("how many heads", Assert.Throws<UnusableFileException>(() =>
        ImageRewardScorer.Load(Golden.Path("preference/imagereward/ImageReward.pt"), ClipFixture.Target)).Message);
}
