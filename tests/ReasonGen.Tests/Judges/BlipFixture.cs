using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Layers;
using ReasonGen.Scoring;
using ReasonGen.World;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

/// <summary>The tiny models of golden/blip_vqa, whose head counts are in no weight file.</summary>
internal static class BlipFixture
{
    internal static JObject Small => Golden.Json("blip_vqa/small");

    internal static (int Vision, int Text) Heads(JObject json) =>
        ((int)json["vit"]!["heads"]!, (int)json["med_config"]!["num_attention_heads"]!);

    internal static BlipFiles OpenSmall(bool huggingFace = false) =>
        huggingFace ? BlipFiles.Open(Golden.Path("blip_vqa/hf"))
        : BlipFiles.Open(Golden.Path("blip_vqa/" + (string)Small["checkpoint"]!), heads: Heads(Small));

    internal static BlipVqaJudge Judge(string name, PromptNouns? nouns = null, bool orWhole = false)
    {
        var json = Golden.Json($"blip_vqa/{name}");
        return BlipVqaJudge.Load(Golden.Path("blip_vqa/" + (string)json["checkpoint"]!), ClipFixture.Target,
            Golden.Path("blip_vqa/" + ((string?)json["vocabulary"] ?? "vocab.txt")), heads: Heads(json), nouns: nouns,
            orWhole: orWhole);
    }

    internal static SourceImage Image(int number) => ClipFixture.Image("blip_vqa", number);

    /// <summary>Compares what an observer saw, and the parts of the first block of each side.</summary>
    internal static void States(Dictionary<string, Tensor> expected, Dictionary<string, Tensor> seen, nn.Module model,
        Func<string, Tensor, Tensor> kept,
        params (string Side, string Stack, Tensor Context, Tensor? Mask, Tensor? Seen)[] sides)
    {
        using var free = no_grad();
        Assert.All(seen.Keys.Where(expected.ContainsKey), name =>
            Golden.Close(kept(name, expected[name]), kept(name, seen[name]), 1e-4, name));
        var parts = model.named_modules().ToDictionary(part => part.name, part => part.module);
        T Part<T>(string name) where T : nn.Module => (T)parts[name];
        var normed = Part<TorchSharp.Modules.LayerNorm>("vision.blocks.0.norm1").forward(seen["vision.embeddings"]);
        Golden.Close(expected["vision.block.0.attention"],
            Part<MultiHeadAttention>("vision.blocks.0.attn").Forward(normed),
            1e-4, "vision attention");
        foreach (var (side, stack, context, mask, contextMask) in sides)
        {
            var block = $"{stack}.blocks.0.";
            var x = seen[$"{side}.embeddings"];
            x = Part<TorchSharp.Modules.LayerNorm>(block + "norm1").forward(
                Part<MultiHeadAttention>(block + "attn").Forward(x, null, mask).add(x));
            Compare("self_attention", x);
            var cross = Part<MultiHeadAttention>(block + "cross");
            x = Part<TorchSharp.Modules.LayerNorm>(block + "norm_cross").forward(
                cross.Forward(x, cross.Look(context), contextMask).add(x));
            Compare("cross_attention", x);
            Compare("intermediate", nn.functional.gelu(Part<TorchSharp.Modules.Linear>(block + "mlp.fc1").forward(x)));
            void Compare(string what, Tensor actual)
            {
                var name = $"{side}.layer.0.{what}";
                Golden.Close(kept(name, expected[name]), kept(name, actual), 1e-4, name);
            }
        }
    }
}
