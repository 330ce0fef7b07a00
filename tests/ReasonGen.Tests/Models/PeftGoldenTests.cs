using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Setups;
using TorchSharp;
using ReasonGen.Tests.Devices;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

/// <summary>Adapters of the PEFT library: read as it computes, written as it reads, refused where more is
/// asked.</summary>
[Trait("Category", "Golden")]
public sealed class PeftGoldenTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private const string Renamed = "original_names"; // the numbers of "plain" under other names

    private static readonly List<string> Adapters = Directory.GetDirectories(Golden.Path("peft"))
        .Where(path => File.Exists(Path.Combine(path, "adapter_config.json"))).Select(path => Path.GetFileName(path))
        .Order().Some();

    public static TheoryData<string> Cases => [.. Adapters];

    public static TheoryData<string> Uniform => [.. Adapters.Where(IsUniform).Some()];

    public static TheoryData<string> Others => [.. Adapters.Where(name => !IsUniform(name)).Some()];

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_merged_adapter_gives_the_logits_and_weights_of_the_library(string name)
    {
        using var model = JanusFiles.Load(Golden.Path("janus_hf/model"), TestDevice.Cpu);
        PeftAdapter.Read(Golden.Path($"peft/{name}")).MergeInto(model);
        Same(name, model);
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var weights = JanusFiles.Names(model, JanusLayout.Native);
        name = Expected(name);
        foreach (var (weight, expected) in Golden.Tensors("peft/merged").Where(pair => pair.Key.StartsWith(name + "."))
            .Some($"merged weight of {name}"))
        {
            Golden.Close(expected, weights[weight[(name.Length + 1)..]], 1e-5, weight);
        }
    }

    [Theory]
    [MemberData(nameof(Uniform))]
    public void Uniform_additions_are_trained_on_and_written_as_they_were_read(string name)
    {
        using var model = JanusFiles.Load(Golden.Path("janus_hf/model"), TestDevice.Cpu);
        using (var lora = PeftAdapter.Read(Golden.Path($"peft/{name}")).Continue(model))
        {
            Same(name, lora);
            PeftAdapter.Save(lora, folder, Golden.Path("janus_hf/model"),
                name == Renamed ? JanusLayout.Original : JanusLayout.Native);
        }

        var (was, now) = (Safetensors.Load(Golden.Path($"peft/{name}/adapter_model.safetensors")),
            Safetensors.Load(Path.Combine(folder, "adapter_model.safetensors")));
        Assert.Equal(was.Keys.Order(), now.Keys.Order());
        Assert.All(was.Some(), pair => Golden.Equal(pair.Value, now[pair.Key], pair.Key));
        var (theirs, ours) = (Config(Golden.Path($"peft/{name}")), Config(folder));
        Assert.Equal(theirs["peft_type"], ours["peft_type"]);
        Assert.Equal(theirs["r"], ours["r"]);
        var expression = $"^{ours["target_modules"]}$"; // the library takes it for the whole name
        var modules = was.Keys.Select(key => key["base_model.model.".Length..key.IndexOf(".lora_")]).ToArray();
        Assert.All(modules, module => Assert.Matches(expression, module));
        Assert.DoesNotMatch(expression, "model.vision_model.encoder.layers.0.self_attn.q_proj");
        using var opened = JanusFiles.Load(PeftAdapter.Read(folder).FindBase(), TestDevice.Cpu);
        PeftAdapter.Read(folder).MergeInto(opened);
        Same(name, opened);
    }

    [Theory]
    [InlineData("\"pissa\"", false)]
    [InlineData("\"pissa_niter_16\"", false)]
    [InlineData("\"OLoRA\"", false)]
    [InlineData("\"corda\"", false)]
    [InlineData("\"loftq\"", false)]
    [InlineData("\"lora_ga\"", false)]
    [InlineData("7", false)]
    [InlineData("\"gaussian\"", true)]
    [InlineData("\"eva\"", true)]
    [InlineData("\"orthogonal\"", true)]
    [InlineData("false", true)]
    [InlineData("null", true)]
    public void Additions_whose_beginning_changes_the_base_are_refused(string begun, bool read)
    {
        File.Copy(Golden.Path("peft/plain/adapter_model.safetensors"),
            Path.Combine(folder, "adapter_model.safetensors"));
        var config = Config(Golden.Path("peft/plain"));
        config["init_lora_weights"] = JToken.Parse(begun);
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), config.ToString());
        var thrown = Record.Exception(() => PeftAdapter.Read(folder));
        Assert.Equal(read, thrown is null);
        Assert.True(read || thrown is UnusableFileException && thrown.Message.Contains($"init_lora_weights {begun}"));
    }

    [Theory]
    [MemberData(nameof(Others))]
    public void Additions_that_training_cannot_go_on_with_are_refused(string name)
    {
        using var model = JanusFiles.Load(Golden.Path("janus_hf/model"), TestDevice.Cpu);
        Assert.Contains("Merge it first", Assert.Throws<UnusableFileException>(() =>
            PeftAdapter.Read(Golden.Path($"peft/{name}")).Continue(model)).Message);
        Assert.All(model.TrainableParameters(), pair => Assert.True(pair.Parameter.requires_grad)); // as it was
    }

    [Theory]
    [InlineData("peft_type", "\"LOHA\"", "LOHA")]
    [InlineData("bias", "\"all\"", "bias")]
    [InlineData("fan_in_fan_out", "true", "fan_in_fan_out")]
    [InlineData("layer_replication", "[[0, 2], [1, 3]]", "layer_replication")]
    [InlineData("lora_bias", "true", "lora_bias")]
    [InlineData("trainable_token_indices", "[1, 2]", "trainable_token_indices")]
    [InlineData("use_something_new", "true", "use_something_new")]
    [InlineData("r", "{more}", "rank")]
    [InlineData("r", "\"four\"", "'r'")]
    [InlineData("lora_alpha", "-1", "lora_alpha")]
    [InlineData("use_dora", "true", "magnitude")]
    [InlineData("alpha_pattern", "{\"q_proj(\": 2}", "alpha_pattern")]
    [InlineData("alpha_pattern", "{\".*\": \"two\"}", "alpha_pattern")]
    [InlineData("alpha_pattern", "8", "alpha_pattern")]
    [InlineData("rank_pattern", "[2]", "rank_pattern")]
    [InlineData("use_rslora", "1", "use_rslora")]
    [InlineData("use_rslora", "\"true\"", "use_rslora")]
    [InlineData("use_dora", "1", "use_dora")]
    [InlineData("bias", "true", "bias")]
    public void What_a_configuration_asks_for_is_done_or_refused_by_name(string key, string value, string expected)
    {
        Copy("plain");
        var config = Config(folder);
        config[key] = JToken.Parse(value.Replace("{more}", $"{(int)config["r"]! + 1}"));
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), config.ToString());
        using var model = JanusFiles.Load(Golden.Path("janus_hf/model"), TestDevice.Cpu);
        var before = model.state_dict().ToDictionary(pair => pair.Key, pair => pair.Value.detach().clone());
        var error = Assert.Throws<UnusableFileException>(() => PeftAdapter.Read(folder).MergeInto(model));
        Assert.Contains(expected, error.Message);
        Assert.All(before, pair => Golden.Equal(pair.Value, model.state_dict()[pair.Key], pair.Key));
    }

    [Fact]
    public void An_adapter_of_another_model_is_refused_with_what_does_not_fit()
    {
        using var tiny = TinyJanus.Build();
        var error = Assert.Throws<UnusableFileException>(() =>
            PeftAdapter.Read(Golden.Path("peft/plain")).MergeInto(tiny));
        Assert.Contains("do not belong together", error.Message);
        Assert.Contains("janus-tiny", error.Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static JObject Config(string folder) =>
        JObject.Parse(File.ReadAllText(Path.Combine(folder, "adapter_config.json")));

    private void Copy(string name) => Directory.GetFiles(Golden.Path($"peft/{name}")).ToList()
        .ForEach(file => File.Copy(file, Path.Combine(folder, Path.GetFileName(file))));

    private static string Expected(string name) => name == Renamed ? "plain" : name;

    // the same additions to each module that is named, and to the language model alone
    private static bool IsUniform(string name)
    {
        var config = Config(Golden.Path("peft/" + name));
        return config["target_modules"]!.Type == JTokenType.String && (bool?)config["use_dora"] != true
            && !((string[])["modules_to_save", "rank_pattern", "alpha_pattern"])
                .Any(key => config[key] is JContainer { Count: > 0 });
    }

    private static void Same(string name, IImageTextModel model)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var expected = Golden.Tensors("peft/expected");
        name = Expected(name);
        Dictionary<string, Tensor> text = Golden.Tensors("janus/text"), image = Golden.Tensors("janus/image_logits");
        var mask = text["attention_mask"];
        var logits = model.TextLogits(model.Hidden(model.Embed(text["input_ids"]), mask, text["position_ids"]));
        var seen = mask.to(ScalarType.Bool).unsqueeze(-1); // the rest is don't-care
        Golden.Close(expected[$"{name}.text.logits"].mul(seen), logits.mul(seen), 1e-4, "text");
        var hidden = model.Hidden(cat([model.Embed(image["input_ids"]), model.EmbedImageCodes(image["codes"])], 1));
        Golden.Close(expected[$"{name}.image.image_logits"], model.ImageLogits(hidden), 1e-4, "image");
        Golden.Close(expected[$"{name}.image.text_logits"], model.TextLogits(hidden), 1e-4, "text after image");
    }
}
