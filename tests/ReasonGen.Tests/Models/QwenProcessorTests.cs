using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Qwen;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

public sealed class QwenProcessorTests
{
    [Fact]
    [Trait("Category", "Golden")]
    public void Sizes_equal_the_reference()
    {
        var json = Golden.Json("qwen25vl/smart_resize");
        foreach (var (bounds, limits) in (JObject)json["bounds"]!)
        {
            var processor =
                new QwenProcessor { MinPixels = (int)limits!["min_pixels"]!, MaxPixels = (int)limits["max_pixels"]! };
            foreach (var (size, result) in json["sizes"]!.Paired(json["versions"]!["4.51.0"]!))
            {
                int height = (int)size[0]!, width = (int)size[1]!;
                if (result[bounds] is JArray expected)
                {
                    Assert.Equal(((int)expected[0]!, (int)expected[1]!), processor.SmartSize(height, width));
                }
                else
                {
                    Assert.Contains($"{width}x{height}",
                        Assert.Throws<ArgumentException>(() => processor.SmartSize(height, width)).Message);
                }
            }
        }
    }

    /// <summary>Later versions read some images that the reference cannot; all others in the same size.</summary>
    [Fact]
    [Trait("Category", "Golden")]
    public void Sizes_are_those_of_later_versions_or_none()
    {
        var json = Golden.Json("qwen25vl/smart_resize");
        foreach (var version in ((JObject)json["versions"]!).Properties())
        {
            foreach (var (size, result) in json["sizes"]!.Paired(version.Value))
            {
                foreach (var (bounds, limits) in (JObject)json["bounds"]!)
                {
                    var processor = new QwenProcessor
                    {
                        MinPixels = (int)limits!["min_pixels"]!, MaxPixels = (int)limits["max_pixels"]!,
                    };
                    (int Height, int Width) read = default;
                    var refused = Record.Exception(() =>
                    {
                        read = processor.SmartSize((int)size[0]!, (int)size[1]!);
                    });
                    if (refused is null && read is { Height: > 0, Width: > 0 })
                    {
                        Assert.Equal([read.Height, read.Width], result[bounds]!.Select(side => (int)side));
                    }
                }
            }
        }
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void Pixels_equal_the_reference()
    {
        using var scope = NewDisposeScope();
        var processor = QwenProcessor.FromJson(Golden.Json("qwen25vl/preprocessor_config"));
        var t = Golden.Tensors("qwen25vl/processor");
        var names = t.Keys.Select(key => key.Split('.')[0]).Distinct().Order().ToArray();
        var images = names.Select(name => QwenFixture.Read(Golden.Path($"qwen25vl/images/{name}.png"))).ToArray();
        foreach (var (name, image) in names.Paired(images))
        {
            var (patches, grids) = processor.Process([image]);
            Assert.Equal(QwenFixture.Grids(t[name + ".grid_thw"]), grids);
            Golden.Close(t[name + ".pixel_values"], patches, 1e-6, name);
        }

        var all = processor.Process(images);
        Golden.Close(cat(names.Select(name => t[name + ".pixel_values"]).ToArray()), all.Patches, 1e-6, "all at once");
        Golden.Equal(cat([all.Patches, all.Patches]), processor.Process([.. images, .. images]).Patches, "twice");
    }

    [Theory]
    [InlineData("""{ "size": { "shortest_edge": 1000, "longest_edge": 200704 } }""", 1000, 200704)]
    [InlineData("""{ "size": { "shortest_edge": 1000, "longest_edge": 200704 }, "max_pixels": 5000 }""", 1000, 5000)]
    [InlineData("{}", 3136, 1003520)]
    public void Bounds_are_read_where_older_and_newer_libraries_write_them(string json, int least, int most)
    {
        var read = QwenProcessor.FromJson(JObject.Parse(json));
        Assert.Equal((least, most), (read.MinPixels, read.MaxPixels));
    }

    [Theory]
    [InlineData("""{ "image_processor": { "size": { "shortest_edge": 50176, "longest_edge": 200704 } } }""", 50176)]
    [InlineData("""{ "image_processor": "Qwen2VLImageProcessor" }""", 1568)]
    [InlineData("""{ "processor_class": "Qwen2_5_VLProcessor" }""", 1568)]
    public void Settings_within_processor_config_go_before_those_of_preprocessor_config(string newer, int least)
    {
        using var folder = new Host.TestFolder();
        folder.Write("processor_config.json", newer);
        folder.Write("preprocessor_config.json", """{ "min_pixels": 1568 }""");
        Assert.Equal(least, QwenProcessor.Read(folder.Path, new()).MinPixels);
        File.Delete(folder.At("preprocessor_config.json"));
        Assert.Equal(least == 1568 ? 3136 : least, QwenProcessor.Read(folder.Path, new()).MinPixels);
    }

    [Theory]
    [InlineData("do_resize", "false")]
    [InlineData("do_rescale", "false")]
    [InlineData("do_normalize", "false")]
    [InlineData("rescale_factor", "0.00784313725490196")]
    [InlineData("resample", "2")]
    public void A_step_that_is_switched_off_or_another_is_refused(string step, string value) => Assert.Contains(step,
        Assert.Throws<UnusableFileException>(() => QwenProcessor.FromJson(new() { [step] = JToken.Parse(value) }))
            .Message);

    [Fact]
    public void What_newer_libraries_write_of_the_same_steps_is_read() => Assert.Equal(14, QwenProcessor.FromJson(
        JObject.Parse("""
            {
              "do_convert_rgb": true, "do_normalize": true, "do_rescale": true, "do_resize": true,
              "merge_size": 2, "patch_size": 14, "resample": 3, "rescale_factor": 0.00392156862745098,
              "size": { "longest_edge": 12845056, "shortest_edge": 3136 }, "temporal_patch_size": 2
            }
            """)).PatchSize);

    [Fact]
    public void Images_of_one_size_are_processed_as_one_by_one()
    {
        var random = new Random(3);
        var images = Enumerable.Range(0, 3)
            .Select(_ => { var rgb = new byte[32 * 32 * 3]; random.NextBytes(rgb); return new RgbImage(32, 32, rgb); })
            .ToArray();
        var processor = QwenProcessor.For(QwenConfig.Mini(100, 32, 1, 32, 1).Vision);
        using var scope = NewDisposeScope();
        var (patches, grids) = processor.Process(images);
        Assert.Equal(Enumerable.Repeat(new PatchGrid(1, 4, 4), 3), grids);
        Golden.Equal(cat(images.Select(image => processor.Process([image]).Patches).ToArray()), patches);
    }
}
