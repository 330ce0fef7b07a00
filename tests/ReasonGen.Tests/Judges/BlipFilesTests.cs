using Newtonsoft.Json.Linq;
using ReasonGen.Judges;
using ReasonGen.Judges.Blip;
using ReasonGen.Checkpoints;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

/// <summary>Which BLIP a checkpoint is, and what is refused.</summary>
[Trait("Category", "Golden")]
public sealed class BlipFilesTests
{
    [Fact]
    public void A_head_count_of_8_at_width_768_is_refused_as_the_known_mistake()
    {
        using var copy = new ClipFixture.Copy("blip_vqa/hf/config.json", "blip_vqa/hf/model.safetensors");
        foreach (var said in new JToken?[] { 8, null })
        {
            var config = JObject.Parse(File.ReadAllText(copy.In("config.json")));
            config["text_config"]!["hidden_size"] = 768;
            config["text_config"]!["num_attention_heads"] = said;
            File.WriteAllText(copy.In("config.json"), config.ToString());
            var error = Assert.Throws<UnusableFileException>(() => BlipFiles.Open(copy.Folder));
            Assert.Contains("22625", error.Message);
            Assert.Contains("12", error.Message);
        }
    }

    [Theory]
    [InlineData("text_config.num_hidden_layers", "blocks")]
    [InlineData("vision_config.patch_size", "size")]
    [InlineData("vision_config.hidden_size", "do not fit")]
    [InlineData("vision_config.hidden_act", "relu")]
    [InlineData("text_config.hidden_act", "relu")]
    [InlineData("model_type", "blip-2")]
    [InlineData("vision_config.num_attention_heads", "do not divide")]
    public void A_configuration_that_does_not_fit_is_refused(string key, string expected)
    {
        using var copy = new ClipFixture.Copy("blip_vqa/hf/config.json", "blip_vqa/hf/model.safetensors");
        var config = JObject.Parse(File.ReadAllText(copy.In("config.json")));
        var was = config.SelectToken(key)!;
        was.Replace(key switch
        {
            "vision_config.hidden_size" => 2 * (int)was, // which its heads divide, but no weights have
            "vision_config.num_attention_heads" => (int)config["vision_config"]!["hidden_size"]! + 1,
            "text_config.num_hidden_layers" => 2000000000, "vision_config.patch_size" => 0, _ => (JToken)expected,
        });
        File.WriteAllText(copy.In("config.json"), config.ToString());
        Assert.Contains(expected, Assert.Throws<UnusableFileException>(() => BlipFiles.Open(copy.Folder)).Message);
    }

    [Fact]
    public void Weights_without_their_configuration_or_heads_are_refused()
    {
        using var copy = new ClipFixture.Copy("blip_vqa/hf/model.safetensors");
        Assert.Contains("config.json", Assert.Throws<UnusableFileException>(() => BlipFiles.Open(copy.Folder)).Message);
        Assert.Contains("how many heads", Assert.Throws<UnusableFileException>(() =>
            BlipFiles.Open(Golden.Path("blip_vqa/blip_vqa_small.pth"))).Message);
    }

    [Theory]
    [InlineData("preference/imagereward/ImageReward.pt", "ImageReward")]
    [InlineData("siglip/tower.safetensors", "no BLIP-VQA")]
    [InlineData("blip_vqa/nowhere", "no such file")]
    [InlineData("blip_vqa/vocab.txt", "begins neither")]
    public void What_is_no_BLIP_VQA_is_refused(string path, string expected) =>
        Assert.Contains(expected,
            Assert.Throws<UnusableFileException>(() => BlipFiles.Open(Golden.Path(path))).Message);

    [Fact]
    public void A_vocabulary_of_another_size_is_refused() =>
        Assert.Contains("30524", Assert.Throws<UnusableFileException>(() =>
        BlipVqaJudge.Load(Golden.Path("blip_vqa/hf"), ClipFixture.Target, Golden.Path("blip_vqa/vocab.txt"))).Message);

    [Fact]
    public void A_missing_weight_is_named_and_superfluous_ones_are_told()
    {
        using var copy = new ClipFixture.Copy("blip_vqa/hf/config.json");
        using var scope = NewDisposeScope();
        var weights = Golden.Tensors("blip_vqa/hf/model");
        weights["visual_encoder_m.pos_embed"] = zeros(2);
        Safetensors.Save(copy.In("model.safetensors"), weights);
        var files = BlipFiles.Open(copy.Folder);
        Assert.Contains("1 of them are momentum copies", files.Note);
        Assert.Contains("not the 480-pixel model", files.Name);
        Assert.False(files.HasOfficialForm);
        weights.Remove("text_decoder.cls.predictions.bias");
        Safetensors.Save(copy.In("model.safetensors"), weights);
        Assert.Contains("text_decoder.cls.predictions.bias is missing",
            Assert.Throws<UnusableFileException>(() => BlipFiles.Open(copy.Folder)).Message);
    }

    [Fact]
    public void Images_are_read_at_another_size_with_interpolated_positions()
    {
        var (json, own) = (BlipFixture.Small, BlipFixture.OpenSmall().Config.Vision);
        var files = BlipFiles.Open(Golden.Path("blip_vqa/blip_vqa_small.pth"), own.ImageSize + own.PatchSize,
            BlipFixture.Heads(json));
        using var model = files.Load(ClipFixture.Target);
        using var states =
            model.EncodeImages(zeros(1, 3, own.ImageSize + own.PatchSize, own.ImageSize + own.PatchSize));
        Assert.Equal((own.Grid + 1) * (own.Grid + 1) + 1, states.shape[1]);
        Assert.Contains("[B, 3,",
            Assert.Throws<ArgumentException>(() => model.EncodeImages(zeros(1, 3, 5, 5))).Message);
    }

    [Theory]
    [InlineData("blip_vqa/blip_vqa_small.pth", "BLIP-VQA of no published size")]
    [InlineData("blip_vqa/hf", "BLIP-VQA in Hugging Face's layout")]
    [InlineData("preference/imagereward/ImageReward.pt", "ImageReward of no published size")]
    [InlineData("mplug/main", "mPLUG's rules")]
    [InlineData("mplug/half", "momentum copies")]
    [InlineData("mplug/main/pytorch_model.bin", "give its folder")]
    public void What_a_checkpoint_is_can_be_told_without_loading_it(string path, string expected) =>
        Assert.Contains(expected, JudgeFiles.Open(Golden.Path(path)).Model);
}
