using Newtonsoft.Json.Linq;
using ReasonGen.Judges;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Layers;
using ReasonGen.Checkpoints;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

/// <summary>Which model a checkpoint is, and what is refused.</summary>
[Trait("Category", "Golden")]
public sealed class ClipFilesTests
{
    public static TheoryData<string> Layouts => ClipFixture.Layouts;

    [Theory, MemberData(nameof(Layouts))]
    public void Another_model_is_refused_with_what_it_is_and_what_was_expected(string path)
    {
        var error =
            Assert.Throws<UnusableFileException>(() => ClipScorer.ForColors(Golden.Path(path), ClipFixture.Target));
        Assert.Contains("no published size", error.Message);
        Assert.Contains("ViT-L/14", error.Message);
    }

    [Fact]
    public void A_model_names_itself_and_is_never_called_OpenAis_without_its_checksum()
    {
        var archive = ClipFiles.Open(Golden.Path(ClipFixture.Archive)).Identity;
        Assert.False(archive.IsOpenAis);
        Assert.Contains("not OpenAI's file", archive.Name);
        var large = new ClipIdentity(ClipConfig.VitL14, ClipLayout.OpenAi,
            "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836");
        Assert.Equal("CLIP ViT-L/14 (OpenAI)", large.Name);
        Assert.False((large with { Config = ClipConfig.VitB32 }).IsOpenAis);
        Assert.Contains("no checksum", (large with { Layout = ClipLayout.HuggingFace, Sha256 = null }).Name);
    }

    [Fact]
    public void Right_sizes_with_the_other_activation_are_refused_as_that()
    {
        var plain = new ClipIdentity(ClipConfig.VitL14 with { Activation = Activation.Gelu }, ClipLayout.OpenClip,
            null);
        var error = Assert.Throws<UnusableFileException>(() => plain.Require(ClipConfig.VitL14, "GenEval's colours",
            "folder"));
        Assert.Contains("with GELU", error.Message);
        Assert.Contains("QuickGELU", error.Message);
        Assert.Contains("activation is not", error.Message);
    }

    [Fact]
    public void A_state_dict_without_its_configuration_is_refused()
    {
        using var copy = new ClipFixture.Copy("clip/open_clip/open_clip_model.safetensors");
        Assert.Contains("open_clip_config.json", Assert.Throws<UnusableFileException>(() =>
            ClipFiles.Open(copy.In("open_clip_model.safetensors"))).Message);
    }

    [Theory]
    [InlineData("quick_gelu", "true or false")]
    [InlineData("width", "heads")]
    [InlineData("layers", "blocks")]
    [InlineData("patch_size", "size")]
    [InlineData("image_size", "do not fit")]
    [InlineData("attentional_pool", "attentional_pool")]
    public void A_configuration_that_does_not_fit_is_refused(string key, string expected)
    {
        using var copy = new ClipFixture.Copy("clip/open_clip/open_clip_model.safetensors",
            "clip/open_clip/open_clip_config.json");
        var config = JObject.Parse(File.ReadAllText(copy.In("open_clip_config.json")));
        var model = config["model_cfg"]!;
        var vision = key == "quick_gelu" ? model : model["vision_cfg"]!;
        vision[key] = key switch
        {
            "width" => (int)vision[key]! + 1, // which its heads do not divide
            "image_size" => (int)vision[key]! + (int)vision["patch_size"]!, // which the weights have no positions for
            "layers" => 2000000000, "patch_size" => 0, "quick_gelu" => "true", _ => true,
        };
        File.WriteAllText(copy.In("open_clip_config.json"), config.ToString());
        Assert.Contains(expected, Assert.Throws<UnusableFileException>(() => ClipFiles.Open(copy.Folder)).Message);
    }

    [Fact]
    public void A_configuration_that_is_cut_short_is_refused()
    {
        using var copy = new ClipFixture.Copy("clip/open_clip/open_clip_model.safetensors",
            "clip/open_clip/open_clip_config.json");
        File.WriteAllText(copy.In("open_clip_config.json"), File.ReadAllText(copy.In("open_clip_config.json"))
            .TrimEnd()[..^1]);
        Assert.Contains("no JSON", Assert.Throws<UnusableFileException>(() => ClipFiles.Open(copy.Folder)).Message);
    }

    [Theory]
    [InlineData("siglip/tower.safetensors")]
    [InlineData("torchbin/plain_fp32.bin")]
    [InlineData("clip/tokenizer/vocab.json")]
    [InlineData("clip/images")]
    [InlineData("clip/nowhere")]
    public void What_is_no_CLIP_is_refused(string path) =>
        Assert.Throws<UnusableFileException>(() => ClipScorer.ForClipScore(Golden.Path(path), ClipFixture.Target,
            anyModel: true));

    [Fact]
    public void A_vocabulary_of_another_size_is_refused()
    {
        using var copy = new ClipFixture.Copy("clip/open_clip/open_clip_model.safetensors",
            "clip/open_clip/open_clip_config.json");
        var error = Assert.Throws<UnusableFileException>(() => ClipScorer.ForColors(copy.Folder, ClipFixture.Target,
            anyModel: true));
        Assert.Contains("49408", error.Message);
    }

    [Theory]
    [InlineData("clip/openai/ViT-tiny.pt", "not OpenAI's file")]
    [InlineData("clip/open_clip", "in open_clip's layout")]
    [InlineData("clip/hf", "in Hugging Face's layout")]
    [InlineData("preference/hps/HPS_tiny.pt", "as HPSv2 is published, but not of the sizes")]
    [InlineData("siglip/tower.safetensors", null)]
    [InlineData("torchbin/sharded/pytorch_model.bin.index.json", null)]
    public void What_a_checkpoint_is_can_be_told_without_loading_it(string path, string? expected)
    {
        var (files, model) = JudgeFiles.Open(Golden.Path(path));
        Assert.NotEmpty(files.Entries);
        Assert.True(expected is null ? model is null : model!.Contains(expected), model);
    }

    [Fact]
    public void A_bare_state_dict_is_told_to_lack_its_configuration()
    {
        using var copy = new ClipFixture.Copy("clip/open_clip/open_clip_model.safetensors");
        Assert.Contains("without its open_clip_config.json",
            JudgeFiles.Open(copy.In("open_clip_model.safetensors")).Model);
    }

    [Fact]
    public void Inputs_of_another_shape_are_refused_with_both_shapes()
    {
        using var model = ClipFixture.Load(ClipFixture.Folder);
        using var scope = NewDisposeScope();
        Assert.Contains("[B, 3,", Assert.Throws<ArgumentException>(() =>
            model.EncodeImages(zeros(1, 3, 5, 5))).Message);
        Assert.Throws<ArgumentException>(() => model.EncodeTexts(zeros(1, 78, ScalarType.Int64)));
        Assert.Throws<ArgumentException>(() => model.EncodeTexts(full(1, 3, model.Config.Text.Vocabulary,
            ScalarType.Int64)));
    }
}
