using ReasonGen.Checkpoints;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Layers;

/// <summary>Weights of a model under the names of a published file, given by a function from the model's own name of a
/// tensor to the file's: one, or those of a fused tensor's parts, in the order of its rows.</summary>
internal static class NamedWeights
{
    /// <summary>The weights under the file's names, as views of the model's own.</summary>
    internal static Dictionary<string, Tensor> Views(nn.Module model, Func<string, string[]> names) =>
        model.state_dict().SelectMany(pair => names(pair.Key) is { Length: > 1 } parts
            ? parts.Zip(pair.Value.detach().chunk(parts.Length), KeyValuePair.Create)
            : [KeyValuePair.Create(names(pair.Key)[0], pair.Value.detach())]).ToDictionary();

    /// <summary>Compares names and shapes of all that the model needs. What else a file holds is not read.</summary>
    /// <returns>Names of tensors that are not read.</returns>
    /// <exception cref="UnusableFileException">Weights are missing or of another shape.</exception>
    internal static string[] Check(CheckpointFiles files, nn.Module model, Func<string, string[]> names)
    {
        using var scope = NewDisposeScope();
        var needed = Views(model, names);
        files.Check(needed, name => !needed.ContainsKey(name));
        return [.. files.Entries.Select(entry => entry.Name).Where(name => !needed.ContainsKey(name))];
    }

    /// <summary>Fills a model that was built on the meta device.</summary>
    /// <exception cref="UnusableFileException">Weights are damaged or not finite.</exception>
    internal static T Fill<T>(CheckpointFiles files, T model, Device device, Func<string, string[]> names)
        where T : nn.Module
    {
        try
        {
            using var scope = NewDisposeScope();
            Dictionary<string, Tensor>? views = null;
            var needed = Views(model, names).Keys.ToHashSet();
            files.LoadInto(model, device, name => names(name) is [var whole] ? whole : null,
                () => views ??= Views(model, names), name => !needed.Contains(name));
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }
}

/// <summary>Sizes of a model from the names and shapes of a state dict.</summary>
internal sealed class CheckpointShapes(CheckpointFiles files)
{
    private readonly Dictionary<string, long[]> shapes = files.Entries.GroupBy(entry => entry.Name)
        .ToDictionary(group => group.Key, group => group.First().Shape);

    /// <summary>A tensor's sizes.</summary>
    /// <exception cref="UnusableFileException">It is missing, or has other dimensions or a size of 0.</exception>
    internal int[] Of(string name, int dimensions) => shapes.TryGetValue(name, out var shape)
        && shape.Length == dimensions && shape.All(size => size is > 0 and <= int.MaxValue)
        ? [.. shape.Select(size => (int)size)]
        : throw new UnusableFileException(files.Path, shape is null
            ? $"it lacks '{name}', which tells a size of the model"
            : $"its '{name}' is [{string.Join(", ", shape)}], not of {dimensions} sizes above 0",
            "check that it is the published file of this model");

    /// <summary>How many numbers follow a prefix: "visual_encoder.blocks.".</summary>
    internal int Blocks(string prefix) => shapes.Keys.Where(name => name.StartsWith(prefix, StringComparison.Ordinal))
        .Select(name => name[prefix.Length..].Split('.')[0]).Distinct().Count();
}
