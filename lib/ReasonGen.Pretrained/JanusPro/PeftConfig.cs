using System.Text.RegularExpressions;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;

namespace ReasonGen.JanusPro;

/// <summary>adapter_config.json of the PEFT library: what it asks of the additions, all of it or an error.</summary>
internal sealed class PeftConfig
{
    internal const string FileName = "adapter_config.json";

    // what is read here, and what changes nothing that the model computes
    private static readonly string[] Known =
    [
        "peft_type", "peft_version", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "use_dora",
        "use_rslora", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save", "bias",
        "inference_mode", "init_lora_weights", "auto_mapping", "task_type", "revision", "megatron_core",
        "qalora_group_size", "layers_pattern", "layers_to_transform", "loftq_config", "eva_config", "corda_config",
        "lora_ga_config", "ensure_weight_tying", "runtime_config",
    ];

    // How additions may have begun (init_lora_weights), besides true, false and null. With every other beginning
    // (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) the library changes the base's own weights, when it loads the adapter, too
    // (peft: LoraLayer.update_layer), so that W + s B A would be another model.
    private static readonly string[] Beginnings = ["gaussian", "eva", "orthogonal"];

    private readonly ConfigSection section;
    private readonly bool rankIsRooted; // use_rslora

    /// <exception cref="UnusableFileException">It is missing or damaged, or asks for what is not
    /// implemented.</exception>
    internal PeftConfig(string folder)
    {
        section = ConfigSection.Read(Path.Combine(folder, FileName));
        var json = section.Json;
        var type = Text("peft_type");
        string[] asks = type != "LORA" ? [type is null ? "a type that it does not say" : $"the type {type}"]
            : [.. json.Properties().Where(property => !Known.Contains(property.Name) && Says(property.Value))
                .Select(property => property.Name),
                .. json["bias"] is null or JValue { Value: null or "none" } ? [] : new[] { "bias" }];
        if (asks.Length > 0)
        {
            throw new UnusableFileException(section.Path,
                $"it asks for {string.Join(", ", asks)}, which is not implemented here",
                "merge it into its base where it was made, and give the merged folder");
        }

        if (json["init_lora_weights"] is { } begun && begun is not JValue { Value: null or bool }
            && !(Text("init_lora_weights") is { } name && Beginnings.Contains(name.ToLowerInvariant())))
        {
            throw new UnusableFileException(section.Path, "its additions were begun with init_lora_weights "
                + $"{begun.ToString(Formatting.None)}, for which PEFT changes the weights of the base itself when it "
                + $"loads them; that is not done here (read are true, false, {string.Join(", ", Beginnings)})",
                "merge it into its base where it was made, and give the merged folder; or save it there with "
                + "path_initial_model_for_weight_conversion, and give that adapter");
        }

        (Dora, rankIsRooted) = (section.Flag("use_dora", false), section.Flag("use_rslora", false));
        IsUniform = section["rank_pattern"].Json.Count + section["alpha_pattern"].Json.Count == 0;
    }

    /// <summary>The model that it is for: a folder, or the name that the library knew it by.</summary>
    internal string Base => Text("base_model_name_or_path") ?? "";

    internal int Rank => section.Json["r"] is JValue { Value: long and >= 1 and <= 65536 and var r } ? (int)(long)r
        : throw Wrong("r", "a whole number from 1 on");

    internal double Alpha => IsPositive(section.Json["lora_alpha"]) ? (double)section.Json["lora_alpha"]!
        : throw Wrong("lora_alpha", "a number above 0");

    internal bool Dora { get; }

    /// <summary>α of a LoRA that is always scaled by α / r.</summary>
    internal double PlainAlpha => rankIsRooted ? Alpha * Math.Sqrt(Rank) : Alpha;

    /// <summary>Whether ranks and α are the same everywhere.</summary>
    internal bool IsUniform { get; }

    /// <summary>Rank of the additions to a module.</summary>
    internal int RankOf(string module) => Pattern("rank_pattern", module) is { } own ? (int)own : Rank;

    /// <summary>s of the additions to a module.</summary>
    internal double ScaleOf(string module) => (Pattern("alpha_pattern", module) ?? Alpha)
        / (rankIsRooted ? Math.Sqrt(RankOf(module)) : RankOf(module));

    // the value of the first key that the module's name ends with, after a full stop; keys are expressions
    private double? Pattern(string name, string module)
    {
        foreach (var (key, value) in section[name].Json)
        {
            try
            {
                if (Regex.IsMatch(module, $@"^(?:.*\.)?(?:{key})$", RegexOptions.NonBacktracking))
                {
                    return IsPositive(value) ? (double)value! : throw Wrong(name, "numbers above 0");
                }
            }
            catch (Exception e) when (e is RegexParseException or NotSupportedException)
            {
                throw Wrong(name, "expressions that name modules");
            }
        }

        return null;
    }

    private string? Text(string name) => (section.Json[name] as JValue)?.Value as string;

    private static bool IsPositive(JToken? value) =>
        value is JValue { Value: long or double } number && double.IsFinite((double)number) && (double)number > 0;

    private static bool Says(JToken? value) => value is not (null or { Type: JTokenType.Null }
        or JValue { Value: false } or JContainer { Count: 0 });

    private UnusableFileException Wrong(string name, string right) => new(section.Path, $"its '{name}' is "
        + $"{section.Json[name]?.ToString(Formatting.None) ?? "missing"} where there should be {right}",
        "copy the adapter's own file again");
}
