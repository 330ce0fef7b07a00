using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

[Trait("Category", "Golden")]
public sealed class SigLipGoldenTests
{
    [Fact]
    public void Tower_and_aligner_equal_the_reference()
    {
        using var model = JanusFixture.Load();
        var t = Golden.Tensors("siglip/tower");
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var parts = model.named_modules().ToDictionary(part => part.name, part => part.module);
        Tensor Run(string part, Tensor x) =>
            ((nn.Module<Tensor, Tensor>)parts["vision_model.vision_tower." + part]).forward(x);
        var x = Run("patch_embed", t["pixel_values"]);
        Golden.Close(t["patches"], x, 1e-4, "patches");
        x = x.add(model.state_dict()["vision_model.vision_tower.pos_embed"]);
        for (var i = 0; t.ContainsKey($"block.{i}"); i++)
        {
            x = Run($"blocks.{i}", x);
            Golden.Close(t[$"block.{i}"], x, 1e-4, $"block {i}");
        }

        Golden.Close(t["tower"], ((SigLip)parts["vision_model"]).forward(t["pixel_values"]), 1e-4, "tower");
        Golden.Close(t["aligned"], model.EmbedImages(t["pixel_values"]), 1e-4, "aligned");
    }

    [Fact]
    public void The_tower_of_published_size_equals_the_reference()
    {
        var t = Golden.Tensors("siglip/large");
        var pixels = Golden.Json("siglip/large")["pixels"]!;
        var shape = pixels["shape"]!.ToObject<long[]>()!;
        int width = (int)t["aligned_mean"].shape[1], visionWidth = (int)t["tower_mean"].shape[1];
        using var model = new Janus(new JanusConfig
        {
            Language = new() { VocabularySize = 2, Width = width, MlpWidth = 2, Layers = 1, Heads = 16 },
            ImageTokenizer = VqConfig.Mini, ImageTokens = 1,
            Vision = new()
            {
                ImageSize = (int)shape[2], Width = visionWidth, Heads = visionWidth / 64,
                Layers = (int)Golden.Json("siglip/large")["layers_built"]!,
            },
        }, JanusFixture.Target);
        using var free = no_grad();
        foreach (var (name, parameter) in model.named_parameters()
            .Where(p =>
                (p.name.StartsWith("vision_model") && !p.name.Contains("attn_pool")) || p.name.StartsWith("aligner")))
        {
            using var values = Golden.ByRule(name, parameter.shape);
            parameter.copy_(values);
        }

        using var scope = NewDisposeScope();
        var image = Golden.ByRule((string)pixels["name"]!, shape, scaled: false);
        var features =
            ((SigLip)model.named_children().Single(part => part.name == "vision_model").module).forward(image);
        var aligned = model.EmbedImages(image);
        foreach (var (name, actual) in new[] { ("tower", features), ("aligned", aligned) })
        {
            Golden.Close(t[name + "_rows"], actual[0].index_select(0, t["rows"]), 1e-4, name);
            Golden.Close(t[name + "_mean"], actual.mean([1L]), 1e-4, name + " mean");
        }
    }

    [Fact]
    public void Images_are_prepared_like_the_reference()
    {
        var json = Golden.Json("siglip/processor");
        var t = Golden.Tensors("siglip/processor");
        var configs = ((JObject)json["configs"]!).Properties().ToDictionary(p => p.Name, p => Processor(p.Value));
        foreach (var key in t.Keys.Where(key => key.EndsWith(".resized")).Some())
        {
            var parts = key.Split('.');
            Check(configs[parts[0]], ImageFile.Read(Golden.Path($"siglip/images/{parts[1]}.png")), t[key],
                t[key.Replace("resized", "pixel_values")], key);
        }

        foreach (var (name, processor) in configs)
        {
            Assert.Equal(json["configs"]![name]!["background_color"]!.Select(c => (byte)c),
                new[] { processor.Background.R, processor.Background.G, processor.Background.B });
        }

        // one of them made the sizes; which, only they say
        Assert.Contains(configs.Values, processor => json["sizes"]!.All(size =>
            processor.SizeOf((int)size["width"]!, (int)size["height"]!)
                == ((int)size["resized_width"]!, (int)size["resized_height"]!)
            && size["final"]!.Select(side => (int)side).SequenceEqual([processor.ImageSize, processor.ImageSize])));
    }

    [Fact]
    public void Small_images_are_prepared_like_the_reference()
    {
        Dictionary<string, Tensor> t = Golden.Tensors("resize/janus"), inputs = Golden.Tensors("resize/inputs");
        foreach (var key in t.Keys.Where(key => key.Contains(".resized_")).Some())
        {
            var (input, name) = (key.Split('.')[0], key.Split('_')[^1]);
            var processor = new ImageProcessor
            {
                ImageSize = (int)t[key].shape[1], Mean = name == "half" ? [0.5, 0.5, 0.5] : ClipMean,
                Deviation = name == "half" ? [0.5, 0.5, 0.5] : ClipDeviation,
            };
            var image = ImageOf(inputs[input]);
            Check(processor, image, t[key], t[$"{input}.pixel_values_{name}"], key);
            Assert.Equal(t[$"{input}.square_{name}"].Values<byte>(),
                Resampling.PadToSquare(image, processor.Background).Rgb);
        }
    }

    [Fact]
    public void Sizes_are_rounded_like_the_reference()
    {
        var json = Golden.Json("resize/janus_sizes");
        var processor = new ImageProcessor { ImageSize = (int)json["image_size"]!, MinSize = (int)json["min_size"]! };
        foreach (var row in json["rows"]!)
        {
            Assert.Equal(((int)row["resized_width"]!, (int)row["resized_height"]!),
                processor.SizeOf((int)row["width"]!, (int)row["height"]!));
        }
    }

