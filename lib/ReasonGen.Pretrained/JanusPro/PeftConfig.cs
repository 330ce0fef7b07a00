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

    private readonly string path;
    private readonly JObject json;

    /// <exception cref="UnusableFileException">It is missing or damaged, or asks for what is not
    /// implemented.</exception>
    internal PeftConfig(string folder)
    {
        path = Path.Combine(folder, FileName);
        json = ConfigSection.Read(path).Json;
        var type = Text("peft_type");
        string[] asks = type != "LORA" ? [type is null ? "a type that it does not say" : $"the type {type}"]
            : [.. json.Properties().Where(property => !Known.Contains(property.Name) && Says(property.Value))
                .Select(property => property.Name), .. Text("bias") is null or "none" ? [] : new[] { "bias" }];
        if (asks.Length > 0)
        {
            throw new UnusableFileException(path,
                $"it asks for {string.Join(", ", asks)}, which is not implemented here",
                "merge it into its base where it was made, and give the merged folder");
        }

        if (json["init_lora_weights"] is { } begun && begun is not JValue { Value: null or bool }
            && !(Text("init_lora_weights") is { } name && Beginnings.Contains(name.ToLowerInvariant())))
        {
            throw new UnusableFileException(path, "its additions were begun with init_lora_weights "
                + $"{begun.ToString(Formatting.None)}, for which PEFT changes the weights of the base itself when it "
                + $"loads them; that is not done here (read are true, false, {string.Join(", ", Beginnings)})",
                "merge it into its base where it was made, and give the merged folder; or save it there with "
                + "path_initial_model_for_weight_conversion, and give that adapter");
        }
    }

    /// <summary>The model that it is for: a folder, or the name that the library knew it by.</summary>
    internal string Base => Text("base_model_name_or_path") ?? "";

    internal int Rank => json["r"] is JValue { Value: long and >= 1 and <= 65536 and var r } ? (int)(long)r
        : throw Wrong("r", "a whole number from 1 on");

    internal double Alpha => IsPositive(json["lora_alpha"]) ? (double)json["lora_alpha"]!
        : throw Wrong("lora_alpha", "a number above 0");

    internal bool Dora => Flag("use_dora");

    /// <summary>α of a LoRA that is always scaled by α / r.</summary>
    internal double PlainAlpha => Flag("use_rslora") ? Alpha * Math.Sqrt(Rank) : Alpha;

    /// <summary>Whether ranks and α are the same everywhere.</summary>
    internal bool IsUniform => !Says(json["rank_pattern"]) && !Says(json["alpha_pattern"]);

    /// <summary>Rank of the additions to a module.</summary>
    internal int RankOf(string module) => Pattern("rank_pattern", module) is { } own ? (int)own : Rank;

    /// <summary>s of the additions to a module.</summary>
    internal double ScaleOf(string module) => (Pattern("alpha_pattern", module) ?? Alpha)
        / (Flag("use_rslora") ? Math.Sqrt(RankOf(module)) : RankOf(module));

    // the value of the first key that the module's name ends with, after a full stop; keys are expressions
    private double? Pattern(string name, string module)
    {
        foreach (var (key, value) in json[name] as JObject ?? [])
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

    private bool Flag(string name) => json[name] is JValue { Value: true };

    private string? Text(string name) => (json[name] as JValue)?.Value as string;

    private static bool IsPositive(JToken? value) =>
        value is JValue { Value: long or double } number && double.IsFinite((double)number) && (double)number > 0;

    private static bool Says(JToken? value) => value is not (null or { Type: JTokenType.Null }
        or JValue { Value: false } or JContainer { Count: 0 });

    private UnusableFileException Wrong(string name, string right) => new(path, $"its '{name}' is "
        + $"{json[name]?.ToString(Formatting.None) ?? "missing"} where there should be {right}",
        "copy the adapter's own file again");
}
