using System.CommandLine;
using System.Globalization;
using Newtonsoft.Json.Linq;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.WorldData;

namespace ReasonGen.Host.Commands;

/// <summary>How commands are told settings: a preset, a file, single ones; the later of them wins.</summary>
internal sealed class SettingsOptions
{
    private readonly Option<string?> preset = new Option<string?>("--preset")
    {
        Description = $"Settings to begin with: {string.Join(", ", RunConfig.Presets)}. Default: by the model's size.",
    }.Suggesting([.. RunConfig.Presets]);

    private readonly Option<string?> file = new("--config")
    {
        Description = "File of settings, json or YAML, such as the settings.json of a run.",
    };

    private readonly Option<string[]> set = new("--set")
    {
        Description = "One setting, such as grpo.learningRate=1e-5; train's --help-settings lists all.",
    };

    internal void AddTo(Command command)
    {
        command.Options.Add(preset);
        command.Options.Add(file);
        command.Options.Add(set);
    }

    /// <summary>All settings.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="otherwise">Preset where none is given.</param>
    /// <param name="change">Changes the preset's.</param>
    /// <param name="values">Set between file and single settings.</param>
    /// <exception cref="ArgumentException">There is no such setting, or a value is none.</exception>
    internal Settings Read(ParseResult parsed, string otherwise, Func<RunConfig, RunConfig>? change = null,
        params IEnumerable<(string Path, string Value)> values)
    {
        var name = parsed.GetValue(preset) ?? otherwise;
        var config = RunConfig.Preset(name);
        var settings = new Settings(change?.Invoke(config) ?? config, ("world", new WorldBatchConfig()));
        var read = parsed.GetValue(file) is { } path ? SettingsText.Read(path) : [];
        settings = settings.With(read);
        settings = values.Aggregate(settings, (tree, value) => tree.With(value.Path, value.Value));
        foreach (var one in parsed.GetValue(set) ?? [])
        {
            settings = one.Split('=', 2) is [var which, var value] ? settings.With(which.Trim(), value.Trim())
                : throw new UsageException(
                    $"--set {one}: write a name and a value, such as --set grpo.learningRate=1e-5");
        }

        return name == "mini" ? settings : WithRates(settings, config, (group, rate) => Named(read, group, rate)
            || (parsed.GetValue(set) ?? []).Any(one => Same(one.Split('=')[0].Trim(), $"{group}.{rate}")));
    }

    // Additions want other learning rates than all weights do: where a file, a setting or an adapter brings or takes
    // them, the preset's rates go along unless they are named.
    private static Settings WithRates(Settings settings, RunConfig preset, Func<string, string, bool> named)
    {
        var now = settings.Get<RunConfig>();
        if ((now.Lora is null) == (preset.Lora is null))
        {
            return settings;
        }

        var factor = now.Lora is null ? 1 / TrainingSetup.LoraRate : TrainingSetup.LoraRate;
        const string rate = "learningRate";
        return new[] { ("sft", now.Sft.LearningRate), ("grpo", now.Grpo.LearningRate) }.Aggregate(settings,
            (tree, one) => named(one.Item1, rate) ? tree : tree.With($"{one.Item1}.{rate}",
                (one.Item2 * factor).ToString("R", CultureInfo.InvariantCulture)));
    }

    private static bool Named(JObject read, string group, string name) => read.Properties().Any(one =>
        (Same(one.Name, group) && one.Value is JObject inner && inner.Properties().Any(below => Same(below.Name, name)))
        || Same(one.Name, $"{group}.{name}"));

    private static bool Same(string one, string other) => one.Equals(other, StringComparison.OrdinalIgnoreCase);
}
