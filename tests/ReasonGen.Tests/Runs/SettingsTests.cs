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
    public void A_value_out_of_range_is_refused(string path, string value) =>
        Assert.Throws<ArgumentException>(() => All("mini").With(path, value).Get<RunConfig>().Validate());

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
