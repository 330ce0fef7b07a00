using System.Text.RegularExpressions;
using ReasonGen.Checkpoints;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

/// <summary>What the file of an adapter adds to one module.</summary>
/// <param name="A">[r, in].</param>
/// <param name="B">[out, r].</param>
/// <param name="Magnitude">[out], of DoRA alone.</param>
internal readonly record struct PeftAddition(Tensor? A, Tensor? B, Tensor? Magnitude);

/// <summary>The tensors of an adapter, looked at beside the model that they are for.</summary>
internal sealed partial class PeftTensors
{
    internal const string Prefix = "base_model.model.";

    private readonly CheckpointFiles files;
    private readonly PeftConfig config;

    /// <summary>Reads all tensors into the dispose scope at hand.</summary>
    /// <exception cref="UnusableFileException">They are damaged, not finite, or do not fit the model.</exception>
    internal PeftTensors(CheckpointFiles files, PeftConfig config, Janus model)
    {
        (this.files, this.config) = (files, config);
        foreach (var (file, tensor) in files.Load())
        {
            if (!tensor.isfinite().all().ToBoolean())
            {
                throw new UnusableFileException(files.Path, $"'{file}' holds numbers that are not finite",
                    "copy the adapter again, or take an earlier one");
            }

            var name = file.StartsWith(Prefix, StringComparison.Ordinal) ? file[Prefix.Length..] : file;
            if (Addition().Match(name) is { Success: true, Groups: var part })
            {
                var known = Additions.GetValueOrDefault(part[1].Value);
                Additions[part[1].Value] = part[2].Value switch
                {
                    "A" => known with { A = tensor },
                    "B" => known with { B = tensor },
                    _ => known with { Magnitude = tensor },
                };
            }
            else
            {
                Whole[Saved().Replace(name, ".")] = tensor;
            }
        }

        var native = Additions.Keys.Concat(Whole.Keys).Any(name => name.StartsWith("model.", StringComparison.Ordinal));
        Weights = JanusFiles.Names(model, native ? JanusLayout.Native : JanusLayout.Original);
        Check();
    }

    /// <summary>Additions by module.</summary>
    internal Dictionary<string, PeftAddition> Additions { get; } = [];

    /// <summary>Weights that are replaced (modules_to_save).</summary>
    internal Dictionary<string, Tensor> Whole { get; } = [];

    /// <summary>The model's weights by the names of the adapter.</summary>
    internal IReadOnlyDictionary<string, Tensor> Weights { get; }

    /// <summary>The module of an addition; null for another tensor.</summary>
    internal static string? ModuleOf(string name) =>
        Addition().Match(name.StartsWith(Prefix, StringComparison.Ordinal) ? name[Prefix.Length..] : name)
            is { Success: true } match ? match.Groups[1].Value : null;

    private void Check()
    {
        string[] misfits = [.. Additions.Select(pair => Misfit(pair.Key, pair.Value)).OfType<string>(),
            .. Whole.Select(pair => !Weights.TryGetValue(pair.Key, out var weight) ? $"the model has no '{pair.Key}'"
                : pair.Value.shape.SequenceEqual(weight.shape) ? null : Shapes(pair.Key, pair.Value, weight))
                .OfType<string>()];
        if (misfits.Length > 0 || Additions.Count + Whole.Count == 0)
        {
            var more = misfits.Length > 5 ? $" and {misfits.Length - 5} more" : "";
            throw new UnusableFileException(files.Path, misfits.Length == 0 ? "it holds nothing"
                : $"it does not fit the model: {string.Join("; ", misfits.Take(5))}{more}",
                $"give it with the model that it was trained for{(config.Base == "" ? "" : $", '{config.Base}'")}");
        }
    }

    private string? Misfit(string module, PeftAddition addition)
    {
        if (!Weights.TryGetValue(module + ".weight", out var weight))
        {
            return $"the model has no '{module}'";
        }

        if (addition is not { A: { } a, B: { } b })
        {
            return $"'{module}' has but one of A and B";
        }

        if (a.dim() != 2 || b.dim() != 2 || weight.dim() != 2 || a.shape[0] != b.shape[1]
            || a.shape[1] != weight.shape[1] || b.shape[0] != weight.shape[0])
        {
            return Shapes(module, b, a, weight);
        }

        if (a.shape[0] != config.RankOf(module))
        {
            return $"'{module}' has rank {a.shape[0]}, the configuration says {config.RankOf(module)}";
        }

        if (config.Dora != addition.Magnitude is not null)
        {
            return $"'{module}' has {(config.Dora ? "no" : "a")} magnitude, and use_dora says otherwise";
        }

        return addition.Magnitude is { } m && m.numel() != weight.shape[0] ? Shapes(module, m, weight) : null;
    }

    private static string Shapes(string name, params Tensor[] tensors)
    {
        var shapes = tensors.Select(tensor => $"[{string.Join(", ", tensor.shape)}]");
        return $"'{name}' has shapes {string.Join(", ", shapes)} that do not belong together";
    }

    [GeneratedRegex(@"^(.*)\.lora_(A|B|magnitude_vector)(?:\.default)?(?:\.weight)?$")]
    private static partial Regex Addition();

    [GeneratedRegex(@"\.modules_to_save(?:\.default)?\.")]
    private static partial Regex Saved();
}
