using System.CommandLine;
using ReasonGen.Runs;
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
        var config = RunConfig.Preset(parsed.GetValue(preset) ?? otherwise);
        var settings = new Settings(change?.Invoke(config) ?? config, ("world", new WorldBatchConfig()));
        settings = parsed.GetValue(file) is { } path ? settings.With(SettingsText.Read(path)) : settings;
        settings = values.Aggregate(settings, (tree, value) => tree.With(value.Path, value.Value));
        foreach (var one in parsed.GetValue(set) ?? [])
        {
            settings = one.Split('=', 2) is [var name, var value] ? settings.With(name.Trim(), value.Trim())
                : throw new UsageException(
                    $"--set {one}: write a name and a value, such as --set grpo.learningRate=1e-5");
        }

        return settings;
    }
}
