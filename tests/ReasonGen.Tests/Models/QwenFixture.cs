using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Qwen;
using ReasonGen.Tests.Devices;
using SkiaSharp;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

/// <summary>The tiny Qwen2.5-VL of golden/qwen25vl, and its inputs.</summary>
internal static class QwenFixture
{
    internal static QwenVl Untied() => Model("untied");

    internal static QwenVl Model(string folder) =>
        QwenVl.Load(Golden.Path("qwen25vl/" + folder), TestDevice.Target);

    /// <summary>A case of logits.safetensors: text, and the pixels of its images.</summary>
    internal static QwenInput Input(Dictionary<string, Tensor> t, string name)
    {
        var pixels = Golden.Tensors("qwen25vl/processor");
        var images =
            Golden.Json("qwen25vl/cases")[name]!["images"]!.Select(image => pixels[$"{image}.pixel_values"]).ToArray();
        return new(t[name + ".input_ids"], t[name + ".attention_mask"], images.Length == 0 ? null : cat(images),
            t.TryGetValue(name + ".image_grid_thw", out var grids) ? Grids(grids) : []);
    }

    internal static PatchGrid[] Grids(Tensor grids) => Enumerable.Range(0, (int)grids.shape[0])
        .Select(i =>
            new PatchGrid((int)grids[i, 0].item<long>(), (int)grids[i, 1].item<long>(), (int)grids[i, 2].item<long>()))
            .ToArray();

    /// <summary>An image file; transparency is dropped, as the reference does.</summary>
    internal static RgbImage Read(string path)
    {
        using var codec = SKCodec.Create(path);
        var info = new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
        Xunit.Assert.Equal(SKCodecResult.Success, codec.GetPixels(info, out var pixels));
        return new RgbImage(info.Width, info.Height, [.. pixels.Where((_, i) => i % 4 != 3)]);
    }
}
