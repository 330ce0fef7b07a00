using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Tests.Devices;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

/// <summary>The small detector of the fixtures.</summary>
internal static class Mask2FormerFixture
{
    internal static ComputeTarget Target => TestDevice.Target;

    internal static string File => Golden.Path("mask2former/mmdet.pth");

    internal static Mask2FormerConfig Config { get; } = Read();

    internal static Mask2FormerConfig RealScale { get; } = Config with { LongSide = 1333, ShortSide = 800 };

    /// <summary>Packed bits, the first pixel in the highest, to a byte a pixel.</summary>
    internal static byte[] Bits(ReadOnlySpan<byte> packed, long pixels)
    {
        var bits = new byte[pixels];
        for (var i = 0; i < pixels; i++)
        {
            bits[i] = (byte)((packed[i / 8] >> (7 - i % 8)) & 1);
        }

        return bits;
    }

    /// <summary>Image of a tensor [h, w, 3] of bytes.</summary>
    internal static RgbImage Image(Tensor bytes) => new((int)bytes.shape[1], (int)bytes.shape[0], bytes.Values<byte>());

    /// <summary>The transformers library's folder with the same numbers: that of the fixtures, or one made by their
    /// rules of renaming.</summary>
    internal static string HuggingFaceFolder(string room)
    {
        var folder = Golden.Path("mask2former/hf");
        if (System.IO.File.Exists(Path.Combine(folder, "model.safetensors")))
        {
            return folder;
        }

        using var scope = NewDisposeScope();
        var renamed = CheckpointFiles.Open(File).Load().SelectMany(pair => Rename(pair.Key, pair.Value))
            .ToDictionary(pair => pair.Name, pair => pair.Part.contiguous());
        Safetensors.Save(Path.Combine(room, "model.safetensors"), renamed);
        foreach (var json in Directory.GetFiles(folder, "*.json"))
        {
            System.IO.File.Copy(json, Path.Combine(room, Path.GetFileName(json)));
        }

        return room;
    }

    /// <summary>Weights of the published size, by the rule of the fixtures' README.</summary>
    internal static Tensor ByRule(string name, long[] shape)
    {
        string[] plain = ["query_feat.weight", "query_embed.weight", "level_embed.weight", "level_encoding.weight",
            "relative_position_bias_table"];
        var gain = name.EndsWith("cls_embed.weight") || name.EndsWith("mask_embed.4.weight") ? 5
            : name.Contains("transformer_decoder") && (name.EndsWith("out_proj.weight")
                || name.EndsWith("layers.1.weight")) ? 0.4 : 1;
        return name == "panoptic_head.mask_embed.4.bias" ? Unit("panoptic_head.pixel_decoder.mask_feature.bias", shape,
            -1.2)
            : name.EndsWith("bias") ? Unit(name, shape, 0.1)
            : name.Contains("norm") || name.Contains(".gn.") ? Unit(name, shape, 0.2, 1)
            : plain.Any(name.EndsWith) ? Unit(name, shape, 1)
            : Unit(name, shape, gain * Math.Sqrt(3.0 * shape[0] / shape.Aggregate(1L, (product, size) =>
                product * size)));
    }

    /// <summary>factor · u + offset in double, rounded once; u by the rule of golden/janus/README.md.</summary>
    internal static Tensor Unit(string name, long[] shape, double factor, double offset = 0)
    {
        var hash = System.Text.Encoding.UTF8.GetBytes(name).Aggregate(0xcbf29ce484222325UL, (h, b) =>
            (h ^ b) * 0x100000001b3UL);
        var values = new float[shape.Aggregate(1L, (product, size) => product * size)];
        Parallel.For(0, 16, part =>
        {
            for (var i = values.LongLength * part / 16; i < values.LongLength * (part + 1) / 16; i++)
            {
                var x = hash + (ulong)(i + 1) * 0x9E3779B97F4A7C15UL;
                x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9UL;
                x = (x ^ (x >> 27)) * 0x94D049BB133111EBUL;
                x ^= x >> 31;
                values[i] = (float)(factor * ((x >> 40) / 8388608.0 - 1) + offset);
            }
        });
        return tensor(values, shape);
    }

    private static IEnumerable<(string Name, Tensor Part)> Rename(string name, Tensor tensor)
    {
        foreach (var rule in Golden.Json("mask2former/keymap")["rules"]!)
        {
            var pattern = Regex.Escape((string)rule["mmdet"]!).Replace(@"\{i}", @"(?<i>\d+)")
                .Replace(@"\{2i}", @"(?<d>\d+)").Replace(@"\{j}", @"(?<j>\d+)").Replace(@"\*", "(?<rest>.+)");
            if (Regex.Match(name, $"^{pattern}$") is not { Success: true } match)
            {
                continue;
            }

            var i = match.Groups["d"].Success ? int.Parse(match.Groups["d"].Value) / 2 : match.Groups["i"].Success
                ? int.Parse(match.Groups["i"].Value) : 0;
            string[] names = [.. (rule["hf"] is JArray several ? several.Select(one => (string)one!)
                : [(string)rule["hf"]!]).Select(one =>
                one.Replace("{i+1}", $"{i + 1}").Replace("{i}", $"{i}").Replace("{j}", match.Groups["j"].Value)
                    .Replace("*", match.Groups["rest"].Value))];
            return (string)rule["operation"]! switch
            {
                "copy" => [(names[0], tensor)],
                "split3" => names.Zip(tensor.chunk(3)),
                _ => [(names[0], tensor.view([.. tensor.shape[..^1], -1, 2, 2]).transpose(-3, -1)
                    .reshape(tensor.shape))],
            };
        }

        throw new InvalidOperationException($"no rule renames {name}");
    }

    private static Mask2FormerConfig Read()
    {
        var json = Golden.Json("mask2former/config");
        int Size(string key) => (int)json[key]!;
        return new()
        {
            Width = Size("embed_dims"), Depths = json["depths"]!.ToObject<int[]>()!,
                Heads = json["num_heads"]!.ToObject<int[]>()!, WindowSize = Size("window_size"),
            MlpRatio = (double)json["mlp_ratio"]!, Features = Size("feat_channels"), DecoderHeads =
                Size("attention_heads"), PixelLayers = Size("encoder_layers"),
            PixelMlpWidth = Size("encoder_ffn"), DecoderLayers = Size("decoder_layers"), DecoderMlpWidth =
                Size("decoder_ffn"), Queries = Size("num_queries"),
            Classes = Size("num_classes"), LongSide = json["img_scale"]!.Max(side => (int)side),
                ShortSide = json["img_scale"]!.Min(side => (int)side),
        };
    }
}
