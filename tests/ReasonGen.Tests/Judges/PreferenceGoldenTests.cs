using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Clip;
using ReasonGen.Imaging;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Layers;
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
public sealed class PreferenceGoldenTests
{
    private static SourceImage Image(int number) => ClipFixture.Image("preference", number);

    private static ClipConfig TinyHps => ClipConfigFiles.ReadOpenClip(Golden.Path("preference/hps/model_config.json"));

    private static HpsScorer Hps(string file = "HPS_tiny_compressed.pt", bool antialias = true) =>
        HpsScorer.Load(Golden.Path("preference/hps/" + file), ClipFixture.Target, TinyHps, antialias);

    private static PickScorer Pick() => PickScorer.Load(Golden.Path("preference/pickscore"), ClipFixture.Target,
        anyModel: true);

    [Theory]
    [InlineData("HPS_tiny_compressed.pt", true, "scores_image_by_prompt")]
    [InlineData("HPS_tiny.pt", true, "scores_image_by_prompt")]
    [InlineData("HPS_tiny_compressed.pt", false, "scores_no_antialias")]
    public void HPS_scores_equal_the_reference_and_it_refuses_what_the_reference_fails_on(string file, bool antialias,
        string key)
    {
        using var scorer = Hps(file, antialias);
        var json = Golden.Json("preference/hps/scores");
        Matrix(json[key]!, json["prompts"]!.ToObject<string[]>()!, scorer.Score, antialias ? 1e-5 : 1e-4);
        Assert.Contains("HPSv2's rules", scorer.Name);
    }

    [Fact]
    public void HPS_as_a_reward_is_the_raw_cosine_of_T2I_R1()
    {
        using var scorer = Hps();
        var json = Golden.Json("preference/hps/scores");
        var rows = json["t2i_r1"]!.Where(row => Image((int)row["image"]!).Mode == ImageMode.Rgb).Some();
        var scores = scorer.Score([.. rows.Select(row =>
            new RewardRequest(new Prompt((string)json["prompts"]![(int)row["prompt"]!]!, "", []), "",
            Image((int)row["image"]!).Rgb))]);
        Assert.All(rows.Paired(scores), pair => Assert.Equal((double)pair.First["reward"]!, pair.Second, 1e-5));
        var refused = ((JObject)json["errors"]!).Properties().Select(error => Image(int.Parse(error.Name)))
            .Where(image => image.Mode == ImageMode.Rgb).ToArray();
        Assert.All(scorer.Score([.. refused.Select(image => new RewardRequest(new Prompt("x", "", []), "",
            image.Rgb))]), score => Assert.True(float.IsNaN(score)));
    }

    [Fact]
    public void HPS_states_equal_the_reference()
    {
        using var scorer = Hps();
        using var scope = NewDisposeScope();
        var (t, json) = (Golden.Tensors("preference/hps/model"), Golden.Json("preference/hps/scores"));
        var images = json["intermediates"]!["images"]!.Select(i => Image((int)i)).ToArray();
        using var pixels = scorer.Transform.PixelValues(images);
        Golden.Close(t["pixel_values"], pixels, 1e-5, "pixels");
        States(scorer.Model, t, t["input_ids"], "image_embeds", "text_embeds");
        var embedded = (scorer.EmbedImages(images), scorer.EmbedTexts(json["prompts"]!.ToObject<string[]>()!));
        Golden.Close(t["image_features"], embedded.Item1, 1e-5);
        Golden.Close(t["text_features"], embedded.Item2, 1e-5);
        Golden.Close(t["cosine"], embedded.Item1.matmul(embedded.Item2.t()), 1e-5);
        SameScale(t, scorer.Model);
        Assert.All(json["prompts"]!.Paired(json["ids"]!), pair => Assert.Equal(ClipFixture.Ids(pair.Second),
            scorer.Tokenizer.EncodeForModel((string)pair.First!)));
    }

