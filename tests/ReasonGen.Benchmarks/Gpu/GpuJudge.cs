using ReasonGen.Qwen;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks.Gpu;

/// <summary>A judge of the shape of Qwen2.5-VL-7B: images and question to the first token of the answer.</summary>
internal static class GpuJudge
{
    internal static void Run()
    {
        using var free = no_grad();
        using var model = GpuModels.NewJudge();
        foreach (var images in GpuCheck.Small ? new[] { 2, 8 } : [8, 64])
        {
            using var scope = NewDisposeScope();
            var input = Input(images);
            var seconds = GpuCheck.Seconds(() => model.Generate(input, 1));
            GpuCheck.Say(new
            {
                part = "judge", shape = "7b", images, tokens = input.Ids.numel(), ms = 1e3 * seconds,
                    images_per_s = images / seconds,
            });
        }
    }

    /// <summary>Images of 392 pixels a side, 196 tokens each, between 40 and 80 tokens of text.</summary>
    internal static QwenInput Input(int images)
    {
        var config = GpuModels.Judge;
        var (device, vision, side) = (GpuCheck.Target.Device, config.Vision, GpuCheck.Small ? 4 : 28);
        var merged = side * side / (vision.MergeSize * vision.MergeSize);
        Tensor Text(int tokens) => randint(10, 1000, [images, tokens], ScalarType.Int64, device: device);
        var ids = cat([Text(39), full([images, 1], (long)config.VisionStart, ScalarType.Int64, device),
            full([images, merged], (long)config.ImageToken, ScalarType.Int64, device), Text(80)], 1);
        var values = 3 * vision.TemporalPatchSize * vision.PatchSize * vision.PatchSize;
        return new(ids, ones_like(ids), randn([images * side * side, values], device: device),
            [.. Enumerable.Repeat(new PatchGrid(1, side, side), images)]);
    }
}
