using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Setups;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Checkpoints;

[Trait("Category", "Golden")]
public sealed class JanusFilesTests : IDisposable
{
    private static readonly ComputeTarget Target = new(CPU, ScalarType.Float32);

    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private static string Original => Golden.Path("janus/checkpoint");

    private static string Native => Golden.Path("janus_hf/model");

    // what is not read has no names
    private static JObject Names => Golden.Json("janus_hf/names", mayBeSparse: true);

    [Fact]
    public void Both_layouts_fill_the_same_model()
    {
        using Janus original = JanusFiles.Load(Original, Target), native = JanusFiles.Load(Native, Target);
        var stored = CheckpointFiles.Open(Original).Load();
        Assert.Equal(stored.Keys.Order(), original.state_dict().Keys.Order());
        Assert.All(original.state_dict(), pair => Golden.Equal(stored[pair.Key], pair.Value, pair.Key));
        var read = Names.Properties().Where(pair => pair.Value.Any()).Some().Select(pair => pair.Name);
        Assert.All(read, name => Golden.Equal(stored[name], native.state_dict()[name], name));
        Assert.Equal(original.Config.Language, native.Config.Language);
        Assert.Equal(original.Config.ImageTokens, native.Config.ImageTokens);
    }

    [Fact]
    public void Shards_in_bf16_are_the_rounded_weights()
    {
        using Janus whole = JanusFiles.Load(Native, Target),
            rounded = JanusFiles.Load(Golden.Path("janus_hf/sharded_bf16"), Target);
        var weights = rounded.state_dict();
        Assert.All(whole.state_dict(),
            pair => Golden.Equal(pair.Value.to(ScalarType.BFloat16), weights[pair.Key], pair.Key));
    }

    [Theory]
    [InlineData(JanusLayout.Original, "janus/checkpoint")]
    [InlineData(JanusLayout.Native, "janus_hf/model")]
    public void A_written_folder_equals_the_reference_in_names_shapes_and_configuration(JanusLayout layout,
        string fixture)
    {
        using var model = JanusFiles.Load(Golden.Path(fixture), Target);
        JanusFiles.Save(model, folder, layout);
        Assert.Equal(Described(Golden.Path(fixture)), Described(folder));
        foreach (var path in Directory.GetFiles(Golden.Path(fixture), "*config.json")
            .Where(path => !path.EndsWith("preprocessor_config.json")))
        {
            var file = Path.GetFileName(path);
            var (expected, actual) =
                (JObject.Parse(File.ReadAllText(path)), JObject.Parse(File.ReadAllText(Path.Combine(folder, file))));
            foreach (var tied in actual.Descendants().OfType<JProperty>()
                .Where(property => property.Name == "tie_word_embeddings").ToArray())
            {
                Assert.False((bool)tied.Value); // newer versions of the library tie the head unless this is said
                tied.Remove();
            }

            Assert.True(JToken.DeepEquals(Sorted(expected), Sorted(actual)), $"{file}:\n{actual}");
        }
    }

    [Theory]
    [InlineData(JanusLayout.Original)]
    [InlineData(JanusLayout.Native)]
    public void Shards_are_written_and_read_back_the_same(JanusLayout layout)
    {
        using var model = JanusFiles.Load(Original, Target);
        JanusFiles.Save(model, folder, layout, ids: new(0, 0, 0, 0, 0));
        JanusFiles.Save(model, folder, layout, maxShardBytes: 200_000, ids: new(1, 2, 3, 4, 5), from: Native);
        Assert.False(File.Exists(Path.Combine(folder, "model.safetensors")));
        Assert.True(CheckpointFiles.Open(folder).Files.Count > 3);
        Assert.Equal(layout, JanusFiles.Check(folder));
        Assert.True(File.Exists(Path.Combine(folder, "preprocessor_config.json")));
        Assert.Empty(Directory.GetDirectories(folder));
        using var again = JanusFiles.Load(folder, Target);
        var unread = Names.Properties().Where(pair => !pair.Value.Any())
            .Select(pair => pair.Name).ToHashSet();
        var weights = again.state_dict();
        Assert.All(model.state_dict().Where(pair => !unread.Contains(pair.Key)),
            pair => Golden.Equal(pair.Value, weights[pair.Key], pair.Key));
        Assert.Equal(layout == JanusLayout.Native ? new JanusTokenIds(1, 2, 3, 4, 5) : null, again.Config.TokenIds);
    }

