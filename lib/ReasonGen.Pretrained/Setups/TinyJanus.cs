using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Native;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using static TorchSharp.torch;

namespace ReasonGen.Setups;

/// <summary>
/// A Janus of 0.4 million random weights, complete as a folder, in the format of the published ones: what commands and
/// notebooks run on where no real model is at hand. It writes and draws noise. Its tokenizer knows every byte and the
/// special tokens, and merges nothing.
/// </summary>
public static class TinyJanus
{
    private static readonly string[] Special =
    [
        JanusChat.Bos, JanusChat.Eos, JanusChat.Pad, JanusChat.BeginOfImage, JanusChat.EndOfImage,
        JanusChat.ImagePlaceholder,
        JanusChat.User, JanusChat.Assistant,
    ];

    /// <summary>Its sizes: images of 32x32 pixels and 16 tokens; it looks at images of 32x32 pixels and 16
    /// patches.</summary>
    public static JanusConfig Config { get; } = new()
    {
        Language = new()
        {
            VocabularySize = 256 + Special.Length, Width = 64, MlpWidth = 128, Layers = 2, Heads = 4, Positions = 4096,
        },
        ImageTokenizer = new()
        {
            CodebookSize = 64, Channels = 32, Multipliers = [1, 1, 1, 1], ResidualBlocks = 1, LatentChannels = 32,
        },
        Vision = new()
        {
            Name = "siglip_tiny", ImageSize = 32, PatchSize = 8, Width = 32, Layers = 2, Heads = 2, MlpRatio = 2,
        },
        ImageTokens = 16,
    };

    /// <summary>Writes config.json, weights and tokenizer.json.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">The folder cannot be written.</exception>
    /// <returns>The folder.</returns>
    public static string Write(string folder, long seed = 1)
    {
        using var model = Build(seed);
        JanusFiles.Save(model, folder, JanusLayout.Original);
        AtomicFile.Write(Path.Combine(folder, "tokenizer.json"), Tokenizer().ToString());
        return folder;
    }

    /// <summary>Opens it without a folder of one's own.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">The folder for temporary files cannot be used.</exception>
    public static JanusPipeline Open(ComputeTarget? target = null)
    {
        string folder;
        try
        {
            folder = Directory.CreateTempSubdirectory("reasongen-janus-tiny").FullName;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new Checkpoints.UnusableFileException(Path.GetTempPath(),
                $"the folder for temporary files cannot be used: {e.Message.TrimEnd('.')}",
                "make it, or set TMPDIR to a folder that can be written", e);
        }

        try
        {
            return JanusPipeline.Open(Write(folder), target);
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    /// <summary>The model alone, in fp32 on the CPU.</summary>
    public static Janus Build(long seed = 1)
    {
        NativeRuntime.EnsureLoaded();
        var model = new Janus(Config, new ComputeTarget(CPU, ScalarType.Float32));
        using var free = no_grad();
        Initializer.Apply(model.named_parameters().Select(p => (p.name, p.parameter)), seed, (name, shape) =>
        {
            var inputs = shape.Skip(1).Aggregate(1L, (product, size) => product * size);
            return name.Contains("embed") && !name.Contains("patch_embed") ? 1 : 1.5 / Math.Sqrt(inputs);
        });
        return model;
    }

    /// <summary>The tokenizer.json.</summary>
    public static JObject Tokenizer()
    {
        // each byte as the one character that byte-level vocabularies write for it
        var bytes = Enumerable.Range(0, 256).Select(b => ByteLevelBpe.Character((byte)b).ToString())
            .Order(StringComparer.Ordinal);
        JObject Added(string text, int id) => new()
        {
            ["id"] = id, ["content"] = text, ["single_word"] = false, ["lstrip"] = false, ["rstrip"] = false,
            ["normalized"] = false,
            ["special"] = true,
        };
        JObject ByteLevel() =>
            new()
            {
                ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["trim_offsets"] = true, ["use_regex"] = false,
            };
        return new()
        {
            ["version"] = "1.0", ["added_tokens"] = new JArray(Special.Select((text, i) => Added(text, 256 + i))),
            ["normalizer"] = null,
            ["pre_tokenizer"] = ByteLevel(), ["post_processor"] = ByteLevel(), ["decoder"] = ByteLevel(),
            ["model"] = new JObject
            {
                ["type"] = "BPE", ["vocab"] = new JObject(bytes.Select((text, id) => new JProperty(text, id))),
                ["merges"] = new JArray(),
            },
        };
    }
}
