// Low-rank additions in the files of the PEFT library (adapter_config.json, adapter_model.safetensors), of either
//   layout of Janus' names:
//   W ← W + s B A,  s = α / r, or α / √r (use_rslora); r and α of a module may stand in rank_pattern and alpha_pattern;
//   DoRA:  W ← m (W + s B A) / ‖W + s B A‖, the norm of each row;   modules_to_save: W ← what the file holds.
// All in fp32, rounded once to the type of W. What else a configuration asks for is refused by its name, not passed
//   over.
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
public sealed partial class PeftAdapter
{
    private const string ConfigFile = "adapter_config.json", Weights = "adapter_model.safetensors",
        TorchWeights = "adapter_model.bin", Prefix = "base_model.model.";

    // what neither changes what the model computes nor needs to be looked at
    private static readonly string[] Harmless =
    [
        "peft_type", "peft_version", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "use_dora",
        "use_rslora", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save", "bias",
        "inference_mode", "init_lora_weights", "auto_mapping", "task_type", "revision", "megatron_core",
        "qalora_group_size", "layers_pattern", "layers_to_transform", "loftq_config", "eva_config", "corda_config",
        "lora_ga_config", "ensure_weight_tying", "runtime_config",
    ];

    private readonly JObject config;
    private readonly CheckpointFiles files;

    private PeftAdapter(string folder, JObject config, CheckpointFiles files) =>
        (Folder, this.config, this.files) = (folder, config, files);

    public string Folder { get; }

    /// <summary>The model that it is for: a folder, or the name that the library knew it by.</summary>
    public string Base => (string?)config["base_model_name_or_path"] ?? "";

    /// <summary>Folder of <see cref="Base"/>, as it is named or seen from the adapter; null where there is
    /// none.</summary>
    public string? BaseFolder => Base.Length == 0 ? null
        : new[] { Base, Path.Combine(Folder, Base) }.FirstOrDefault(Directory.Exists);

    /// <summary>Whether a folder holds an adapter and no whole model.</summary>
    public static bool IsIn(string folder) => File.Exists(Path.Combine(folder, ConfigFile))
        && !File.Exists(Path.Combine(folder, "config.json"));

    /// <summary>The folder of its base.</summary>
    /// <param name="instead">A folder to take in its place.</param>
    /// <exception cref="UnusableFileException">There is none.</exception>
    public string FindBase(string? instead = null) => instead ?? BaseFolder ?? throw new UnusableFileException(Folder,
        Base.Length == 0 ? "it does not say of which model it is an adapter"
            : $"the model that it is an adapter of, '{Base}', is no folder here",
        $"download that model and merge the two: reasongen merge {Folder} --base MODEL --out MERGED");

    /// <summary>Reads configuration and names.</summary>
    /// <exception cref="UnusableFileException">A file is missing or unsound, or it asks for what is not
    /// implemented.</exception>
    public static PeftAdapter Read(string folder)
    {
        var path = Path.Combine(folder, ConfigFile);
        var config = ConfigSection.Read(path).Json;
        var weights = new[] { Weights, TorchWeights }.Select(name => Path.Combine(folder, name))
            .FirstOrDefault(File.Exists)
            ?? throw new UnusableFileException(folder, $"it has no {Weights}", "copy all files of the adapter");
        if ((string?)(config["peft_type"] as JValue) is var type && type != "LORA")
        {
            throw new UnusableFileException(path,
                $"it is an adapter of the type {type ?? "that it does not say"}, where only LORA is implemented",
                "merge it into its base where it was made, and give the merged folder");
        }

        string[] asks = [.. config.Properties()
            .Where(property => !Harmless.Contains(property.Name) && Says(property.Value))
            .Select(property => property.Name), .. Text(config["bias"]) is null or "none" ? Array.Empty<string>()
            : ["bias"]];
        return asks.Length == 0 ? new(folder, config, CheckpointFiles.Open(weights))
            : throw new UnusableFileException(path,
            $"it asks for {string.Join(", ", asks)}, which is not implemented here",
                "merge it into its base where it was made, and give the merged folder");
    }

    /// <summary>Makes the additions a permanent part of a model's weights.</summary>
    /// <exception cref="UnusableFileException">It is of another model, damaged or not finite; the model is as it
    /// was.</exception>
    public void MergeInto(Janus model)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var (modules, whole, names) = Sort(model);
        foreach (var (name, parts) in modules)
        {
            using var module = NewDisposeScope();
            var weight = names[name + ".weight"];
            var merged = weight.to(ScalarType.Float32).add(Product(parts, weight.device), Scale(name, parts.A!));
            if (parts.Magnitude is { } magnitude)
            {
                merged = merged.mul(magnitude.to(weight.device).to(ScalarType.Float32)
                    .div(merged.square().sum([1L]).sqrt()).unsqueeze(1));
            }

            weight.copy_(merged);
        }

