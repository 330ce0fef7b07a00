using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Layers;
using TorchSharp;
using TorchSharp.Modules;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class ClipModelGoldenTests
{
    public static TheoryData<string> Layouts => ClipFixture.Layouts;

    [Theory, MemberData(nameof(Layouts))]
    public void Every_layout_gives_the_states_and_embeddings_of_the_reference(string path)
    {
        using var model = ClipFixture.Load(path);
        using var scope = NewDisposeScope();
        var t = Golden.Tensors("clip/model");
        var seen = new Dictionary<string, Tensor>();
        var images = model.EncodeImages(t["pixel_values"], (name, x) => seen[name] = x.clone()
            .MoveToOtherDisposeScope(scope));
        var texts = model.EncodeTexts(t["input_ids"], (name, x) => seen[name] = x.clone()
            .MoveToOtherDisposeScope(scope));
        string[] compared = [.. t.Keys.Where(name => name.StartsWith("vision.") || name.StartsWith("text."))
            .Where(name => name.Split('.').Length < 4).Some()];
        Assert.All(compared, name => // the reference also norms what nothing reads behind the last block
            Golden.Close(t[name].dim() > seen[name].dim() ? t[name].select(1, 0) : t[name], seen[name], 1e-4, name));
        Golden.Close(t["image_embeds"], images, 2e-5, "images");
        Golden.Close(t["text_embeds"], texts, 2e-5, "texts");
        Golden.Close(t["text_embeds"], model.EncodeTexts(t["hf.input_ids"]), 2e-5, "texts padded with the end token");
        Assert.Equal(t["logit_scale_exp"].ToDouble(), model.LogitScale, 1e-4);
        var (a, b) = (functional(images), functional(texts));
        Golden.Close(t["image_embeds_normalised"], a, 2e-5);
        Golden.Close(t["text_embeds_normalised"], b, 2e-5);
        Golden.Close(t["logits_per_image"], a.matmul(b.t()).mul(model.LogitScale), 1e-4, "logits");
        static Tensor functional(Tensor x) => x.div(x.norm(1, keepdim: true));
    }

    [Fact]
    public void The_layers_of_a_block_equal_the_reference_one_by_one()
    {
        using var model = ClipFixture.Load(ClipFixture.Folder);
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var t = Golden.Tensors("clip/model");
        var parts = model.named_modules().ToDictionary(part => part.name, part => part.module);
        T Part<T>(string name) where T : nn.Module => (T)parts["vision.blocks.0." + name];
        var normed = Part<LayerNorm>("norm1").forward(t["vision.ln_pre"]);
        Golden.Close(t["vision.block.0.ln_1"], normed, 1e-4, "norm");
        var attended = Part<MultiHeadAttention>("attn").Forward(normed);
        Golden.Close(t["vision.block.0.attention"], attended, 1e-4, "attention");
        var inner = Part<Linear>("mlp.fc1").forward(Part<LayerNorm>("norm2").forward(t["vision.ln_pre"].add(attended)));
        Golden.Close(t["vision.block.0.mlp_before_act"], inner, 1e-4, "before the activation");
        Golden.Close(t["vision.block.0.mlp_after_act"], model.Config.Activation.Apply(inner), 1e-4, "behind it");
    }

    [Fact]
    public void Plain_gelu_gives_the_numbers_of_the_known_mistake()
    {
        using var copy = new ClipFixture.Copy("clip/open_clip/open_clip_model.safetensors",
            "clip/open_clip/open_clip_config.json");
        var config = File.ReadAllText(copy.In("open_clip_config.json"));
        File.WriteAllText(copy.In("open_clip_config.json"), config.Replace("\"quick_gelu\": true",
            "\"quick_gelu\": false"));
        var files = ClipFiles.Open(copy.Folder);
        Assert.Equal(Activation.Gelu, files.Config.Activation);
        using var model = files.Load(ClipFixture.Target);
        using var scope = NewDisposeScope();
        var t = Golden.Tensors("clip/model");
        Golden.Close(t["wrong_gelu.image_embeds"], model.EncodeImages(t["pixel_values"]), 2e-5);
        Golden.Close(t["wrong_gelu.text_embeds"], model.EncodeTexts(t["input_ids"]), 2e-5);
    }

    [Fact]
    public void OpenAis_archive_gives_the_embeddings_of_the_reference()
    {
        using var model = ClipFixture.Load(ClipFixture.Archive);
        using var scope = NewDisposeScope();
        var t = Golden.Tensors("clip/openai/expected");
        var heads = Golden.Json("clip/openai/expected")["heads"]!;
        Assert.Equal(((int)heads["vision"]!, (int)heads["text"]!), (model.Config.Vision.Heads,
            model.Config.Text.Heads));
        var (images, texts) = (model.EncodeImages(t["pixel_values"]), model.EncodeTexts(t["input_ids"]));
        Golden.Close(t["image_embeds"], images, 2e-5, "images");
        Golden.Close(t["text_embeds"], texts, 2e-5, "texts");
        var cosines = images.div(images.norm(1, keepdim: true)).matmul(texts.div(texts.norm(1, keepdim: true)).t());
        Golden.Close(t["logits_per_image"], cosines.mul(model.LogitScale), 1e-4, "logits");
    }

    [Theory]
    [InlineData("clip/names_vit_l_14", "ViT-L/14")]
    [InlineData("clip/names_vit_b_32", "ViT-B/32")]
    public void Published_sizes_have_the_names_and_shapes_of_the_reference(string file, string architecture)
    {
        var config = new[] { ClipConfig.VitB32, ClipConfig.VitL14 }.Single(known => known.Architecture == architecture);
        using var model = new ClipModel(config, new(META, ScalarType.Float32));
        var json = Golden.Json(file);
        Names.Equal(json["open_clip"]!, model, ClipLayout.OpenClip);
        Names.Equal(json["openai"]!, model, ClipLayout.OpenAi);
        Names.Equal(json["hf"]!, model, ClipLayout.HuggingFace);
        Assert.Equal((long)json["parameters"]!, model.parameters().Sum(parameter => parameter.numel()));
    }
}

internal static class Names
{
    internal static void Equal(Newtonsoft.Json.Linq.JToken expected, nn.Module model, ClipLayout layout)
    {
        using var scope = NewDisposeScope();
        var actual = ClipNames.Views(model, layout).ToDictionary(pair => pair.Key, pair =>
            string.Join(",", pair.Value.shape));
        var wanted = ((Newtonsoft.Json.Linq.JObject)expected).Properties().Where(pair => !ClipNames.IsUnread(pair.Name))
            .ToDictionary(pair => pair.Name, pair => string.Join(",", pair.Value[0]!.ToObject<long[]>()!));
        Assert.Equal(wanted.OrderBy(pair => pair.Key), actual.OrderBy(pair => pair.Key));
    }
}
