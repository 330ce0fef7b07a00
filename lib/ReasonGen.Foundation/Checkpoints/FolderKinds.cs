using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Checkpoints;

/// <summary>Folders and weights that are handed in where a model is wanted, and are something else: what they are and
/// what to do.</summary>
internal static class FolderKinds
{
    internal const string Sharded =
        "It is one process's part of a training run that was spread over several (FSDP, DTensor): "
        + "merge the parts first, "
        + "those of verl with 'python -m verl.model_merger merge --backend fsdp --local_dir FOLDER --target_dir "
        + "MERGED'";

    private const string Adapter = "adapter_config.json";
    private static readonly string Downloads = Path.Combine(".cache", "huggingface", "download");

    private static readonly string[] Quantised = [".qweight", ".qzeros", ".SCB", ".absmax", ".weight_scale",
        ".weight_scale_inv"];

    // names of files, what they tell, what to do
    private static readonly (string Pattern, string What, string Remedy)[] Signs =
    [
        ("model_world_size_*_rank_*.pt", "it holds the parts of a training run of verl, one a process (FSDP)",
            "merge them with 'python -m verl.model_merger merge --backend fsdp --local_dir FOLDER --target_dir MERGED' "
            + "and give the merged folder"),
        ("*.distcp", "it holds a distributed checkpoint of torch, one part a process",
            "convert it with 'python -m torch.distributed.checkpoint.format_utils dcp_to_torch' and give the file "
            + "that makes"),
        ("*zero_pp_rank_*_optim_states.pt", "it holds the parts of a training run of DeepSpeed",
            "merge them with the zero_to_fp32.py that lies beside them"),
        ("mp_rank_*_model_states.pt", "it holds the parts of a training run of DeepSpeed",
            "merge them with the zero_to_fp32.py that lies beside them"),
        ("state.safetensors", "it is the folder of a training run",
            "give the folder model in it, or best, or one of its checkpoints"),
        ("*.gguf", "it holds GGUF files of llama.cpp", "use the safetensors or torch files of the same model"),
        ("*.msgpack", "it holds weights of Flax", "use the safetensors or torch files of the same model"),
        ("*.onnx", "it holds an ONNX graph", "use the safetensors or torch files of the same model"),
    ];

    /// <summary>What a folder is where it is no model's; null where nothing gives it away.</summary>
    internal static UnusableFileException? Explain(string folder)
    {
        if (!Directory.Exists(folder))
        {
            return null;
        }

        if (Directory.Exists(Path.Combine(folder, "snapshots")))
        {
            var snapshots =
                Directory.GetDirectories(Path.Combine(folder, "snapshots")).Order(StringComparer.Ordinal).ToArray();
            return new(folder,
                "it is a model's folder of the Hugging Face cache (blobs, refs, snapshots), whose files lie one "
                + "revision a folder",
                snapshots.Length > 0 ? $"give {string.Join(" or ", snapshots.Take(5))}"
                    : "download the model: it holds no revision");
        }

        if (Directory.GetDirectories(folder, "models--*") is { Length: > 0 } models)
        {
            return new(folder, $"it is the Hugging Face cache itself, with {models.Length} models",
                "give a revision's folder in it, such as "
                + $"{Path.Combine(models.Order(StringComparer.Ordinal).First(), "snapshots", "…")}");
        }

        if (File.Exists(Path.Combine(folder, Adapter)))
        {
            return new(folder, $"it is {DescribeAdapter(folder)}, not a whole model",
                "merge it into its base (reasongen merge, or PEFT's merge_and_unload) and give the merged folder");
        }

        var sign = Signs.FirstOrDefault(sign => Directory.GetFiles(folder, sign.Pattern).Length > 0);
        return sign.What is not null ? new(folder, sign.What, sign.Remedy)
            : Unfinished(folder) is not { } file ? null
            : new(folder, $"a download into it is not finished: '{file}'", "run the download again");
    }

    /// <summary>Whether a folder holds an adapter of PEFT, beside which a config.json may lie.</summary>
    /// <exception cref="UnusableFileException">It holds a whole model, too: which of the two is meant is not
    /// guessed.</exception>
    internal static bool IsAdapter(string folder) => DescribeAdapter(folder) is { } adapter
        && (IsModel(folder) ? throw new UnusableFileException(folder,
            $"a model and an adapter in one folder: beside config.json and whole weights lies {adapter}",
            $"move {Adapter} and adapter_model.* into a folder of their own: give that one for the model with the "
            + "adapter, or this one without them for the model as it is") : true);

    /// <summary>Whether a folder holds a model's configuration and weights other than those of an adapter.</summary>
    internal static bool IsModel(string folder) => File.Exists(Path.Combine(folder, "config.json"))
        && (CheckpointFiles.UsualNames.Any(name => File.Exists(Path.Combine(folder, name)))
            || Directory.GetFiles(folder, "*.safetensors").Any(file => !Path.GetFileName(file).StartsWith("adapter_")));

    /// <summary>A PEFT adapter in half a sentence; null where the folder holds none.</summary>
    internal static string? DescribeAdapter(string folder)
    {
        var path = Path.Combine(folder, Adapter);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            var json = JObject.Parse(File.ReadAllText(path));
            string Of(string key) => json[key]?.ToString(Formatting.None) ?? "not said";
            return $"a PEFT adapter (type {Of("peft_type")}, r {Of("r")}, alpha {Of("lora_alpha")}) "
                + $"for the base {Of("base_model_name_or_path")}";
        }
        catch (Exception e) when (e is JsonException || FileKinds.IsAboutFile(e))
        {
            return $"a PEFT adapter whose {Adapter} cannot be read";
        }
    }

    /// <summary>A file of a download that was broken off; null where there is none.</summary>
    internal static string? Unfinished(string folder) =>
        new[] { "", Downloads, Path.Combine(Downloads, "data") }.Select(place => Path.Combine(folder, place))
        .Where(Directory.Exists).SelectMany(place => new[] { "*.incomplete", "*.part", "*.aria2", "*.crdownload" }
            .SelectMany(pattern => Directory.GetFiles(place, pattern)))
            .Select(file => Path.GetRelativePath(folder, file)).FirstOrDefault();

    /// <summary>What the names of tensors tell of weights that fit no model as they are; null where nothing
    /// does.</summary>
    internal static (string What, string Remedy)? Explain(IEnumerable<TensorEntry> entries)
    {
        foreach (var name in entries.Select(entry => entry.Name))
        {
            if (name.Contains(".lora_A.") || name.Contains(".lora_B.") || name.Contains(".lora_magnitude_vector"))
            {
                return ("they are LoRA additions that were not merged",
                    "merge them into their base (reasongen merge, or PEFT's merge_and_unload) and give the merged "
                    + "folder");
            }

            if (Quantised.Any(end => name.EndsWith(end, StringComparison.Ordinal)) || name.Contains(".quant_state."))
            {
                return ("they are quantised, which is not read here",
                    "use the checkpoint of this model in bf16 or fp16");
            }
        }

        return null;
    }
}