        foreach (var (name, tensor) in whole)
        {
            names[name].copy_(tensor);
        }
    }

    /// <summary>Goes on training the additions: a LoRA with these values.</summary>
    /// <exception cref="UnusableFileException">It is of another model, or more than additions of one rank to all layers
    /// of a kind.</exception>
    public Lora Continue(Janus model)
    {
        using var scope = NewDisposeScope();
        var (modules, whole, _) = Sort(model);
        var settings = Config;
        var lora = new Lora(model, settings);
        try
        {
            var own = lora.TrainableParameters().ToDictionary(pair => pair.Name, pair => pair.Parameter);
            var held = modules.SelectMany(pair => new[] { ($"{OriginalName(pair.Key)}.lora_A.weight", pair.Value.A!),
                ($"{OriginalName(pair.Key)}.lora_B.weight", pair.Value.B!) }).ToDictionary();
            if (whole.Count > 0
                || modules.Values.Any(parts => parts.Magnitude is not null || parts.A!.shape[0] != settings.Rank)
                || !own.Keys.ToHashSet().SetEquals(held.Keys) || Says(config["alpha_pattern"]))
            {
                throw new UnusableFileException(Folder, "it is more than additions of one rank to every layer of a "
                    + "kind in the language model, "
                    + "which is all that training goes on with",
                    $"merge it first: reasongen merge {Folder} --out MERGED");
            }

            using var free = no_grad();
            foreach (var (name, parameter) in own)
            {
                parameter.copy_(held[name]);
            }

            return lora;
        }
        catch
        {
            lora.Dispose();
            throw;
        }
    }

    /// <summary>Rank, scale and targets, as training goes on with them.</summary>
    /// <exception cref="UnusableFileException">They are out of range.</exception>
    public LoraConfig Config
    {
        get
        {
            var rank = Rank;
            var settings = new LoraConfig
            {
                Rank = rank, Alpha = Flag("use_rslora") ? Alpha * Math.Sqrt(rank) : Alpha,
                Targets = [.. files.Entries.Select(entry => Addition().Match(entry.Name)).Where(match => match.Success)
                    .Select(match => match.Groups[1].Value).Select(name => name[(name.LastIndexOf('.') + 1)..])
                    .Distinct()
                    .OrderBy(name => Array.IndexOf([.. new LoraConfig().Targets], name))],
            };
            return settings.Targets.Count > 0 ? settings
                : throw new UnusableFileException(Folder, "it holds no additions", "copy all files of the adapter");
        }
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
        var tensors = lora.TrainableParameters()
            .Select(pair => KeyValuePair.Create(Prefix + Name(pair.Name), (Tensor)pair.Parameter)).ToArray();
        // an expression, since a bare list would put additions on the vision tower too
        var modules = tensors.Select(pair => Addition().Match(pair.Key)).Select(match => Regex.Replace(
            Regex.Escape(match.Groups[1].Value), @"\\\.\d+\\\.", @"\.\d+\.")).Distinct();
        var config = new JObject
        {
            ["peft_type"] = "LORA", ["base_model_name_or_path"] = Path.GetFullPath(baseModel), ["r"] = lora.Config.Rank,
            ["lora_alpha"] = lora.Config.Alpha % 1 == 0 ? new JValue((long)lora.Config.Alpha)
                : new JValue(lora.Config.Alpha),
            ["lora_dropout"] = 0.0, ["bias"] = "none", ["target_modules"] = $"({string.Join("|", modules)})",
            ["inference_mode"] = true, ["use_rslora"] = false, ["use_dora"] = false,
        };
        Safetensors.Save(Path.Combine(folder, Weights), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        try
        {
            AtomicFile.Write(Path.Combine(folder, ConfigFile), config.ToString(Formatting.Indented) + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(folder,
                $"it cannot be written: {e.Message.TrimEnd('.')}", "free space or choose a folder that can be written",
                    e);
        }
    }

    private int Rank => config["r"] is JValue { Value: long and >= 1 and <= 65536 and var r } ? (int)(long)r
        : throw Wrong("r", "a whole number from 1 on");

    private double Alpha => config["lora_alpha"] is JValue { Value: long or double } alpha && (double)alpha
        is var value && double.IsFinite(value) && value > 0
        ? value : throw Wrong("lora_alpha", "a number above 0");

    private UnusableFileException Wrong(string name, string right) => new(Path.Combine(Folder, ConfigFile),
        $"its '{name}' is {config[name]?.ToString(Formatting.None) ?? "missing"} where there should be "
            + $"{right}", "copy the adapter's own file again");

    private bool Flag(string name) => config[name] is JValue { Value: true };

    private static string? Text(JToken? token) => (token as JValue)?.Value as string;

    private static bool Says(JToken? value) => value switch
    {
        null or { Type: JTokenType.Null } => false,
        JValue { Value: false } => false,
        JContainer { Count: 0 } => false,
        _ => true,
    };

    private static Tensor Product((Tensor? A, Tensor? B, Tensor? Magnitude) parts, Device device) =>
        parts.B!.to(device).to(ScalarType.Float32).matmul(parts.A!.to(device).to(ScalarType.Float32));

    private double Scale(string module, Tensor a)
    {
        var rank = Pattern("rank_pattern", module) is { } own ? (int)own : Rank;
        if (a.shape[0] != rank)
        {
            throw new UnusableFileException(Folder,
                $"its additions to {module} have rank {a.shape[0]}, its configuration says {rank}",
                "copy configuration and weights of one adapter");
        }

        return (Pattern("alpha_pattern", module) ?? Alpha) / (Flag("use_rslora") ? Math.Sqrt(rank) : rank);
    }

    // the value of the first key that the module's name ends with, after a full stop; keys are expressions
    private double? Pattern(string name, string module)
    {
        foreach (var (key, value) in config[name] as JObject ?? [])
        {
            try
            {
                if (Regex.IsMatch(module, $@"^(?:.*\.)?(?:{key})$", RegexOptions.NonBacktracking))
                {
                    return value is JValue { Value: long or double } number && (double)number > 0
                        && double.IsFinite((double)number) ? (double)number
                        : throw Wrong(name, "numbers above 0");
                }
            }
            catch (Exception e) when (e is RegexParseException or NotSupportedException)
            {
                throw Wrong(name, "expressions that name modules");
            }
        }

        return null;
    }

    // additions by module and whole weights by name, checked against the model; and the model's tensors under the
    // adapter's names
    private (Dictionary<string, (Tensor? A, Tensor? B, Tensor? Magnitude)> Modules, Dictionary<string, Tensor> Whole,
        Dictionary<string, Tensor> Names)
        Sort(Janus model)
    {
        var modules = new Dictionary<string, (Tensor? A, Tensor? B, Tensor? Magnitude)>();
        var whole = new Dictionary<string, Tensor>();
        foreach (var (file, tensor) in files.Load())
        {
            var name = file.StartsWith(Prefix, StringComparison.Ordinal) ? file[Prefix.Length..] : file;
            if (!tensor.isfinite().all().ToBoolean())
            {
                throw new UnusableFileException(files.Path,
                    $"'{file}' holds numbers that are not finite", "copy the adapter again, or take an earlier one");
            }

            if (Addition().Match(name) is not { Success: true } match)
            {
                whole[Saved().Replace(name, ".")] = tensor;
                continue;
            }

            var parts = modules.GetValueOrDefault(match.Groups[1].Value);
            modules[match.Groups[1].Value] = match.Groups[2].Value switch
            {
                "A" => parts with { A = tensor }, "B" => parts with { B = tensor }, _ =>
                    parts with { Magnitude = tensor },
            };
        }

        string[] wanted = [.. modules.Keys.Select(module => module + ".weight"), .. whole.Keys];
        var layout = wanted.Any(name => name.StartsWith("model.", StringComparison.Ordinal)) ? JanusLayout.Native
            : JanusLayout.Original;
        var names = JanusFiles.Names(model, layout);
        string? Misfit(string name) => !names.TryGetValue(name, out var weight) ? $"the model has no '{name}'"
            : whole.TryGetValue(name, out var saved) ? saved.shape.SequenceEqual(weight.shape) ? null
            : Shapes(name, saved, weight)
            : modules[name[..^".weight".Length]] is not { A: { } a, B: { } b } parts
            ? $"'{name}' has but one of A and B"
            : a.dim() != 2 || b.dim() != 2 || weight.dim() != 2 || a.shape[0] != b.shape[1] || a.shape[1] !=
            weight.shape[1]
                || b.shape[0] != weight.shape[0] ? Shapes(name, b, a, weight)
            : Flag("use_dora") != parts.Magnitude is not null
            ? $"'{name}' has {(parts.Magnitude is null ? "no" : "a")} magnitude, use_dora says otherwise"
            : parts.Magnitude is { } m && m.numel() != weight.shape[0] ? Shapes(name, m, weight) : null;
        string[] misfits = [.. wanted.Select(Misfit).OfType<string>()];
        return wanted.Length > 0 && misfits.Length == 0 ? (modules, whole, names)
            : throw new UnusableFileException(files.Path,
            wanted.Length == 0 ? "it holds nothing"
                : $"it does not fit the model: {string.Join("; ", misfits.Take(5))}{(misfits.Length > 5 ? $" and {misfits.Length - 5} more" : "")}",
            $"give it with the model that it was trained for{(Base.Length > 0 ? $", '{Base}'" : "")}");
    }

    // of a module of the language model
    private static string OriginalName(string name) =>
        name.StartsWith("model.language_model.", StringComparison.Ordinal) ? "language_model.model."
            + name["model.language_model.".Length..]
        : name == "lm_head" ? "language_model.lm_head" : name;

    private static string Shapes(string name, params Tensor[] tensors) =>
        $"'{name}' has shapes {string.Join(", ", tensors.Select(tensor => $"[{string.Join(", ", tensor.shape)}]"))} "
            + $"that do not belong together";

    [GeneratedRegex(@"^(?:base_model\.model\.)?(.*)\.lora_(A|B|magnitude_vector)(?:\.default)?(?:\.weight)?$")]
    private static partial Regex Addition();

    [GeneratedRegex(@"\.modules_to_save(?:\.default)?\.")]
    private static partial Regex Saved();
}
