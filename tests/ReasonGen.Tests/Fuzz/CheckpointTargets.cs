using ReasonGen.Checkpoints;
using ReasonGen.Judges;
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Fuzz;

/// <summary>Weights, states of runs and tokenizers.</summary>
internal static class CheckpointTargets
{
    private static readonly string[] Instructions = ["ctorch._utils\n_rebuild_tensor_v2\n",
        "ccollections\nOrderedDict\n", "Rq\0", "(lp0\n", "\u0080\u0004", "cbuiltins\neval\n",
        "cnumpy.core.multiarray\n_reconstruct\n", "h\0", "s.", "u.", "0"];

    internal static FuzzTarget[] All { get; } =
    [
        new("safetensors", () => Seeds.Golden("safetensors/*.safetensors", "safetensors/invalid/*.safetensors"),
            folder => input =>
        {
            var path = Path.Combine(folder, "model.safetensors");
            File.WriteAllBytes(path, input.Length % 4 == 0 ? input : Seeds.WithHeaderLength(input));
            Load(path);
        })
        {
            Tokens = ["\"dtype\":\"F32\"", "\"shape\":[0]", "\"data_offsets\":[0,0]", "\"__metadata__\":{}",
                "\"F8_E4M3\""],
        },
        new("safetensors-index", () => Seeds.Golden("safetensors/sharded/*.json"), folder =>
        {
            foreach (var shard in Directory.GetFiles(Golden.Path("safetensors/sharded"), "*.safetensors"))
            {
                File.Copy(shard, Path.Combine(folder, Path.GetFileName(shard)));
            }

            return input =>
            {
                var index = Path.Combine(folder, "model.safetensors.index.json");
                File.WriteAllBytes(index, input);
                Load(index);
            };
        }) { Tokens = ["\"weight_map\":{}", "../", "/etc/passwd"] },
        FuzzTarget.OfFile("torch", "pytorch_model.bin", () => Seeds.Golden("torchbin/*.bin", "torchbin/malicious/*",
            "unidet/checkpoints/*.pth"), Load) with { Tokens = Instructions, Share = 2 },
        Inside("torch-pickle", "model.bin", ["torchbin/views.bin", "torchbin/parameters.bin", "torchbin/dtypes.bin",
            "torchbin/nested_model.bin", "torchbin/misc_values.bin", "torchbin/protocol5.bin"]),
        FuzzTarget.OfFile("torchscript", "cuda_tag.pt", () =>
            [File.ReadAllBytes(Golden.Path("clip/openai/cuda_tag.pt"))], Judge) with { Tokens = Instructions },
        Inside("torchscript-pickle", "cuda_tag.pt", ["clip/openai/cuda_tag.pt"]),
        new("run-state", States, State) { Tokens = ["\"optimizer_steps\":0", "\"step\":-1", "\"settings\":null"],
            Share = 0.5 },
        FuzzTarget.OfFile("tokenizer", "tokenizer.json", () => [.. Seeds.Golden("clip/hf/tokenizer.json"),
            Seeds.Json(Setups.TinyJanus.Tokenizer()), SmallTokenizers()], Tokenize) with
        {
            Tokens = ["\"model\":{\"type\":\"BPE\"}", "\"Regex\":\"(a+)+$\"", "\"Regex\":\"\\\\p{L}{0,99999}\"",
                "\"merges\":[]", "\"type\":\"ByteLevel\"", "\"behavior\":\"Isolated\"", "\"id\":2147483647",
                "\"added_tokens\":[]"],
        },
    ];

    private static FuzzTarget Inside(string name, string file, string[] archives) => new(name, () =>
        [.. archives.Select(archive => Seeds.Inside(archive, "data.pkl"))], folder => pickle =>
    {
        var path = Path.Combine(folder, file);
        File.WriteAllBytes(path, Seeds.Rezipped(archives[pickle.Length % archives.Length], "data.pkl", pickle));
        (file.EndsWith(".pt") ? (Action<string>)Judge : Load)(path);
    }) { Tokens = Instructions };

    private static void Load(string path)
    {
        foreach (var unwrap in new[] { true, false })
        {
            var files = CheckpointFiles.Open(path, unwrap);
            _ = files.Note;
            foreach (var tensor in files.Load().Values)
            {
                tensor.Dispose();
            }
        }
    }

    private static void Judge(string path)
    {
        var (files, _) = JudgeFiles.Open(path);
        foreach (var tensor in files.Load().Values)
        {
            tensor.Dispose();
        }
    }

    private static void Tokenize(string path)
    {
        var tokenizer = HuggingFaceTokenizer.Load(Path.GetDirectoryName(path)!);
        foreach (var text in new[] { "a red apple, 12 é😀\n\n  <x> ababcc", new string('a', 2000), "" })
        {
            _ = tokenizer.Pieces(text);
            _ = tokenizer.Decode(tokenizer.Encode(text), true);
        }
    }

    private static byte[] SmallTokenizers()
    {
        using var folder = new Host.TestFolder();
        Text.SmallTokenizer.Load(new DirectoryInfo(folder.Path),
            Text.SmallTokenizer.Split(@"\p{N}{1,3}| ?\p{L}+|\s+(?!\S)"));
        return File.ReadAllBytes(folder.At("tokenizer.json"));
    }

    private static ((string Name, TorchSharp.Modules.Parameter Parameter)[] Weights, AdamW Optimizer) Trained()
    {
        (string, TorchSharp.Modules.Parameter)[] weights = [("w", nn.Parameter(ones(3, 2))), ("b",
            nn.Parameter(zeros(2)))];
        return (weights, new AdamW(weights));
    }

    private static IReadOnlyList<byte[]> States()
    {
        using var folder = new Host.TestFolder();
        var (weights, optimizer) = Trained();
        RunState.Save(folder.At("state"), weights, optimizer,
            Newtonsoft.Json.Linq.JObject.Parse("{\"step\": 3, \"settings\": {\"rate\": 0.5}}"));
        return [File.ReadAllBytes(folder.At("state"))];
    }

    private static Action<byte[]> State(string folder)
    {
        var (weights, optimizer) = Trained();
        return input =>
        {
            var path = Path.Combine(folder, "state.safetensors");
            File.WriteAllBytes(path, input.Length % 4 == 0 ? input : Seeds.WithStateSum(input));
            RunState.Load(path, weights, optimizer, json =>
            {
                RunState.ExpectSettings(path, json["settings"], Newtonsoft.Json.Linq.JObject.Parse("{\"rate\": 0.5}"));
                return RunState.Count(json, "step");
            });
        };
    }
}
