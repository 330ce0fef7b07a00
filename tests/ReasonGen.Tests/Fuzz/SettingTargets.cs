using ReasonGen.Checkpoints;
using ReasonGen.Host.Kernel;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Qwen;

namespace ReasonGen.Tests.Fuzz;

/// <summary>Configurations of models, and what prepares their images.</summary>
internal static class SettingTargets
{
    private static readonly RgbImage Image = new(9, 5, new byte[135]);

    internal static FuzzTarget[] All { get; } =
    [
        FuzzTarget.OfFile("janus-config", "config.json", () => Seeds.Golden("janus/checkpoint/config.json",
            "janus_hf/model/config.json"), path => _ = JanusFiles.ReadConfig(Path.GetDirectoryName(path)!)),
        FuzzTarget.OfFile("janus-preprocessor", "preprocessor_config.json", () =>
            Seeds.Golden("janus_hf/model/preprocessor_config.json"), path =>
        {
            var processor = ImageProcessor.Read(Path.GetDirectoryName(path)!, 64);
            _ = processor.Background;
            processor.PixelValues([processor.Prepare(Image)], TorchSharp.torch.CPU).Dispose();
        }),
        FuzzTarget.OfFile("qwen-config", "config.json", () => Seeds.Golden("qwen25vl/untied/config.json",
            "qwen25vl/tied_sharded/config.json"), path => _ = QwenConfig.FromFolder(Path.GetDirectoryName(path)!)),
        FuzzTarget.OfFile("qwen-preprocessor", "preprocessor_config.json", () =>
            Seeds.Golden("qwen25vl/preprocessor_config.json"), path =>
            _ = QwenProcessor.FromJson(ConfigSection.Read(path).Json).SmartSize(30, 40))
                with { Refusals = [typeof(UnusableFileException), typeof(ArgumentException)] },
        FuzzTarget.OfFile("clip-config", "config.json", () => Seeds.Golden("clip/hf/config.json"), path =>
            _ = ClipConfigFiles.ReadHuggingFace(path)),
        FuzzTarget.OfFile("open-clip-config", "open_clip_config.json", () =>
            Seeds.Golden("clip/open_clip/open_clip_config.json"), path => _ = ClipConfigFiles.ReadOpenClip(path)),
        FuzzTarget.OfFile("detector-config", "config.json", () => Seeds.Golden("mask2former/hf/config.json"), path =>
            _ = Mask2FormerConfig.ReadHuggingFace(Path.GetDirectoryName(path)!)),
        FuzzTarget.OfFile("detector-preprocessor", "preprocessor_config.json", () =>
            Seeds.Golden("mask2former/hf/preprocessor_config.json"), path =>
            HuggingFaceImages.Read(path).Prepare(Image).Dispose()) with { Share = 0.2 },
        new("clip-vocabulary", () => [.. Seeds.Golden("clip/hf/vocab.json", "clip/hf/merges.txt")], Vocabulary)
            { Memory = (128 << 20, 1000), Share = 0.2 },
        FuzzTarget.OfFile("connection", "connection.json", () =>
            [Seeds.Json(Host.KernelClient.NewConnection().ToJson())], path => _ = KernelConnection.Read(path)) with
        {
            Tokens = ["\"ip\":\"0.0.0.0\"", "\"transport\":\"ipc\"", "\"key\":\"\"", "\"shell_port\":0"],
        },
    ];

    private static Action<byte[]> Vocabulary(string folder)
    {
        foreach (var name in new[] { "vocab.json", "merges.txt" })
        {
            File.Copy(Golden.Path($"clip/hf/{name}"), Path.Combine(folder, "sound-" + name));
        }

        return input =>
        {
            var damaged = input.AsSpan().TrimStart(" \n"u8).StartsWith("{"u8) ? "vocab.json" : "merges.txt";
            var other = damaged == "vocab.json" ? "merges.txt" : "vocab.json";
            File.WriteAllBytes(Path.Combine(folder, damaged), input);
            File.Copy(Path.Combine(folder, "sound-" + other), Path.Combine(folder, other), overwrite: true);
            _ = ClipTokenizer.Load(folder, ClipTextRules.HuggingFace).Encode("a red apple, 12 é😀");
        };
    }
}
