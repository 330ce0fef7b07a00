using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Tests.Host;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Checkpoints;

[Trait("Category", "Golden")]
public sealed class InspectCommandTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData("janus/checkpoint", "Janus, original layout; names and shapes fit")]
    [InlineData("janus_hf/sharded_bf16", "Janus, native layout; names and shapes fit")]
    [InlineData("janus_hf/sharded_bf16/model.safetensors.index.json", "Janus, native layout; names and shapes fit")]
    [InlineData("qwen25vl/untied/model.safetensors", "Qwen2.5-VL; names and shapes fit")]
    [InlineData("qwen25vl/untied",
        "Qwen2.5-VL; names and shapes fit its config.json: {layers} layers of width {width}")]
    [InlineData("qwen25vl/tied_sharded", "Qwen2.5-VL; names and shapes fit")]
    [InlineData("mask2former/mmdet.pth",
        "Mask2Former of other sizes: not GenEval's official detector; mmdetection 2.x's layout")]
    [InlineData("torchbin/sharded/pytorch_model.bin.index.json", "not one that is known here")]
    public async Task What_a_checkpoint_holds_is_listed(string path, string model)
    {
        var (code, output) = await Inspect(Golden.Path(path));
        Assert.True(code == 0, output);
        var files = CheckpointFiles.Open(Golden.Path(path));
        Assert.All(files.Entries,
            entry => Assert.Contains($"[{string.Join(", ", entry.Shape)}]",
                output.Split('\n').Single(line => line.Split(' ')[0] == entry.Name)));
        Assert.Contains($"{files.Entries.Count} tensors", output);
        Assert.Contains(
            model.Replace("{layers}", $"{Layers}").Replace("{width}", (string)Qwen["hidden_size"]!), output);
    }

    [Theory]
    [InlineData("missing", "there is no such file")]
    [InlineData("empty", "holds no checkpoint")]
    [InlineData("hostile", "{function}")]
    [InlineData("vocabulary", "embed_tokens.weight is [")]
    [InlineData("layers", "model.layers.{layers}.input_layernorm.weight is missing")]
    [InlineData("vocabulary", "embed_tokens.weight is [", "model.safetensors")]
    [InlineData("layers", "model.layers.{layers}.input_layernorm.weight is missing", "model.safetensors")]
    public async Task What_is_unsound_is_refused_in_a_paragraph(string how, string message, string file = "")
    {
        // the first hostile file of those that ask for a function
        var (hostile, asked) = ((JObject)Golden.Json("torchbin/malicious/manifest")["files"]!).Properties()
            .Select(file => (file.Name, Function: (string?)file.Value["message_should_name"]))
            .First(file => file.Function?.Contains('.') == true);
        var path = how is "missing" ? Path.Combine(folder, "none.bin")
            : how is "hostile" ? Golden.Existing("torchbin/malicious/" + hostile) : folder;
        if (how == "vocabulary")
        {
            File.Copy(Path.Combine(Golden.Path("janus_hf/model"), "model.safetensors"),
                Path.Combine(folder, "model.safetensors"));
            var config = JObject.Parse(File.ReadAllText(Path.Combine(Golden.Path("janus_hf/model"), "config.json")));
            config["text_config"]!["vocab_size"] = (int)config["text_config"]!["vocab_size"]! + 1;
            File.WriteAllText(Path.Combine(folder, "config.json"), config.ToString());
        }

        if (how == "layers")
        {
            File.Copy(Golden.Path("qwen25vl/untied/model.safetensors"), Path.Combine(folder, "model.safetensors"));
            var config = Qwen;
            config["num_hidden_layers"] = Layers + 1;
            File.WriteAllText(Path.Combine(folder, "config.json"), config.ToString());
        }

        var (code, output) = await Inspect(Path.Combine(path, file));
        Assert.True(code == 2, output);
        Assert.Contains(message.Replace("{function}", asked).Replace("{layers}", $"{Layers}"), output);
        Assert.Single(output.Trim().Split('\n'));
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static JObject Qwen => JObject.Parse(File.ReadAllText(Golden.Path("qwen25vl/untied/config.json")));

    private static int Layers => (int)Qwen["num_hidden_layers"]!;

    private static Task<(int Code, string Output)> Inspect(string path) => Reasongen.RunAsync("inspect", path);
}
