using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Qwen;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

public sealed class QwenFolderTests : IDisposable
{
    private static readonly ComputeTarget Target = new(CPU, ScalarType.Float32);
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData("untied")]
    [InlineData("tied_sharded")]
    [Trait("Category", "Golden")]
    public void A_folder_of_newer_names_and_layout_is_the_same_model(string name)
    {
        using var old = QwenFixture.Model(name);
        var json = JObject.Parse(File.ReadAllText(Golden.Path($"qwen25vl/{name}/config.json")));
        var text = new JObject(json.Properties()
            .Where(p => p.Name is not ("vision_config" or "model_type" or "image_token_id" or "tie_word_embeddings")));
        var nested =
            new JObject(json.Properties().Where(p => text[p.Name] is null)) { ["text_config"] = text, ["unknown"] = 1 };
        File.WriteAllText(Path.Combine(folder, "config.json"), nested.ToString());
        Safetensors.Save(Path.Combine(folder, "model.safetensors"), old.Weights().Select(p => KeyValuePair.Create(
            p.Name.StartsWith("visual.") ? "model." + p.Name : p.Name.Replace("model.", "model.language_model."),
            (Tensor)p.Parameter)));
        using var read = QwenVl.Load(folder, Target);
        Assert.Equal(old.Config.TiedHead, read.Config.TiedHead);
        Assert.All(old.Weights().Paired(read.Weights()),
            pair => Golden.Equal(pair.First.Parameter, pair.Second.Parameter, pair.First.Name));
    }

    [Theory]
    [InlineData("type", "yarn", null)]
    [InlineData("rope_type", "linear", null)]
    [InlineData("type", "mrope", 1e6)]
    [InlineData("rope_type", "default", 1e6)]
    [Trait("Category", "Golden")]
    public void Scaled_rotary_positions_are_refused(string key, string type, double? theta)
    {
        var json = JObject.Parse(File.ReadAllText(Golden.Path("qwen25vl/untied/config.json")));
        json["rope_scaling"]!["type"] = json["rope_scaling"]!["rope_type"] = null;
        json["rope_scaling"]![key] = type;
        json["rope_scaling"]!["factor"] = 4;
        var thrown = Record.Exception(() => Assert.Equal(theta, QwenConfig.FromJson(json).Language.RopeTheta));
        Assert.Equal(theta is null, thrown is UnusableFileException && thrown.Message.Contains($"is \"{type}\""));
    }

    [Theory]
    [InlineData("hidden_act", "\"gelu\"", true)]
    [InlineData("vision_config.hidden_act", "\"gelu\"", true)]
    [InlineData("use_sliding_window", "true", true)]
    [InlineData("use_sliding_window", "null", false)]
    [InlineData("sliding_window", "16", false)]
    [Trait("Category", "Golden")]
    public void Another_computation_is_refused(string key, string value, bool refused)
    {
        var json = JObject.Parse(File.ReadAllText(Golden.Path("qwen25vl/untied/config.json")));
        (key.Split('.') is [var section, _] ? json[section]! : json)[key[(key.IndexOf('.') + 1)..]] =
            JToken.Parse(value);
        var thrown = Record.Exception(() => QwenConfig.FromJson(json));
        Assert.Equal(refused, thrown is UnusableFileException && thrown.Message.Contains($"'{key}' is {value}"));
        Assert.Equal(refused, thrown is not null);
    }

    [Theory]
    [InlineData("[40, 41]", null, new[] { 40, 41 })]
    [InlineData("40", "{ \"eos_token_id\": [42, 40] }", new[] { 40, 42 })]
    [InlineData("null", "{ \"eos_token_id\": 42 }", new[] { 42 })]
    [InlineData("null", "{}", new int[0])]
    [InlineData("\"end\"", null, null)]
    [InlineData("[1.5]", null, null)]
    [InlineData("40", "{ \"eos_token_id\": [-1] }", null)]
    [Trait("Category", "Golden")]
    public void Ends_of_an_answer_are_read_in_both_forms_from_both_files(string own, string? generation, int[]? ends)
    {
        var json = JObject.Parse(File.ReadAllText(Golden.Path("qwen25vl/untied/config.json")));
        json["eos_token_id"] = JToken.Parse(own);
        File.WriteAllText(Path.Combine(folder, "config.json"), json.ToString());
        if (generation is not null)
        {
            File.WriteAllText(Path.Combine(folder, "generation_config.json"), generation);
        }

        if (ends is null)
        {
            Assert.Contains("eos_token_id",
                Assert.Throws<UnusableFileException>(() => QwenConfig.FromFolder(folder)).Message);
        }
        else
        {
            Assert.Equal(ends.Concat([151645, 151643]), QwenConfig.FromFolder(folder).EndTokens);
        }
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void An_adapter_beside_a_model_is_not_passed_over()
    {
        foreach (var file in Directory.GetFiles(Golden.Path("qwen25vl/untied")))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        }

        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), """{ "peft_type": "LORA" }""");
        Assert.Contains("a model and an adapter in one folder",
            Assert.Throws<UnusableFileException>(() => QwenVl.Load(folder, Target)).Message);
    }

    [Theory]
    [InlineData(-197, false)]
    [InlineData(-1, false)]
    [InlineData(0, true)]
    [Trait("Category", "Golden")]
    public void A_tokenizer_with_ids_that_the_model_lacks_is_refused_as_it_is_read(int more, bool fits)
    {
        var size = (int)Golden.Json("tokenizer/qwen_style.golden")["vocab_size"]!;
        var rows = size + more;
        var json = JObject.Parse(File.ReadAllText(Golden.Path("qwen25vl/untied/config.json")));
        json["vocab_size"] = rows;
        File.WriteAllText(Path.Combine(folder, "config.json"), json.ToString());
        File.Copy(Golden.Path("tokenizer/qwen_style.tokenizer.json"), Path.Combine(folder, "tokenizer.json"));
        var thrown = Record.Exception(() => Assert.Equal(size, QwenVl.Tokenizer(folder).VocabularySize));
        Assert.Equal(fits, thrown is null);
        Assert.True(fits || thrown is UnusableFileException && thrown.Message.Contains(
            $"the tokenizer has ids up to {size - 1}, the model only {rows} embeddings"), thrown?.Message);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void A_tied_model_ignores_a_head_in_its_file()
    {
        using var model = QwenFixture.Model("tied_sharded");
        File.Copy(Golden.Path("qwen25vl/tied_sharded/config.json"), Path.Combine(folder, "config.json"));
        var embedding = (Tensor)model.Weights().First(p => p.Name.Contains("embed_tokens")).Parameter;
        Safetensors.Save(Path.Combine(folder, "model.safetensors"),
            model.Weights().Select(p => KeyValuePair.Create(p.Name, (Tensor)p.Parameter))
                .Append(new("lm_head.weight", embedding)));
        using var read = QwenVl.Load(folder, Target);
        Golden.Equal(embedding, read.Weights().First(p => p.Name.Contains("embed_tokens")).Parameter);
    }

    [Theory]
    [InlineData(null, "there is no such file")]
    [InlineData("{ \"model_type\": ", "it is no JSON object")]
    [InlineData("{ \"model_type\": \"llama\" }", "describes a 'llama', not a 'qwen2_5_vl'")]
    [InlineData("{ \"model_type\": \"qwen2_5_vl\" }", "no 'vision_config'")]
    [InlineData("{ \"model_type\": \"qwen2_5_vl\", \"vision_config\": { \"depth\": 1 }, \"vocab_size\": 10 }",
        "no 'hidden_size'")]
    [InlineData("{ \"model_type\": \"qwen2_5_vl\", \"vision_config\": { \"depth\": \"deep\" }, \"vocab_size\": 10, "
        + "\"hidden_size\": 8, \"intermediate_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 1, "
        + "\"num_key_value_heads\": 1, \"rope_scaling\": { \"mrope_section\": [1, 1, 2] } }",
        "'vision_config.depth' is \"deep\"")]
    public void Another_folder_is_refused_in_a_sentence(string? config, string message)
    {
        if (config is not null)
        {
            File.WriteAllText(Path.Combine(folder, "config.json"), config);
        }

        var thrown = Assert.Throws<UnusableFileException>(() => QwenVl.Load(folder, Target));
        Assert.Contains(message, thrown.Message);
        Assert.Contains("config.json", thrown.Message);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void Text_and_images_that_do_not_belong_together_are_refused()
    {
        using var model = QwenFixture.Untied();
        using var scope = NewDisposeScope();
        var input = QwenFixture.Input(Golden.Tensors("qwen25vl/logits"), "one");
        var grid = input.Grids[0];
        Assert.Contains("image tokens",
            Assert.Throws<ArgumentException>(() =>
                model.Embed(input with { Ids = input.Ids.narrow(1, 0, input.Ids.shape[1] - 1).masked_fill(
                    arange(input.Ids.shape[1] - 1, device: input.Ids.device)
                        .eq(input.Ids[0].Values<long>().ToList().IndexOf(model.Config.ImageToken)), 1) })).Message);
        Assert.Contains("as the grids say",
            Assert.Throws<ArgumentException>(() => model.Embed(input with { Grids = [grid, grid] })).Message);
        Assert.Contains("places for", Assert.Throws<ArgumentException>(() =>
            QwenPositions.Of(input.Ids, input.Mask, [grid with { Height = 50 * grid.Height }], model.Config)).Message);
    }

    [Fact]
    public void Bad_sizes_are_named()
    {
        var mini = QwenConfig.Mini(50, 32, 1, 32, 1);
        Assert.Contains("RopeSections",
            Assert.Throws<ArgumentException>(() =>
                new QwenVl(mini with { Language = mini.Language with { RopeSections = [1, 2, 3] } }, Target)).Message);
        Assert.Contains("multiple of 4",
            Assert.Throws<ArgumentException>(() =>
                new QwenVl(mini with { Vision = mini.Vision with { Width = 33 } }, Target)).Message);
        Assert.Contains("window",
            Assert.Throws<ArgumentException>(() =>
                new QwenVl(mini with { Vision = mini.Vision with { WindowSize = 4 } }, Target)).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);
}