    [Theory]
    [InlineData("quick_gelu")]
    [InlineData("vision_heads")]
    [InlineData("resized_as_uint8")]
    public void Known_mistakes_give_their_known_numbers(string mistake)
    {
        var config = mistake switch
        {
            "quick_gelu" => TinyHps with { Activation = Activation.QuickGelu },
            "vision_heads" => TinyHps with { Vision = TinyHps.Vision with { Heads = TinyHps.Vision.Width / 12 } },
            _ => TinyHps,
        };
        using var scorer = HpsScorer.Load(Golden.Path("preference/hps/HPS_tiny_compressed.pt"), ClipFixture.Target,
            config);
        using var scope = NewDisposeScope();
        var (t, json) = (Golden.Tensors("preference/hps/model"), Golden.Json("preference/hps/scores"));
        SourceImage[] images = [.. json["intermediates"]!["images"]!.Select(i => Image((int)i))];
        var embedded = mistake == "resized_as_uint8" ? nn.functional.normalize(scorer.Model.EncodeImages(
            scorer.Transform.PixelValues([.. images.Select(Whole)])), dim: -1) : scorer.EmbedImages(images);
        Golden.Close(t["wrong." + mistake],
            embedded.matmul(scorer.EmbedTexts(json["prompts"]!.ToObject<string[]>()!).t()), 1e-5, mistake);

        SourceImage Whole(SourceImage image)
        {
            var (width, height) = scorer.Transform.SizeOf(image.Width, image.Height);
            var resized = Resampling.Resize(image.Rgb, width, height);
            return Resampling.PadToSquare(resized, (0, 0, 0));
        }
    }

    [Theory]
    [InlineData(true, "", 1e-5)]
    [InlineData(false, ".no_antialias", 3e-4)]
    public void HPS_pixels_equal_the_reference(bool antialias, string suffix, double tolerance)
    {
        var (json, t) = (Golden.Json("preference/hps/image"), Golden.Tensors("preference/hps/image"));
        var transform = new HpsTransform((int)json["size"]!, antialias);
        Assert.All(json["images"]!, row =>
        {
            var (number, image) = ((int)row["image"]!, Image((int)row["image"]!));
            Assert.Equal(((int)row["resized_width"]!, (int)row["resized_height"]!), transform.SizeOf(image.Width,
                image.Height));
            if ((bool?)row["usable"] != true)
            {
                Assert.Contains($"{number}.png", Assert.Throws<UnusableFileException>(() =>
                    transform.PixelValues([image])).Message);
                return;
            }

            using var values = transform.PixelValues([image]);
            Golden.Close(t[number + suffix], values[0], tolerance, $"image {number}");
            if (t.TryGetValue($"{number}.resized{suffix}", out var resized))
            {
                var (planes, width, height) = transform.Resized(image);
                using var actual = tensor(planes, [3, height, width]);
                Golden.Close(resized, actual, tolerance, $"image {number}, resized");
            }
        });
        Assert.All(json["at_224"]!, row =>
        {
            using var values = new HpsTransform(224, antialias).PixelValues([Image((int)row["image"]!)]);
            var expected = row[antialias ? "antialias" : "no_antialias"]!;
            Assert.Equal((double)expected["mean"]!, values.to(ScalarType.Float64).mean().ToDouble(), tolerance);
            Assert.All(expected["pixels"]!.Some(), p => Assert.Equal((double)p[3]!, values[0, (int)p[0]!, (int)p[1]!,
                (int)p[2]!].ToDouble(), tolerance));
        });
    }

    [Fact]
    public void HPS_sizes_and_offsets_equal_the_reference()
    {
        var transform = new HpsTransform(224);
        Assert.All(Golden.Json("preference/hps/image")["geometry_at_224"]!, row =>
        {
            var (width, height) = transform.SizeOf((int)row["width"]!, (int)row["height"]!);
            Assert.Equal(((int)row["resized_width"]!, (int)row["resized_height"]!), (width, height));
            if (row["left"] is not null)
            {
                Assert.Equal(((int)row["left"]!, (int)row["top"]!), transform.Offset(width, height));
            }
        });
    }

    [Fact]
    public void HPS_table_and_accuracies_equal_the_reference()
    {
        var json = Golden.Json("preference/hps/benchmark");
        var styles = ((JObject)json["styles"]!).Properties().Select(style =>
            (style.Name, (IReadOnlyList<float>)[.. style.Value["scores"]!
            .Where(score => score.Type != JTokenType.Null).Select(score => (float)score)])).ToArray();
        var lines = ((JObject)json["styles"]!).Properties().Select(style => (string)style.Value["line"]!)
            .Append((string)json["average"]!["line"]!);
        Assert.Equal(lines.Select(line => line.TrimEnd()), HpsBenchmark.Table("tiny", styles).Select(line =>
            line.TrimEnd()));
        Assert.All(json["accuracy"]!, row =>
        {
            var (scores, human) = (row["scores"]!.ToObject<float[]>()!, row["human_ranks"]!.ToObject<int[]>()!);
            Assert.Equal(row["ranking"]!.ToObject<int[]>()!, HpsBenchmark.Ranking(scores));
            Assert.Equal((double)row["inversion_score"]!, HpsBenchmark.InversionScore(HpsBenchmark.Ranking(scores),
                human), 1e-12);
            Assert.Equal((double)row["calc_ImageReward"]!, HpsBenchmark.PairAccuracy(scores, human), 1e-12);
        });
    }

