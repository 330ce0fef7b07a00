// Low-rank additions in the files of the PEFT library (adapter_config.json, adapter_model.safetensors), under the names
// of either layout:
//   W ← W + s B A,  s = α / r, or α / √r (use_rslora); r and α of a module may stand in rank_pattern and alpha_pattern;
//   DoRA:  W ← m (W + s B A) / ‖W + s B A‖, the norm of each row;   modules_to_save: W ← what the file holds.
// All in fp32, rounded once to the type of W. What else a configuration asks for is refused by its name.
using System.Text.RegularExpressions;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

/// <summary>An adapter of the PEFT library for a Janus, and the way to write one.</summary>
public sealed class PeftAdapter
{
    private const string Weights = "adapter_model.safetensors", TorchWeights = "adapter_model.bin",
        Native = "model.language_model.", Original = "language_model.model.";

    private readonly PeftConfig config;
    private readonly CheckpointFiles files;

    private PeftAdapter(string folder, PeftConfig config, CheckpointFiles files) =>
        (Folder, this.config, this.files) = (folder, config, files);

    public string Folder { get; }

    /// <summary>Whether a folder holds an adapter and no whole model.</summary>
    /// <exception cref="UnusableFileException">It holds both: which of the two is meant is not guessed.</exception>
    public static bool IsIn(string folder) => FolderKinds.IsAdapter(folder);

    /// <summary>Reads configuration and names.</summary>
    /// <exception cref="UnusableFileException">A file is missing or unsound, or it asks for what is not
    /// implemented.</exception>
    public static PeftAdapter Read(string folder)
    {
        var config = new PeftConfig(folder);
        var weights = new[] { Weights, TorchWeights }.Select(name => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists)
            ?? throw new UnusableFileException(folder, $"it has no {Weights}", "copy all files of the adapter");
        return new(folder, config, CheckpointFiles.Open(weights));
    }

    /// <summary>The folder of the model that it is for, as it is named or seen from the adapter.</summary>
    /// <exception cref="UnusableFileException">There is none.</exception>
    public string FindBase()
    {
        string[] places = config.Base.Length == 0 ? [] : [config.Base, Path.Combine(Folder, config.Base)];
        var found = places.FirstOrDefault(Directory.Exists);
        if (found is not null && !IsIn(found))
        {
            return found;
        }

        var (what, remedy) =
            found is null ? ("no folder here", "download that") : ("an adapter itself", "take a whole");
        throw new UnusableFileException(Folder, $"it is {FolderKinds.DescribeAdapter(Folder)}, which is {what}",
            $"{remedy} model and merge the two: reasongen merge {Folder} --base MODEL --out MERGED (or PEFT's "
            + "merge_and_unload)");
    }

    /// <summary>Makes the additions a permanent part of a model's weights.</summary>
    /// <exception cref="UnusableFileException">It is of another model, damaged or not finite; the model is as it
    /// was.</exception>
    public void MergeInto(Janus model)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var tensors = new PeftTensors(files, config, model);
        var scales = tensors.Additions.Keys.ToDictionary(name => name, config.ScaleOf);
        foreach (var (name, addition) in tensors.Additions)
        {
            using var module = NewDisposeScope();
            var weight = tensors.Weights[name + ".weight"];
            Tensor Here(Tensor? tensor) => tensor!.to(weight.device).to(ScalarType.Float32);
            var merged = Here(weight).add(Here(addition.B).matmul(Here(addition.A)), scales[name]); // [out, in]
            if (config.Dora)
            {
                merged = merged * (Here(addition.Magnitude).view(-1) / merged.square().sum([1L]).sqrt()).unsqueeze(1);
            }

            weight.copy_(merged);
        }