    [Fact]
    public void A_checkpoints_own_settings_are_read()
    {
        var processor = ImageProcessor.Read(Golden.Path("janus_hf/model"), OwnSize);
        var json = Golden.Json("janus_hf/model/preprocessor_config");
        Assert.Equal(json["image_mean"]!.Select(x => (double)x), processor.Mean!);
        Assert.Equal((int)json["min_size"]!, processor.MinSize);
        var nothing = ImageProcessor.Read(Golden.Path("janus"), 64);
        Assert.Equal([0.5, 0.5, 0.5], nothing.Mean!);
        Assert.Equal(64, nothing.ImageSize);
        var folder = Directory.CreateTempSubdirectory("reasongen").FullName;
        File.WriteAllText(Path.Combine(folder, "preprocessor_config.json"),
            "{ \"image_mean\": [0.5], \"image_std\": 3 }");
        var error = Assert.Throws<ReasonGen.Checkpoints.UnusableFileException>(() => ImageProcessor.Read(folder, 64));
        Assert.Contains("preprocessor_config.json", error.Message);
        Directory.Delete(folder, true);
    }

    [Theory]
    [InlineData("""{ "image_processor": { "min_size": 20 } }""", 20)]
    [InlineData("""{ "processor_class": "VLChatProcessor", "num_image_tokens": 576 }""", 30)]
    public void Settings_within_processor_config_go_before_those_of_preprocessor_config(string newer, int least)
    {
        using var folder = new Host.TestFolder();
        folder.Write("preprocessor_config.json", """{ "min_size": 30 }""");
        folder.Write("processor_config.json", newer);
        Assert.Equal(least, ImageProcessor.Read(folder.Path, 64).MinSize);
        folder.Write("processor_config.json", """{ "image_processor": { "min_size": 65 } }""");
        Assert.Contains("processor_config.json: its 'image_processor.min_size' is 65",
            Assert.Throws<ReasonGen.Checkpoints.UnusableFileException>(() => ImageProcessor.Read(folder.Path, 64))
                .Message);
    }

    [Theory]
    [InlineData("do_resize", "false")]
    [InlineData("do_rescale", "false")]
    [InlineData("do_pad", "false")]
    [InlineData("resample", "2")]
    [InlineData("rescale_factor", "0.00784313725490196")]
    [InlineData("rescale_factor", "1")]
    [InlineData("image_size", "384")]
    [InlineData("size", "384")]
    [InlineData("size", """{ "height": {0}, "width": 384 }""")]
    public void Another_preparation_than_the_implemented_one_is_refused(string key, string value) => Assert.Contains(
        $"'{key}", Assert.Throws<ReasonGen.Checkpoints.UnusableFileException>(() => Changed(key, value)).Message);

    [Theory]
    [InlineData("rescale_factor", "0.003921569")]
    [InlineData("resample", "3.0")]
    [InlineData("image_size", "{0}")]
    [InlineData("size", "{0}.0")]
    [InlineData("do_pad", "null")]
    public void The_implemented_preparation_is_read_however_its_numbers_are_written(string key, string value) =>
        Assert.Equal(OwnSize, Changed(key, value).ImageSize);

    [Fact]
    public void The_file_of_the_original_layout_is_read() => Assert.Equal(384, Read("""
        {
          "background_color": [127, 127, 127], "do_normalize": true, "image_mean": [0.5, 0.5, 0.5],
          "image_processor_type": "VLMImageProcessor", "image_size": 384, "image_std": [0.5, 0.5, 0.5],
          "min_size": 14, "processor_class": "VLChatProcessor", "rescale_factor": 0.00392156862745098
        }
        """, 384).ImageSize);

    private static ImageProcessor Changed(string key, string value)
    {
        var json = Golden.Json("janus_hf/model/preprocessor_config");
        json[key] = JToken.Parse(value.Replace("{0}", $"{OwnSize}"));
        return Read(json.ToString(), OwnSize);
    }

    private static int OwnSize => (int)Golden.Json("janus_hf/model/preprocessor_config")["size"]!["height"]!;

    private static ImageProcessor Read(string text, int imageSize)
    {
        using var folder = new Host.TestFolder();
        folder.Write("preprocessor_config.json", text);
        return ImageProcessor.Read(folder.Path, imageSize);
    }

    private static readonly double[] ClipMean = [0.48145466, 0.4578275, 0.40821073],
        ClipDeviation = [0.26862954, 0.26130258, 0.27577711];

    internal static RgbImage ImageOf(Tensor hwc) => new((int)hwc.shape[1], (int)hwc.shape[0], hwc.Values<byte>());

    private static ImageProcessor Processor(JToken c) => new()
    {
        ImageSize = (int)c["image_size"]!, MinSize = (int)c["min_size"]!,
        Mean = (bool)c["do_normalize"]! ? c["image_mean"]!.ToObject<double[]>() : null,
        Deviation = c["image_std"]?.ToObject<double[]>() ?? [1, 1, 1],
    };

    private static void Check(ImageProcessor processor, RgbImage image, Tensor resized, Tensor values, string what)
    {
        using var scope = NewDisposeScope();
        Assert.Equal(resized.permute(1, 2, 0).Values<byte>(), processor.Prepare(image).Rgb);
        Golden.Close(values, processor.PixelValues([image], CPU)[0], 1e-6, what);
    }
}
