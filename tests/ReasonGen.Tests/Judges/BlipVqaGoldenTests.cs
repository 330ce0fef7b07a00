using System.Security.Cryptography;
using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Layers;
using ReasonGen.Core;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class BlipVqaGoldenTests
{
    [Fact]
    public void Images_and_questions_give_the_probabilities_and_texts_of_the_reference()
    {
        using var judge = BlipFixture.Judge("real");
        Assert.All(Golden.Json("blip_vqa/real")["rows"]!, row =>
        {
            var p = judge.Yes(BlipFixture.Image((int)row["image"]!), [(string)row["question"]!])[0];
            Assert.Equal((double)row["p_yes"]!, p, 1e-5);
            Assert.Equal((string)row["answer"]!, BlipVqaJudge.Text(p));
        });
    }

    [Fact]
    public void Several_questions_about_an_image_are_answered_as_one_by_one()
    {
        using var judge = BlipFixture.Judge("real");
        string[] questions = [.. Golden.Json("blip_vqa/real")["rows"]!.Select(row => (string)row["question"]!)];
        var image = BlipFixture.Image(0);
        Assert.All(judge.Yes(image, questions).Paired(questions), pair =>
            Assert.Equal(judge.Yes(image, [pair.Second])[0], pair.First, 1e-5));
        Assert.Empty(judge.Yes(image, []));
    }

    [Fact]
    public void As_a_judge_it_is_asked_the_bare_question_and_tells_four_decimals()
    {
        using var judge = BlipFixture.Judge("real");
        var rows = Golden.Json("blip_vqa/real")["rows"]!
            .Where(row => BlipFixture.Image((int)row["image"]!).Mode == ImageMode.Rgb).Some();
        Assert.All(rows, row =>
        {
            var image = BlipFixture.Image((int)row["image"]!).Rgb;
            var answer = new JudgeAnswers(judge).Ask("", 0, () => image, [(string)row["question"]!], default)[0]!;
            Assert.Equal((string)row["answer"]!, BlipVqaJudge.Text((float)answer.Yes));
            Assert.Equal(answer.Yes > 0.5 ? "yes" : "no", answer.Text);
        });
        Assert.False(judge.Official);
        Assert.NotEmpty(judge.Limits);
    }

    [Fact]
    public void As_a_reward_it_multiplies_its_answers_about_the_phrases_of_a_prompt()
    {
        using var judge = BlipFixture.Judge("real");
        var image = BlipFixture.Image(0).Rgb;
        var prompt = "a red car and a blue dog";
        RewardRequest[] requests = [new(new Prompt(prompt, "", []), "", image),
            new(new Prompt("what is the woman doing there", "", []), "", image)];
        var whole = judge.Score(requests);
        Assert.Equal(judge.Yes(image, [prompt + "?"])[0], whole[0], 1e-6);
        Assert.All(whole, reward => Assert.InRange(reward, 0, 1));
        var told = new PromptNouns(new Dictionary<string, (IReadOnlyList<string>, IReadOnlyList<string>)>
        {
            [prompt] = (["car", "dog"], ["a red car", "a blue dog"]),
        });
        using var byPhrase = BlipFixture.Judge("real", told);
        var products = byPhrase.Score(requests);
        Assert.Equal(judge.Yes(image, ["a red car?", "a blue dog?"]).Aggregate(1f, (a, b) => a * b), products[0], 1e-6);
        Assert.True(float.IsNaN(products[1])); // its phrases are not known
        using var orWhole = BlipFixture.Judge("real", told, orWhole: true);
        Assert.Equal([products[0], whole[1]], orWhole.Score(requests));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Both_layouts_give_the_states_logits_and_answers_of_the_reference(bool huggingFace)
    {
        using var model = BlipFixture.OpenSmall(huggingFace).Load(ClipFixture.Target);
        using var scope = NewDisposeScope();
        var (t, json) = (Golden.Tensors("blip_vqa/small"), BlipFixture.Small);
        var seen = new Dictionary<string, Tensor>();
        void Keep(string name, Tensor x) => seen[name] = x.clone().MoveToOtherDisposeScope(scope);
        var (mask, start) =
            (t["question_mask"].to(ScalarType.Bool).unsqueeze(1).unsqueeze(1), (int)json["ids"]!["dec"]!);
        var images = model.EncodeImages(t["pixel_values"], Keep);
        var logits = model.Logits(images, t["question_ids"], mask, start, Keep);
        using var judge = BlipFixture.Judge("small");
        if (huggingFace)
        {
            Golden.Close(t["hf.image_embeds"], images, 1e-4, "images");
            Golden.Close(t["hf.logits"], logits, 1e-4, "logits");
            Golden.Close(t["hf.answer"], judge.Yes(logits), 1e-5, "answers");
            return;
        }

        Golden.Close(t["image_embeds"], images, 1e-4, "images");
        Golden.Close(t["logits"], logits, 1e-4, "logits");
        Golden.Close(t["answer"], judge.Yes(logits), 1e-5, "answers");
        var chances = logits.softmax(1);
        Golden.Close(t["prob_yes"], chances.select(1, (int)json["ids"]!["yes"]!), 1e-5, "yes");
        Golden.Close(t["prob_no"], chances.select(1, (int)json["ids"]!["no"]!), 1e-5, "no");
        var real = t["question_mask"].unsqueeze(2).to(ScalarType.Float32); // rows of padding are not to be compared
        Assert.True(seen.Keys.Count(t.ContainsKey) > 8);
        BlipFixture.States(t, seen, model,
            (name, x) => name.StartsWith("encoder.") || name == "question_states" ? x.mul(real) : x,
            ("encoder", "encoder", images, mask, null), ("decoder", "decoder", seen["question_states"], null, mask));
        var head = model.named_modules().ToDictionary(part => part.name, part => part.module);
        Golden.Close(t["decoder.head_transform"],
            ((TorchSharp.Modules.LayerNorm)head["head.norm"]).forward(nn.functional.gelu(
            ((TorchSharp.Modules.Linear)head["head.dense"]).forward(
                t[$"decoder.layer.{model.Config.Text.Layers - 1}"]))).detach(), 1e-4, "head");
    }

    [Fact]
    public void Small_images_and_questions_are_prepared_and_answered_like_the_reference()
    {
        using var judge = BlipFixture.Judge("small");
        using var scope = NewDisposeScope();
        var (t, json) = (Golden.Tensors("blip_vqa/small"), BlipFixture.Small);
        var (numbers, questions) = (json["images"]!.ToObject<int[]>()!, json["questions"]!.ToObject<string[]>()!);
        Golden.Close(t["pixel_values"], judge.Transform.PixelValues([.. numbers.Select(BlipFixture.Image)]), 1e-6,
            "pixels");
        float[] answers =
            [.. numbers.Zip(questions, (number, question) => judge.Yes(BlipFixture.Image(number), [question])[0])];
        Golden.Close(t["answer"], tensor(answers), 1e-5, "one by one");
    }

    [Theory]
    [InlineData("first_token_cls")]
    [InlineData("start_token_cls")]
    [InlineData("decoder_ignores_question_mask")]
    [InlineData("heads")]
    public void Known_mistakes_give_their_known_numbers(string mistake)
    {
        var json = BlipFixture.Small;
        using var judge = BlipFixture.Judge("small");
        using var scope = NewDisposeScope();
        var t = Golden.Tensors("blip_vqa/small");
        var (ids, mask, start) = (t["question_ids"].clone(), t["question_mask"].to(ScalarType.Bool).unsqueeze(1)
            .unsqueeze(1), (int)json["ids"]!["dec"]!);
        if (mistake == "heads")
        {
            using var copy = new ClipFixture.Copy("blip_vqa/hf/config.json", "blip_vqa/hf/model.safetensors");
            var config = JObject.Parse(File.ReadAllText(copy.In("config.json")));
            config["text_config"]!["num_attention_heads"] = json["wrong.heads"];
            File.WriteAllText(copy.In("config.json"), config.ToString());
            using var other = BlipFiles.Open(copy.Folder).Load(ClipFixture.Target);
            Golden.Close(t["wrong.heads"],
                judge.Yes(other.Logits(other.EncodeImages(t["pixel_values"]), ids, mask, start)), 1e-5, mistake);
            return;
        }

        if (mistake == "first_token_cls")
        {
            ids.select(1, 0).fill_((int)json["ids"]!["cls"]!);
        }

        start = mistake == "start_token_cls" ? (int)json["ids"]!["cls"]! : start;
        var images = judge.Model.EncodeImages(t["pixel_values"]);
        var answers = mistake == "decoder_ignores_question_mask" ? Unmasked()
            : judge.Yes(judge.Model.Logits(images, ids, mask, start));
        Golden.Close(t[$"wrong.{mistake}"], answers, 1e-5, mistake);
        Assert.True(t["answer"].sub(answers).abs().max().ToSingle() > 1e-4);

        Tensor Unmasked()
        {
            using var free = no_grad();
            var parts = judge.Model.named_modules().ToDictionary(part => part.name, part => part.module);
            var states = t["question_states"].clone();
            judge.Model.Logits(images, ids, mask, start, (name, x) =>
            {
                if (name == "question_states")
                {
                    states = x.clone().MoveToOtherDisposeScope(scope);
                }
            });
            var decoder = (ReasonGen.Judges.Bert.BertStack)parts["decoder"];
            var x = decoder.Forward(full([ids.shape[0], 1], start, ScalarType.Int64), null, false, decoder.Look(states),
                null, "", null);
            return judge.Yes(((ReasonGen.Judges.Bert.BertHead)parts["head"]).forward(x.select(1, 0)));
        }
    }

    [Fact]
    public void Images_of_every_mode_are_squashed_like_the_reference()
    {
        var (json, t) = (Golden.Json("blip_vqa/image"), Golden.Tensors("blip_vqa/image"));
        var transform = new SquashTransform((int)json["size"]!);
        Assert.All(json["images"]!, row =>
        {
            var number = (int)row["image"]!;
            Assert.Equal(TensorValues.Values<byte>(t[$"{number}.uint8"]),
                transform.Prepare(BlipFixture.Image(number)).Rgb);
            using var values = transform.PixelValues([BlipFixture.Image(number)]);
            Golden.Close(t[$"{number}"], values[0], 1e-6, $"image {number}");
        });
        Assert.All(json["at_480"]!, row =>
        {
            var (large, image) = (new SquashTransform(480), BlipFixture.Image((int)row["image"]!));
            Assert.Equal((string)row["uint8_sha256"]!,
                Convert.ToHexStringLower(SHA256.HashData(large.Prepare(image).Rgb)));
            using var values = large.PixelValues([image]);
            Assert.All(row["pixels"]!.Some(),
                p => Assert.Equal((double)p[3]!, values[0, (int)p[0]!, (int)p[1]!, (int)p[2]!].ToDouble(), 1e-6));
        });
    }

    [Fact]
    public void Positions_are_brought_to_other_grids_like_the_reference()
    {
        var t = Golden.Tensors("blip_vqa/pos_embed");
        Assert.All(t.Keys.Where(name => name.StartsWith("to_")).Some(), name =>
        {
            using var resized = BlipVision.Positions(t["pos_embed"], int.Parse(name.Split('x')[^1]));
            Golden.Close(t[name], resized, 1e-5, name);
        });
    }

    [Theory]
    [InlineData("original", BlipLayout.Original)]
    [InlineData("hf", BlipLayout.HuggingFace)]
    public void The_published_size_has_the_names_and_shapes_of_the_reference(string key, BlipLayout layout)
    {
        var (json, config) = (Golden.Json("blip_vqa/names"), BlipConfig.Vqa);
        config = layout == BlipLayout.Original ? config
            : config with { Vision = config.Vision with { ImageSize = 384, StoredGrid = 24 } };
        using var model = new BlipVqaModel(config, new(META, ScalarType.Float32));
        NamesOf.Equal((JObject)json[key]!, model, BlipNames.Vqa(layout),
            name => name.EndsWith("position_ids") || name.EndsWith("decoder.bias"));
    }
}

internal static class NamesOf
{
    internal static void Equal(JObject expected, nn.Module model, Func<string, string[]> names,
        Func<string, bool> unread)
    {
        using var scope = NewDisposeScope();
        var actual =
            NamedWeights.Views(model, names).ToDictionary(pair => pair.Key, pair => string.Join(",", pair.Value.shape));
        var wanted = expected.Properties().Where(pair => !unread(pair.Name)).ToDictionary(pair => pair.Name,
            pair => string.Join(",", (pair.Value is JArray row ? row[0]! : pair.Value["shape"]!).ToObject<long[]>()!));
        Assert.Equal(wanted.OrderBy(pair => pair.Key, StringComparer.Ordinal),
            actual.OrderBy(pair => pair.Key, StringComparer.Ordinal));
    }
}
