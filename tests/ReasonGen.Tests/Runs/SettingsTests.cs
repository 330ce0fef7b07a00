using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Runs;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.Runs;

/// <summary>Settings by name: what the records say is what can be set, written and read back.</summary>
public sealed class SettingsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public static TheoryData<string> Presets { get; } = [.. RunConfig.Presets];

    public static TheoryData<string> Paths { get; } = [.. All("janus-7b").All.Select(setting => setting.Path)];

    [Theory]
    [MemberData(nameof(Presets))]
    public void A_preset_is_in_range_and_comes_back_from_its_own_json(string preset)
    {
        var settings = All(preset);
        settings.Get<RunConfig>().Validate();
        var json = settings.ToJson();
        Assert.True(JToken.DeepEquals(json, All("mini").With(json).ToJson()), json.ToString());
    }

    [Theory]
    [InlineData("paper", 8)] // of the paper's eight GPUs
    [InlineData("janus-1b", 8)]
    [InlineData("janus-7b", 8)]
    [InlineData("mini", 1)]
    public void A_preset_refills_and_has_controllers_for_as_many_gpus(string preset, int gpus)
    {
        var config = All(preset).Get<RunConfig>();
        Assert.Equal((gpus, gpus), (config.Grpo.PromptsPerRefill, config.Entropy.Pairs));
        Assert.Equal(preset == "mini" ? 4 : 8,
            GroupFilter.RefillPrompts(1, config.Grpo.PromptsPerRound, config.Grpo.PromptsPerRefill));
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void Every_setting_can_be_changed_alone_and_is_written(string path)
    {
        var before = All("janus-7b").ToJson();
        var value = Other(before.SelectToken(path)!, path);
        var after = All("janus-7b").With(path.ToUpperInvariant(), value).ToJson();
        string[] changed = [.. SettingsDifference.Of(before, after).Select(what => what.Split(' ')[0])];
        Assert.Contains(path, changed);
        // prompts of a round follow those of a step until they are set themselves
        Assert.Empty(changed.Except([path, "grpo.promptsPerRound"]));
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void Every_setting_is_documented_by_its_record(string path)
    {
        var property = All("janus-7b").All.First(setting => setting.Path == path).Property;
        Assert.True(SettingsText.Documentation(property, []).Length > 10, path);
        Assert.Contains($"{path} = ", SettingsText.Help(All("janus-7b")));
    }

    [Theory]
    [InlineData("grpo.learnigRate", "grpo.learningRate")]
    [InlineData("learningrate", "sft.learningRate")]
    [InlineData("grpo.adam.beta1", "sft.beta1")]
    [InlineData("entropy.text", "entropy.text.target")]
    [InlineData("", "--help-settings")]
    [InlineData("world.sample", "--help-settings")]
    [InlineData("lora.rank.x", "lora.rank")]
    public void An_unknown_setting_is_refused_with_the_nearest(string path, string expected) =>
        Assert.Contains(expected, Assert.Throws<ArgumentException>(() => All("mini").With(path, "1")).Message);

    [Theory]
    [InlineData("grpo.learningRate", "fast", "a number")]
    [InlineData("grpo.learningRate", "1,5", "a number")]
    [InlineData("grpo.promptsPerStep", "1.5", "a whole number")]
    [InlineData("grpo.promptsPerStep", "5000000000", "a whole number")]
    [InlineData("grpo.filterGroups", "yes", "true or false")]
    [InlineData("entropy.kind", "sometimes", "one of Adaptive, Fixed, None")]
    [InlineData("data.wordings", "[1, 2]", "a list of texts")]
    public void A_value_of_another_type_is_refused(string path, string value, string expected) =>
        Assert.Contains(expected, Assert.Throws<ArgumentException>(() => All("mini").With(path, value)).Message);

    [Theory]
    [InlineData("grpo.learningRate", "0")]
    [InlineData("sft.totalSteps", "0")]
    [InlineData("run.keep", "0")]
    [InlineData("run.steps", "-1")]
    [InlineData("lora.rank", "0")]
    [InlineData("promptTokens", "0")]
    [InlineData("rollout.temperature", "0.5")] // log-probs are taken at another one
    [InlineData("entropy.image.bound", "0")]
    [InlineData("data.promptDropout", "2")]
    [InlineData("judge.concurrent", "0")]
    [InlineData("data.samplesPerStep", "1e9")]
    [InlineData("entropy.pairs", "0")]
    [InlineData("entropy.pairs", "2000000000")] // each has its state
    [InlineData("entropy.text.initialAlpha", "5")] // beyond its bound
    [InlineData("entropy.image.initialAlpha", "-0.02")]
    [InlineData("lora.rank", "65537")]
    [InlineData("rollout.maxTextTokens", "2147483647")] // image tokens are added to it
    [InlineData("grpo.rolloutsPerPrompt", "1e9")]
    public void A_value_out_of_range_is_refused(string path, string value) =>
        Assert.Throws<ArgumentException>(() => All("mini").With(path, value).Get<RunConfig>().Validate());

    [Theory]
    [InlineData("world.samplesPerStep", "0", "SamplesPerStep is 0; it must be at least 1 and at most 4096")]
    [InlineData("world.samplesPerStep", "1e9", "it must be at least 1 and at most 4096")]
    [InlineData("world.promptDropout", "7", "PromptDropout is 7; it must be in [0, 1]")]
    [InlineData("world.styleMixing", "1.5", "StyleMixing")]
    [InlineData("world.textOnly", "-3", "TextOnly")]
    [InlineData("world.denseCaptions", "2", "DenseCaptions")]
    public void Samples_of_the_drawn_world_out_of_range_are_refused(string path, string value, string expected)
    {
        var config = All("mini").With(path, value).Get<WorldBatchConfig>();
        Assert.Contains(expected, Assert.Throws<ArgumentException>(config.Validate).Message);
        Assert.Contains(expected, Assert.Throws<ArgumentException>(() =>
            new WorldBatches(null!, null!, null!, null!, config)).Message);
    }

    [Theory]
    [InlineData("entropy.pairs", "65537", "EntropyConfig.Pairs is 65537; it must be at least 1 and at most 65536")]
    [InlineData("entropy.text.initialAlpha", "5", "Text.InitialAlpha is 5; it must be within the bound, 0.01")]
    [InlineData("entropy.text.target", "-1", "EntropyControllerConfig.Target is -1; it must be at least 0")]
    public void An_entropy_term_that_cannot_be_is_named(string path, string value, string expected) =>
        Assert.Contains(expected, Assert.Throws<ArgumentException>(() =>
            All("mini").With(path, value).Get<RunConfig>().Entropy.Build()).Message);

    [Theory]
    [InlineData("none")]
    [InlineData("fixed")]
    public void Settings_of_controllers_that_are_not_used_do_not_matter(string kind) =>
        All("mini").With("entropy.kind", kind).With("entropy.pairs", "0").With("entropy.text.initialAlpha", "5")
            .Get<RunConfig>().Entropy.Validate();

    [Theory]
    [InlineData("run.samplePrompts")]
    [InlineData("data.wordings")]
    public void No_list_is_the_empty_list(string path)
    {
        var list = All("mini").With(path, "this,that").With(path, "null").ToJson().SelectToken(path);
        Assert.Equal("[]", list!.ToString());
        var groups = path.Split('.');
        var file = Write("a.json", $$"""{ "{{groups[0]}}": { "{{groups[1]}}": null } }""");
        Assert.Equal("[]", All("mini").With(SettingsText.Read(file)).ToJson().SelectToken(path)!.ToString());
        Assert.Contains("a list of texts",
            Assert.Throws<ArgumentException>(() => All("mini").With(path, "{}")).Message);
    }

    [Theory]
    [InlineData("""{"sft":{"totalSteps":3,"TotalSteps":4}}""", "sft.TotalSteps")]
    [InlineData("""{"sft":{"totalSteps":3},"SFT":{"totalSteps":4}}""", "SFT.totalSteps")]
    [InlineData("""{"grpo.learningRate":1e-5,"grpo":{"learningRate":1e-6}}""", "grpo.learningRate")]
    [InlineData("""{"lora":null,"Lora":{"rank":4}}""", "Lora.rank")]
    public void A_setting_stands_once_in_a_file(string text, string path)
    {
        foreach (var name in new[] { "a.json", "a.yaml" }) // json is YAML, too
        {
            Assert.Contains($"'{path}' stands in it twice",
                Assert.Throws<UnusableFileException>(() => SettingsText.Read(Write(name, text))).Message);
        }

        _ = SettingsText.Read(Write("b.json", """{"grpo.learningRate":1e-5,"grpo":{"klWeight":0}}"""));
    }

    [Fact]
    public void An_object_without_members_is_no_value_but_puts_additions_in()
    {
        Settings Read(string text) => All("mini").With(SettingsText.Read(Write("a.json", text)));
        Assert.Contains("sft.totalSteps is a whole number such as 1000 or 1e3, not '{}'",
            Assert.Throws<ArgumentException>(() => Read("""{"sft":{"totalSteps":{}}}""")).Message);
        Assert.Equal(new LoraConfig().Alpha, Read("""{"lora":{}}""").Get<RunConfig>().Lora!.Alpha);
        Assert.Equal(8, All("mini").With("lora.rank", "8").With("lora", "{}").Get<RunConfig>().Lora!.Rank);
        Assert.True(JToken.DeepEquals(All("mini").ToJson(), Read("""{"sft":{},"world":{}}""").ToJson()));
    }

    [Fact]
    public void The_number_of_image_tokens_is_the_models_and_no_setting()
    {
        Assert.DoesNotContain("imageTokens", All("mini").ToJson().ToString());
        Assert.DoesNotContain("imageTokens", SettingsText.Help(All("mini")));
        Assert.Contains("as its model makes",
            Assert.Throws<ArgumentException>(() => All("mini").With("rollout.imagetokens", "9")).Message);
        var earlier = Write("settings.json", """{"rollout":{"imageTokens":9,"maxTextTokens":30}}""");
        var read = All("mini").With(SettingsText.Read(earlier)).Get<RunConfig>().Rollout;
        Assert.Equal((30, RunConfig.Preset("mini").Rollout.ImageTokens), (read.MaxTextTokens, read.ImageTokens));
    }

    [Fact]
    public void Additions_are_put_in_and_taken_away_by_name()
    {
        var with = All("mini").With("lora.rank", "8").Get<RunConfig>().Lora;
        Assert.Equal((8, new LoraConfig().Alpha), (with!.Rank, with.Alpha));
        Assert.Null(All("janus-7b").With("lora", "null").Get<RunConfig>().Lora);
    }

    [Fact]
    public void Json_and_yaml_of_the_same_settings_are_the_same()
    {
        var json = Write("a.json", """
            { "grpo": { "learningRate": 1e-5, "filterGroups": false }, "lora": null,
              "run": { "samplePrompts": ["a cat, black", "two dogs"] }, "entropy": { "kind": "Fixed" } }
            """);
        var yaml = Write("a.yaml", """
            grpo:
              learningRate: 1e-5
              filterGroups: false
            lora: null
            run:
              samplePrompts: ["a cat, black", two dogs]
            entropy: { kind: fixed }
            """);
        var (one, other) = (All("janus-7b").With(SettingsText.Read(json)), All("janus-7b")
            .With(SettingsText.Read(yaml)));
        Assert.True(JToken.DeepEquals(one.ToJson(), other.ToJson()), other.ToJson().ToString());
        Assert.Equal(["a cat, black", "two dogs"], one.Get<RunConfig>().Run.SamplePrompts);
        Assert.Equal((1e-5, EntropyKind.Fixed),
            (one.Get<RunConfig>().Grpo.LearningRate, one.Get<RunConfig>().Entropy.Kind));
    }

    [Theory]
    [InlineData("a.json", "[1]")]
    [InlineData("a.json", "{")]
    [InlineData("a.json", "{} {}")]
    [InlineData("a.yaml", "- 1")]
    [InlineData("a.yaml", "a: [")]
    [InlineData("a.yaml", "? [1]\n: 2")]
    [InlineData("a.yaml", "")]
    [InlineData("a.yaml", "a: 1\na: 2")]
    [InlineData("a.yaml", "a: 1\n---\nb: 2")]
    [InlineData("a.yaml", "a: &a [1, 1]\nb: [*a, *a]")]
    public void A_file_that_holds_no_settings_is_refused(string name, string text) =>
        Assert.Throws<UnusableFileException>(() => SettingsText.Read(Write(name, text)));

    [Theory]
    [InlineData("a.json", '[')]
    [InlineData("a.yaml", '[')]
    [InlineData("a.yaml", '{')]
    public void A_file_may_nest_as_deep_as_it_likes(string name, char nest) =>
        Assert.Throws<UnusableFileException>(() => SettingsText.Read(Write(name, "a: " + new string(nest, 100_000))));

    [Fact]
    public void The_mini_preset_is_the_study()
    {
        var mini = RunConfig.Preset("mini");
        Assert.Equal(SftConfig.Mini(StudyConfig.Full.SftSteps), mini.Sft);
        Assert.Equal(StudyConfig.Full.Grpo, mini.Grpo);
        Assert.Equal(StudyConfig.Full.RlSteps, mini.Run.Steps);
        Assert.True(JToken.DeepEquals(Study.Entropy("adaptive").Settings, mini.Entropy.Build().Settings));
        Assert.True(JToken.DeepEquals(Study.Entropy("fixed").Settings,
            (mini.Entropy with { Kind = EntropyKind.Fixed }).Build().Settings));
        Assert.IsType<NoEntropyTerm>((mini.Entropy with { Kind = EntropyKind.None }).Build());
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static Settings All(string preset) => new(RunConfig.Preset(preset), ("world", new WorldBatchConfig()));

    private string Write(string name, string text)
    {
        File.WriteAllText(Path.Combine(folder, name), text);
        return Path.Combine(folder, name);
    }

    private static string Other(JToken value, string path) => path switch
    {
        "entropy.kind" => "None",
        _ => value.Type switch
        {
            JTokenType.Boolean => (bool)value ? "false" : "true",
            JTokenType.Array => "this,that",
            JTokenType.Integer => ((long)value == 7 ? 8 : 7).ToString(),
            JTokenType.Float => "0.625",
            _ => "other",
        },
    };
}