    [Fact]
    public void PickScores_equal_the_reference()
    {
        using var scorer = Pick();
        var json = Golden.Json("preference/pickscore/scores");
        var prompts = json["prompts"]!.ToObject<string[]>()!;
        Matrix(json["divided_by_26_image_by_prompt"]!, prompts,
            (images, texts, cancel) => Array.ConvertAll(scorer.Score(images, texts, cancel), score =>
                score / PickScorer.RewardScale), 1e-5);
        Assert.All(prompts.Paired(json["ids"]!), pair => Assert.Equal(ClipFixture.Ids(pair.Second),
            scorer.Clip.Tokenizer.EncodeForModel(pair.First)));
        Assert.All(json["readme_probabilities"]!, row => Assert.All(row["probabilities"]!.Paired(scorer.Probabilities(
            [.. row["images"]!.Select(i => Image((int)i))], prompts[(int)row["prompt"]!])), pair =>
                Assert.Equal((double)pair.First, pair.Second, 1e-5)));
        var rgb = json["pairs"]!.Where(row => Image((int)row["image"]!).Mode == ImageMode.Rgb).Some();
        var rewards = scorer.Score([.. rgb.Select(row => new RewardRequest(new Prompt(prompts[(int)row["prompt"]!], "",
            []), "", Image((int)row["image"]!).Rgb))]);
        Assert.All(rgb.Paired(rewards), pair => Assert.Equal((double)pair.First["flow_grpo"]!, pair.Second, 1e-5));
        Assert.Contains("PickScore's rules", scorer.Name);
    }

    [Fact]
    public void PickScores_states_and_pixels_equal_the_reference()
    {
        using var scorer = Pick();
        using var scope = NewDisposeScope();
        var (t, json, pixels) = (Golden.Tensors("preference/pickscore/expected"),
            Golden.Json("preference/pickscore/image"), Golden.Tensors("preference/pickscore/image"));
        Assert.All(json["images"]!, row =>
        {
            var (number, transform) = ((int)row["image"]!, scorer.Clip.Transform);
            if (row["error"] is not null)
            {
                Assert.Throws<UnusableFileException>(() => transform.Prepare(Image(number)));
                return;
            }

            Assert.Equal(TensorValues.Values<byte>(pixels[$"{number}.uint8"]), transform.Prepare(Image(number)).Rgb);
            using var values = transform.PixelValues([Image(number)]);
            Golden.Close(pixels[$"{number}"], values[0], 1e-6, $"image {number}");
        });
        var renamed = t.ToDictionary(pair => pair.Key switch
        {
            "vision.embeddings" => "vision.ln_pre", "vision.pooled" => "vision.ln_post", _ => pair.Key,
        }, pair => pair.Value);
        SameScale(t, scorer.Clip.Model);
        var prompts = Golden.Json("preference/pickscore/scores")["prompts"]!.ToObject<string[]>()!;
        foreach (var (row, number) in Golden.Json("preference/pickscore/scores")["intermediates"]!["images"]!.Index()
            .Select(pair => (pair.Index, (int)pair.Item)))
        {
            Golden.Close(t["scores"][row], PickScores(scorer, number, prompts), 1e-5, $"scores of image {number}");
        }

        States(scorer.Clip.Model, renamed, t["input_ids"], "image_features", "text_features", t["attention_mask"]);
    }

    [Fact]
    public void PickScores_with_QuickGELU_are_the_known_wrong_ones()
    {
        using var copy = new ClipFixture.Copy([.. Directory.GetFiles(Golden.Path("preference/pickscore"))
            .Select(path => "preference/pickscore/" + Path.GetFileName(path))]);
        var config = JObject.Parse(File.ReadAllText(copy.In("config.json")));
        config["vision_config"]!["hidden_act"] = config["text_config"]!["hidden_act"] = "quick_gelu";
        File.WriteAllText(copy.In("config.json"), config.ToString());
        using var scorer = PickScorer.Load(copy.Folder, ClipFixture.Target, anyModel: true);
        using var scope = NewDisposeScope();
        var json = Golden.Json("preference/pickscore/scores");
        var prompts = json["prompts"]!.ToObject<string[]>()!;
        var scores = json["intermediates"]!["images"]!.Some().Select(i => PickScores(scorer, (int)i, prompts));
        Golden.Close(Golden.Tensors("preference/pickscore/expected")["wrong.quick_gelu"], stack(scores), 1e-5);
    }