    [Fact]
    public void A_merged_folder_has_the_chat_template_and_all_files_of_the_tokenizer()
    {
        var source = TinyJanus.Write(Path.Combine(folder, "source"));
        string[] files = ["chat_template.jinja", "chat_template.json", "vocab.json", "merges.txt", "added_tokens.json",
            "special_tokens_map.json", "preprocessor_config.json", "processor_config.json"];
        Array.ForEach(files, file => File.WriteAllText(Path.Combine(source, file), $"{{{{ {file} }}}}\n"));
        JanusMerge.Write(source, Path.Combine(folder, "merged"));
        Assert.All(files.Append("tokenizer.json"), file => Assert.Equal(
            File.ReadAllText(Path.Combine(source, file)), File.ReadAllText(Path.Combine(folder, "merged", file))));
    }

    [Fact]
    public void A_model_written_over_another_leaves_none_of_its_settings_and_every_other_file()
    {
        var (source, output) = (TinyJanus.Write(Path.Combine(folder, "source")), Path.Combine(folder, "merged"));
        string[] settings = ["processor_config.json", "preprocessor_config.json", "chat_template.json",
            "chat_template.jinja", "special_tokens_map.json", "generation_config.json"];
        string[] others = ["notes.txt", "my-tokens.json", "training_config.json"];
        Directory.CreateDirectory(output);
        settings.ToList().ForEach(name => File.Delete(Path.Combine(source, name)));
        settings.Concat(others).ToList().ForEach(name => File.WriteAllText(Path.Combine(output, name), "{}"));

        JanusMerge.Write(source, output);

        Assert.All(settings, name => Assert.False(File.Exists(Path.Combine(output, name)), name));
        Assert.All(others, name => Assert.True(File.Exists(Path.Combine(output, name)), name));

        settings.ToList().ForEach(name => File.WriteAllText(Path.Combine(output, name), "{}"));
        using var model = JanusFiles.Load(output, Target);
        JanusFiles.Save(model, output, JanusLayout.Original, from: output + "/");
        Assert.All(settings, name => Assert.True(File.Exists(Path.Combine(output, name)), name));
    }

    [Fact]
    public void Published_sizes_survive_writing_and_need_no_extra_keys()
    {
        foreach (var published in new[] { JanusConfig.Pro1B, JanusConfig.Pro7B })
        {
            using var model = new Janus(published, new ComputeTarget(META, ScalarType.BFloat16));
            foreach (var layout in Enum.GetValues<JanusLayout>())
            {
                var texts = JsonOf(model, layout);
                File.WriteAllText(Path.Combine(folder, "config.json"), texts);
                var read = JanusFiles.ReadConfig(folder);
                Assert.Equal(published.Language, read.Language);
                Assert.Equal(published.Vision, read.Vision);
                Assert.Equal(published.ImageTokens, read.ImageTokens);
                Assert.Equal(published.ImageTokenizer.Multipliers, read.ImageTokenizer.Multipliers);
                Assert.Equal(published.ImageTokenizer with { Multipliers = [] },
                    read.ImageTokenizer with { Multipliers = [] });
                Assert.DoesNotContain("z_channels", texts);
            }
        }
    }

    [Fact]
    public void Sizes_that_a_configuration_leaves_out_are_the_published_ones()
    {
        File.WriteAllText(Path.Combine(folder, "config.json"),
            """{ "model_type": "multi_modality", "language_config": { "vocab_size": 102400, "num_hidden_layers": 30 } }""");
        var read = JanusFiles.ReadConfig(folder);
        Assert.Equal(JanusConfig.Pro7B.Language, read.Language);
        Assert.Equal(JanusConfig.Pro7B.Vision, read.Vision);
        Assert.Equal(JanusConfig.Pro7B.ImageTokens, read.ImageTokens);
    }

    [Theory]
    [InlineData("janus/checkpoint")]
    [InlineData("janus_hf/model")]
    public void What_is_done_to_a_model_leaves_its_files_alone_and_the_other_way_round(string fixture)
    {
        foreach (var file in Directory.GetFiles(Golden.Path(fixture)))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        }

        var before = Directory.GetFiles(folder).ToDictionary(path => path, File.ReadAllBytes);
        using var stored = JanusFiles.Load(folder, Target);
        using var model = JanusFiles.Load(folder, Target);
        using var free = no_grad();
        foreach (var (_, weight) in model.TrainableParameters())
        {
            weight.add_(1);
        }

