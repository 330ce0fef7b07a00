using System.CommandLine;
using System.Globalization;
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
        (string Path, string Text)[] said =
        [
            .. parsed.GetValue(file) is { } path ? Settings.Leaves(SettingsText.Read(path)) : [], .. values,
            .. (parsed.GetValue(set) ?? []).Select(one => one.Split('=', 2) is [var which, var value]
                ? (which.Trim(), value.Trim()) : throw new UsageException(
                    $"--set {one}: write a name and a value, such as --set grpo.learningRate=1e-5")),
        ];
        settings = said.Aggregate(settings, (tree, one) => tree.With(one.Path, one.Text));
        return name == "mini" ? settings : WithRates(settings, config,
            said.Select(one => one.Path).ToHashSet(StringComparer.OrdinalIgnoreCase));
    }

    // Additions want other learning rates than all weights do: where a file, a setting or an adapter brings or takes
    // them, the preset's rates go along unless they are named.
    private static Settings WithRates(Settings settings, RunConfig preset, HashSet<string> named)
    {
        var now = settings.Get<RunConfig>();
        if ((now.Lora is null) == (preset.Lora is null))
        {
            return settings;
        }

        var factor = now.Lora is null ? 1 / TrainingSetup.LoraRate : TrainingSetup.LoraRate;
        (string Path, double Rate)[] rates =
            [("sft.learningRate", now.Sft.LearningRate), ("grpo.learningRate", now.Grpo.LearningRate)];
        return rates.Where(one => !named.Contains(one.Path)).Aggregate(settings, (tree, one) =>
            tree.With(one.Path, (one.Rate * factor).ToString("R", CultureInfo.InvariantCulture)));
    }
}