        foreach (var (name, tensor) in tensors.Whole)
        {
            tensors.Weights[name].copy_(tensor);
        }
    }

    /// <summary>Rank, scale and targets, as training goes on with them.</summary>
    /// <exception cref="UnusableFileException">They are out of range.</exception>
    public LoraConfig Config
    {
        get
        {
            var usual = new LoraConfig().Targets.ToList();
            var targets = files.Entries.Select(entry => PeftTensors.ModuleOf(entry.Name)).OfType<string>()
                .Select(name => name[(name.LastIndexOf('.') + 1)..]).Distinct().OrderBy(usual.IndexOf).ToArray();
            return targets.Length > 0 ? new() { Rank = config.Rank, Alpha = config.PlainAlpha, Targets = targets }
                : throw new UnusableFileException(Folder, "it holds no additions", "copy all files of the adapter");
        }
    }

    /// <summary>Goes on training the additions: a LoRA with these values.</summary>
    /// <exception cref="UnusableFileException">It is of another model, or more than additions of one rank to all layers
    /// of a kind.</exception>
    public Lora Continue(Janus model)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var tensors = new PeftTensors(files, config, model);
        var held = tensors.Additions.SelectMany(pair => new[] { ("A", pair.Value.A!), ("B", pair.Value.B!) }
            .Select(part => (Name: $"{OriginalName(pair.Key)}.lora_{part.Item1}.weight", Tensor: part.Item2)))
            .ToDictionary(part => part.Name, part => part.Tensor);
        var lora = new Lora(model, Config);
        var own = lora.TrainableParameters().ToArray();
        if (config.Dora || !config.IsUniform || tensors.Whole.Count > 0
            || !own.Select(pair => pair.Name).ToHashSet().SetEquals(held.Keys))
        {
            lora.Dispose();
            throw new UnusableFileException(Folder, "it is more than additions of one rank to every layer of a kind in "
                + "the language model, which is all that training goes on with",
                $"merge it first: reasongen merge {Folder} --out MERGED");
        }

        foreach (var (name, parameter) in own)
        {
            parameter.copy_(held[name]);
        }

        return lora;
    }

    /// <summary>Writes additions as the library reads them.</summary>
    /// <param name="lora">The additions.</param>
    /// <param name="folder">Made when missing.</param>
    /// <param name="baseModel">Folder of the model that they are for.</param>
    /// <param name="layout">Names of that folder, and so of the classes that open it.</param>
    /// <exception cref="UnusableFileException">The folder cannot be written.</exception>
    public static void Save(Lora lora, string folder, string baseModel, JanusLayout layout)
    {
        string Name(string name) => layout == JanusLayout.Native ? JanusFiles.NativeName(name) : name;
        var tensors = lora.TrainableParameters().Select(pair =>
            KeyValuePair.Create(PeftTensors.Prefix + Name(pair.Name), (Tensor)pair.Parameter)).ToArray();
        // an expression, since a bare list would put additions on the vision tower too
        var modules = tensors.Select(pair => Regex.Replace(Regex.Escape(PeftTensors.ModuleOf(pair.Key)!),
            @"\\\.\d+\\\.", @"\.\d+\.")).Distinct();
        var alpha = lora.Config.Alpha;
        var json = new JObject
        {
            ["peft_type"] = "LORA", ["base_model_name_or_path"] = Path.GetFullPath(baseModel),
            ["r"] = lora.Config.Rank, ["lora_alpha"] = alpha % 1 == 0 ? new JValue((long)alpha) : new JValue(alpha),
            ["lora_dropout"] = 0.0, ["bias"] = "none", ["target_modules"] = $"({string.Join("|", modules)})",
            ["inference_mode"] = true, ["use_rslora"] = false, ["use_dora"] = false,
        };
        Safetensors.Save(Path.Combine(folder, Weights), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        try
        {
            AtomicFile.Write(Path.Combine(folder, PeftConfig.FileName), json.ToString(Formatting.Indented) + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(folder, $"it cannot be written: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written", e);
        }
    }

    // of a module of the language model
    private static string OriginalName(string name) =>
        name.StartsWith(Native, StringComparison.Ordinal) ? Original + name[Native.Length..]
            : name == "lm_head" ? "language_model.lm_head" : name;
}
