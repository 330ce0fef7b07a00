using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using Parameter = TorchSharp.Modules.Parameter;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// All that an interrupted training run needs to go on to the same numbers: weights, optimizer state, and a json of counters and settings.
/// One safetensors file, so that it is there whole or not at all.
/// </summary>
public static class RunState
{
    private const string Key = "reasongen_state";

    /// <exception cref="CheckpointException">The file cannot be written; an earlier state stays as it was.</exception>
    public static void Save(string path, IEnumerable<(string Name, Parameter Parameter)> weights, AdamW optimizer, JObject state)
    {
        state = (JObject)state.DeepClone();
        state["optimizer_steps"] = optimizer.StepCount;
        var tensors = Targets(weights, optimizer);
        Safetensors.Save(path, tensors, new Dictionary<string, string> { [Key] = state.ToString(Formatting.None) });
    }

    /// <summary>Fills weights and optimizer, and gives the json back.</summary>
    /// <exception cref="CheckpointException">The file is missing, unsound, of another model, or no run state.</exception>
    public static JObject Load(string path, IEnumerable<(string Name, Parameter Parameter)> weights, AdamW optimizer)
    {
        var header = SafetensorsHeader.Read(path);
        if (!header.Metadata.TryGetValue(Key, out var text))
        {
            throw new CheckpointException(path, "it holds weights, but not the state of a run", "give the file that a trainer's Save wrote");
        }

        JObject state;
        try
        {
            state = JObject.Parse(text);
            optimizer.StepCount = (long)state["optimizer_steps"]!;
        }
        catch (Exception e) when (e is JsonException or ArgumentNullException or FormatException)
        {
            throw new CheckpointException(path, $"its run state is damaged: {e.Message}", "resume from an earlier state", e);
        }

        Safetensors.LoadInto(Targets(weights, optimizer), path);
        return state;
    }

    private static Dictionary<string, Tensor> Targets(IEnumerable<(string Name, Parameter Parameter)> weights, AdamW optimizer)
    {
        var tensors = weights.ToDictionary(pair => pair.Name, pair => (Tensor)pair.Parameter);
        foreach (var (name, tensor) in optimizer.State())
        {
            tensors.Add("optimizer." + name, tensor);
        }

        return tensors;
    }
}
