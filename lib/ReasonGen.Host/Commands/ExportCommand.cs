using System.CommandLine;
using ReasonGen.JanusPro;
using ReasonGen.Runs;
using ReasonGen.WorldData;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen export: what other trainers go on with.</summary>
internal static class ExportCommand
{
    private const string Help = """
        Writes a model, prompts and settings for the reference's own trainer (verl on Ray): a folder janus-model in the original layout, prompts a
        line, and lines for its script examples/janus_rl.sh. environment/verl.md tells the way there and back, step by step.

        Examples:
          reasongen export verl --model runs/sft/model --data geneval.txt --data dpg.txt --validation val.txt --out handover
          reasongen export verl --model ReasonGen-R1-SFT --preset paper --set grpo.learningRate=1e-6 --out handover
        """;

    internal static Command Create()
    {
        var model = new Option<string>("--model", "-m")
        {
            Description = "A model in either layout, or an adapter, which is merged.", Required = true,
        };
        var data = new Option<string[]>("--data", "-d") { Description = "Files of prompts. Default: the script's "
            + "own." };
        var validation = new Option<string[]>("--validation")
        {
            Description = "Files of held-out prompts. Default: the script's own.",
        };
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder for all of it; made when missing.", Required = true,
        };
        var settings = new SettingsOptions();
        var verl = new Command("verl", Help) { model, data, validation, output };
        settings.AddTo(verl);
        verl.SetAction(parsed =>
        {
            var all = settings.Read(parsed, "paper");
            var config = all.Get<RunConfig>();
            config.Validate();
            all.Get<WorldBatchConfig>().Validate();
            if (VerlExport.WithoutLine(all) is { Count: > 0 } left)
            {
                Console.Error.WriteLine("Other than in the reference's script, which has no line that does the same, "
                    + $"and so not handed over: {string.Join(", ", left.Select(one => one.Path))}.");
            }

            if (config.Rollout.MaxTextTokens == 0 && !config.Grpo.IgnoreBeginOfImage)
            {
                Console.Error.WriteLine("Without a rationale (rollout.maxTextTokens=0) the reference counts "
                    + "begin-of-image to the prompt and does not train it, as here with grpo.ignoreBeginOfImage=true.");
            }

            VerlExport.Write(parsed.GetValue(model)!, parsed.GetValue(data) ?? [], parsed.GetValue(validation) ?? [],
                config, parsed.GetValue(output)!);
            Console.WriteLine($"Model, prompts and settings are in {parsed.GetValue(output)}; environment/verl.md "
                + $"tells how "
                + "to go on.");
        });
        return new("export", "Writes what other trainers go on with: 'export verl'. See 'reasongen export verl "
            + "--help'.")
        {
            verl,
        };
    }
}
