using ReasonGen.Checkpoints;
using ReasonGen.JanusPro;
using ReasonGen.Runs;
using ReasonGen.Tests.Devices;
using ReasonGen.Tests.Models;
using ReasonGen.TrainingData;

namespace ReasonGen.Tests.Fuzz;

/// <summary>What is handed to a training run: settings, adapters, prompts, and its own numbers.</summary>
internal static class TrainingTargets
{
    private static byte[] Yaml => """
        grpo:
          learningRate: 1e-5 # slower
          filterGroups: false
        lora: { rank: 8, targets: [q_proj, 'v_proj'] }
        """u8.ToArray();

    private static byte[] Prompt => """
        {"tag": "position", "include": [{"class": "bench"}, {"class": "dog", "count": 2, "position": ["above", 0]}], "prompt": "a dog"}
        """u8.ToArray();

    internal static FuzzTarget[] All { get; } =
    [
        FuzzTarget.OfFile("settings-json", "settings.json", () =>
            [Seeds.Json(new Settings(RunConfig.Preset("janus-7b")).ToJson())], Configure) with
        {
            Refusals = [typeof(UnusableFileException), typeof(ArgumentException)],
            Tokens = ["\"lora\":null", "1e999", "\"grpo\":[]", "\"kind\":\"Fixed\"", "[[[["],
        },
        FuzzTarget.OfFile("settings-yaml", "settings.yaml", () => [Yaml], Configure) with
        {
            Refusals = [typeof(UnusableFileException), typeof(ArgumentException)],
            Tokens = ["&a", "*a", "---", "? ", "!!int", "|", ">", "\t", "[[[["],
        },
        new("adapter-config", () => Seeds.Golden("peft/plain/*.json", "peft/patterns/*.json", "peft/dora/*.json"),
            Adapter)
        {
            Tokens = ["\"r\":0", "\"use_dora\":true", "\"rank_pattern\":{\"(\":1}", "\"bias\":\"all\"", "(a+)+$"],
            Share = 0.2, // a model is read for each
        },
        FuzzTarget.OfFile("prompts-json", "prompts.jsonl", () => [Prompt], path =>
            _ = PromptFiles.Read([path], prompt => prompt.Length, 200).At(5, 1)) with
        {
            Tokens = ["\"count\":-1", "\"position\":[0,\"a\"]", "\"include\":{}", "null"],
        },
        FuzzTarget.OfFile("metrics", "metrics.csv", () => ["step,loss,seconds\n0,1.5,NaN\n1,1E-05,2\n"u8.ToArray()],
            path => new MetricsTable(path, 9, null).Add(2, [("loss", 1)])),
    ];

    private static void Configure(string path) =>
        new Settings(RunConfig.Preset("mini")).With(SettingsText.Read(path)).Get<RunConfig>().Validate();

    private static Action<byte[]> Adapter(string folder)
    {
        File.Copy(Golden.Path("peft/plain/adapter_model.safetensors"),
            Path.Combine(folder, "adapter_model.safetensors"));
        using var model = JanusFiles.Load(Golden.Path("janus_hf/model"), TestDevice.Cpu);
        JanusFiles.Save(model, Path.Combine(folder, "base"), JanusLayout.Native);
        return input =>
        {
            File.WriteAllBytes(Path.Combine(folder, "adapter_config.json"), input);
            using var fresh = JanusFiles.Load(Path.Combine(folder, "base"), TestDevice.Cpu);
            PeftAdapter.Read(folder).MergeInto(fresh);
        };
    }
}