    [Theory]
    [InlineData("preference/names_hps", "state_dict", ClipLayout.OpenClip)]
    [InlineData("preference/names_pickscore", "hf", ClipLayout.HuggingFace)]
    public void The_published_size_has_the_names_and_shapes_of_the_reference(string file, string key, ClipLayout layout)
    {
        using var model = new ClipModel(ClipConfig.VitH14, new(META, ScalarType.Float32));
        Names.Equal(Golden.Json(file)[key]!, model, layout);
        Assert.Equal((long)Golden.Json(file)["parameters"]!, model.parameters().Sum(parameter => parameter.numel()));
    }

    [Fact]
    public void Other_files_are_refused_as_HPS_and_as_PickScore()
    {
        Assert.Contains("LAION", Assert.Throws<UnusableFileException>(() =>
            HpsScorer.Load(Golden.Path("clip/open_clip/open_clip_model.safetensors"), ClipFixture.Target,
                TinyHps)).Message);
        Assert.Contains("state_dict", Assert.Throws<UnusableFileException>(() => HpsScorer.Load(Golden.Path("clip/hf"),
            ClipFixture.Target)).Message);
        Assert.Contains("do not fit", Assert.Throws<UnusableFileException>(() =>
            HpsScorer.Load(Golden.Path("preference/hps/HPS_tiny.pt"), ClipFixture.Target, TinyHps with { Embedding =
                TinyHps.Embedding + 1 })).Message);
        Assert.Throws<UnusableFileException>(() => HpsScorer.Load(Golden.Path("preference/hps/HPS_tiny.pt"),
            ClipFixture.Target));
        Assert.Contains("ViT-H/14", Assert.Throws<UnusableFileException>(() =>
            PickScorer.Load(Golden.Path("preference/pickscore"), ClipFixture.Target)).Message);
        Assert.Contains("Hugging Face", Assert.Throws<UnusableFileException>(() =>
            PickScorer.Load(Golden.Path("clip/open_clip"), ClipFixture.Target, true)).Message);
    }

    private static void Matrix(JToken expected, string[] prompts, Func<IReadOnlyList<SourceImage>,
        IReadOnlyList<string>, CancellationToken, float[]> score, double tolerance)
    {
        foreach (var (number, row) in expected.Index())
        {
            SourceImage[] images = [.. prompts.Select(_ => Image(number))];
            if (row.Any(value => value.Type == JTokenType.Null))
            {
                Assert.Throws<UnusableFileException>(() => score(images, prompts, default));
                continue;
            }

            Assert.All(row.Paired(score(images, prompts, default)),
                pair => Assert.Equal((double)pair.First, pair.Second, tolerance));
        }
    }

    private static void States(ClipModel model, Dictionary<string, Tensor> t, Tensor ids, string image, string text,
        Tensor? mask = null)
    {
        using var scope = NewDisposeScope();
        var seen = new Dictionary<string, Tensor>();
        Golden.Close(t[image], model.EncodeImages(t["pixel_values"], (name, x) => seen[name] = x.clone()
            .MoveToOtherDisposeScope(scope)), 1e-4, image);
        Golden.Close(t[text], model.EncodeTexts(ids, (name, x) => seen[name] = x.clone()
            .MoveToOtherDisposeScope(scope)), 1e-4, text);
        Assert.All(seen.Keys.Where(t.ContainsKey), name =>
        {
            var real = mask is not null && name.StartsWith("text.") ? mask.unsqueeze(2).to(ScalarType.Float32)
                : ones(1);
            Golden.Close(t[name].mul(real), seen[name].mul(real), 1e-4, name);
        });
        Assert.True(seen.Keys.Count(t.ContainsKey) >= 5);
        if (t.TryGetValue("text.pooled", out var pooled)) // at each text's first end token
        {
            for (var row = 0; row < ids.shape[0]; row++)
            {
                var own = ids[row].Values<long>();
                Golden.Close(pooled[row], seen["text.ln_final"][row, Array.IndexOf(own, own.Max())], 1e-4,
                    $"text {row}, pooled");
            }
        }
    }

    private static Tensor PickScores(PickScorer scorer, int image, string[] prompts) =>
        tensor(scorer.Score([.. prompts.Select(_ => Image(image))], prompts)).div(PickScorer.RewardScale);

    private static void SameScale(Dictionary<string, Tensor> t, ClipModel model) =>
        Assert.Equal(t["logit_scale_exp"].ToDouble(), model.LogitScale, 1e-5 * model.LogitScale);
}