        Assert.All(before, pair => Assert.Equal(pair.Value, File.ReadAllBytes(pair.Key)));
        JanusFiles.Save(model, folder, JanusLayout.Original); // over the files that both models were read from
        using var again = JanusFiles.Load(folder, Target);
        var (old, now, saved) = (stored.state_dict(), model.state_dict(), again.state_dict());
        Assert.All(model.TrainableParameters(), pair => Golden.Equal(old[pair.Name].add(1), now[pair.Name], pair.Name));
        Assert.All(now, pair => Golden.Equal(pair.Value, saved[pair.Key], pair.Key));
    }

    [Theory]
    [InlineData("janus/checkpoint", "language_config")]
    [InlineData("janus_hf/model", "text_config")]
    public void The_base_of_rotary_positions_is_read_where_newer_libraries_write_it(string fixture, string section)
    {
        var config = JObject.Parse(File.ReadAllText(Golden.Path($"{fixture}/config.json")));
        var language = (JObject)config[section]!;
        language.Remove("rope_theta");
        language.Remove("rope_scaling");
        language["rope_parameters"] = new JObject { ["rope_type"] = "default", ["rope_theta"] = 500000.0 };
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToString());
        Assert.Equal(500000, JanusFiles.ReadConfig(folder).Language.RopeTheta);
    }

    [Theory]
    [InlineData("language_config.vocab_size", "161", "embed_tokens.weight is [")]
    [InlineData("language_config.num_hidden_layers", "9", "are missing|is missing")]
    [InlineData("language_config.num_hidden_layers", "-1", "whole number of at least 0")]
    [InlineData("language_config.num_attention_heads", "0", "Heads is 0")]
    [InlineData("language_config.hidden_act", "\"gelu\"", "the only value that is implemented")]
    [InlineData("language_config.rope_scaling", "{\"type\": \"linear\", \"factor\": 4}",
        "rope_scaling.type' is \"linear\"")]
    [InlineData("language_config.rope_parameters", "{\"rope_type\": \"yarn\"}", "only plain rotary positions")]
    [InlineData("language_config.rope_parameters", "{\"full_attention\": {\"rope_type\": \"default\"}}",
        "only plain rotary positions")]
    [InlineData("language_config", "7", "an object")]
    [InlineData("model_type", "\"qwen2_5_vl\"", "not a Janus")]
    [InlineData("gen_vision_config.params.ch", "\"many\"", "whole number")]
    public void A_configuration_that_does_not_fit_is_answered_in_a_sentence(string key, string value, string message)
    {
        File.Copy(Path.Combine(Original, "pytorch_model.bin"), Path.Combine(folder, "pytorch_model.bin"));
        var config = JObject.Parse(File.ReadAllText(Path.Combine(Original, "config.json")));
        var parent = key.Contains('.') ? config.SelectToken(key[..key.LastIndexOf('.')])! : config;
        parent[key[(key.LastIndexOf('.') + 1)..]] = JToken.Parse(value);
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToString());
        var thrown = Assert.Throws<UnusableFileException>(() => JanusFiles.Load(folder, Target).Dispose());
        Assert.Contains(message.Split('|'), thrown.Message.Contains);
        Assert.DoesNotContain('\n', thrown.Message);
    }

    [Fact]
    public void A_folder_that_cannot_be_written_keeps_what_it_holds()
    {
        using var model = JanusFiles.Load(Original, Target);
        JanusFiles.Save(model, folder, JanusLayout.Original);
        var before = Directory.GetFiles(folder).ToDictionary(path => path, File.ReadAllBytes);
        var thrown = Assert.Throws<UnusableFileException>(() =>
            JanusFiles.Save(model, Path.Combine(folder, "config.json"), JanusLayout.Original, 100_000));
        Assert.Contains("could not be written", thrown.Message);
        Assert.All(before, pair => Assert.Equal(pair.Value, File.ReadAllBytes(pair.Key)));
        Assert.Equal(before.Keys.Order(), Directory.GetFiles(folder).Order());
    }

    [Fact]
    public void A_native_folder_needs_token_ids_and_both_a_vision_tower()
    {
        using var original = JanusFiles.Load(Original, Target);
        Assert.Contains("token",
            Assert.Throws<ArgumentException>(() => JanusFiles.Save(original, folder, JanusLayout.Native)).Message);
        using var mini = new Janus(JanusConfig.Mini(40), Target);
        Assert.Contains("understanding path",
            Assert.Throws<ArgumentException>(() => JanusFiles.Save(mini, folder, JanusLayout.Original)).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private string JsonOf(Janus model, JanusLayout layout)
    {
        var aside = Path.Combine(folder, layout.ToString());
        Directory.CreateDirectory(aside);
        JanusFiles.SaveConfig(model.Config with { TokenIds = new(100000, 100001, 100002, 100016, 100581) }, aside,
            layout, ScalarType.BFloat16);
        return File.ReadAllText(Path.Combine(aside, "config.json"));
    }

    private static IEnumerable<string> Described(string path) =>
        CheckpointFiles.Open(path).Entries.Select(e => $"{e.Name} {e.Type} [{string.Join(", ", e.Shape)}]")
            .Order(StringComparer.Ordinal);

    private static JToken Sorted(JToken token) => token is not JObject map ? token
        : new JObject(map.Properties().OrderBy(pair => pair.Name, StringComparer.Ordinal)
            .Select(pair => new JProperty(pair.Name, Sorted(pair.Value))));
}
