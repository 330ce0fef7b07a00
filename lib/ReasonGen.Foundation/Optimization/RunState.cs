using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Ranks;
using Parameter = TorchSharp.Modules.Parameter;
using static TorchSharp.torch;

namespace ReasonGen.Optimization;

/// <summary>
/// All that an interrupted training run needs to go on to the same numbers: weights, optimizer state, and a json of
/// counters and settings. One safetensors file with a checksum, so that it is there whole or not at all.
/// </summary>
public static class RunState
{
    private const string Key = "reasongen_state", Mine = "optimizer.";

    /// <param name="path">The file; its folder is made when missing.</param>
    /// <param name="weights">What is trained.</param>
    /// <param name="optimizer">Its moments and steps are kept too.</param>
    /// <param name="state">Counters and settings.</param>
    /// <param name="more">Tensors that are neither weights nor the optimizer's.</param>
    /// <param name="ranks">The ranks that train together: all call it, the first writes, the others wait.</param>
    /// <exception cref="UnusableFileException">The file cannot be written; an earlier state stays as it
    /// was.</exception>
    public static void Save(string path, IEnumerable<(string Name, Parameter Parameter)> weights, AdamW optimizer,
        JObject state, IReadOnlyDictionary<string, Tensor>? more = null, IRankGroup? ranks = null)
    {
        state = (JObject)state.DeepClone();
        state["optimizer_steps"] = optimizer.StepCount;
        using var scope = NewDisposeScope();
        var tensors = Targets(weights, optimizer.WholeState(), more);
        try
        {
            (ranks ?? Alone.Group).ByFirst(
                () => ChecksummedFile.Save(path, tensors, [(Key, state.ToString(Formatting.None))]), "saved state");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the run's state could not be saved: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written; what was saved before is intact, and the run goes "
                + "on from there", e);
        }
    }

    /// <summary>Reads a state, looks whether it fits, and only then fills weights and optimizer.</summary>
    /// <param name="path">The file.</param>
    /// <param name="weights">As they were saved.</param>
    /// <param name="optimizer">As it was saved.</param>
    /// <param name="read">Takes what it needs from the json; throws where that is of another run. Nothing has been
    /// changed when it is called.</param>
    /// <param name="more">As they were saved.</param>
    /// <returns>What <paramref name="read"/> gave.</returns>
    /// <exception cref="UnusableFileException">The file is missing, damaged, of another model or run, or no run state;
    /// nothing was changed.</exception>
    public static T Load<T>(string path, IEnumerable<(string Name, Parameter Parameter)> weights, AdamW optimizer,
        Func<JObject, T> read,
        IReadOnlyDictionary<string, Tensor>? more = null)
    {
        if (!SafetensorsHeader.Read(path).Metadata.TryGetValue(Key, out var text))
        {
            throw new UnusableFileException(path, "it holds weights, but not the state of a run",
                "give the file that a trainer's Save wrote");
        }

        ChecksummedFile.Verify(path);
        var (targets, files) = (Targets(weights, optimizer.State(), more), CheckpointFiles.Open(path));
        bool Elsewhere(string name) => name.StartsWith(Mine, StringComparison.Ordinal)
            && optimizer.IsElsewhere(name[Mine.Length..]);
        files.Check(targets, Elsewhere);
        try
        {
            var state = JObject.Parse(text);
            var (result, steps) = (read(state), Count(state, "optimizer_steps"));
            files.LoadInto(targets, Elsewhere, finite: false);
            optimizer.StepCount = steps;
            return result;
        }
        catch (Exception e)
            when (e is JsonException or ArgumentException or FormatException or OverflowException
                or InvalidCastException or NullReferenceException)
        {
            throw new UnusableFileException(path, $"its run state is damaged: {e.Message.TrimEnd('.')}",
                "resume from an earlier state, or begin the run anew", e);
        }
    }

    /// <summary>A counter of a state's json.</summary>
    /// <exception cref="FormatException">It is no whole number of at least 0.</exception>
    public static long Count(JObject state, string name) =>
        state[name] is JValue { Value: long and >= 0 and var count } ? (long)count
        : throw new FormatException(
            $"its '{name}' is {state[name]?.ToString(Formatting.None) ?? "missing"}, where there should be a whole "
            + $"number of at least 0");

    /// <summary>Compares the settings of the run with those of now.</summary>
    /// <param name="path">The state, for the message.</param>
    /// <param name="was">Those of the run.</param>
    /// <param name="now">Those of now.</param>
    /// <param name="free">Names of those that may differ.</param>
    /// <exception cref="UnusableFileException">They differ; all differences are listed.</exception>
    public static void ExpectSettings(string path, JToken? was, JToken now, params string[] free)
    {
        foreach (var settings in new[] { was, now }.OfType<JObject>())
        {
            Array.ForEach(free, name => settings.Remove(name));
        }

        if (SettingsDifference.Of(was, now) is { Count: > 0 } different)
        {
            throw new UnusableFileException(path,
                $"the run was made with other settings: {string.Join("; ", different)}",
                "resume with those settings, or begin the run anew in another folder");
        }
    }

    private static Dictionary<string, Tensor> Targets(IEnumerable<(string Name, Parameter Parameter)> weights,
        Dictionary<string, Tensor> optimizer, IReadOnlyDictionary<string, Tensor>? more)
    {
        var tensors = weights.ToDictionary(pair => pair.Name, pair => (Tensor)pair.Parameter);
        foreach (var (name, tensor) in optimizer.Select(pair => (Mine + pair.Key, pair.Value))
            .Concat(more?.Select(pair => (pair.Key, pair.Value)) ?? []))
        {
            tensors.Add(name, tensor);
        }

        return tensors;
    }
}
