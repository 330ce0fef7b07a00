using ReasonGen.Host.Commands;
using ReasonGen.Tests.Host;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Setups;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Checkpoints;

/// <summary>Folders that people give as a model's: what is one is read, and what is not is named.</summary>
public sealed class FoldersOfStrangersTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private string Model => Path.Combine(folder, "model");

    [Fact]
    public async Task A_snapshot_of_links_is_like_plain_files()
    {
        TinyJanus.Write(Model);
        var snapshot = Directory.CreateDirectory(Path.Combine(folder, "models--a--b", "snapshots", "0123")).FullName;
        foreach (var file in Directory.GetFiles(Model))
        {
            File.CreateSymbolicLink(Path.Combine(snapshot, Path.GetFileName(file)),
                Path.GetRelativePath(snapshot, file));
        }

        var bytes = new FileInfo(Path.Combine(Model, "model.safetensors")).Length;
        Assert.Contains($"{bytes / 1e6:0.0} MB",
            (await Reasongen.RunAsync("inspect", snapshot)).Output.Replace($"{bytes:N0} bytes",
                $"{bytes / 1e6:0.0} MB"));
        using var mapped = new MappedFiles();
        var entry = CheckpointFiles.Open(snapshot).Entries
            .First(entry => entry.Type == ScalarType.Float32 && entry.Begin % 4 == 0);
        Assert.NotNull(mapped.Find(entry, empty(entry.Shape, device: META), CPU));

        var (code, output) = await Reasongen.RunAsync("inspect", Path.Combine(folder, "models--a--b"));
        Assert.Equal(2, code);
        Assert.Contains(snapshot, output);
        (code, output) = await Reasongen.RunAsync("inspect", folder);
        Assert.Equal(2, code);
        Assert.Contains("Hugging Face cache", output);
    }

    [Fact]
    public void A_model_is_not_written_over_itself_by_way_of_a_link()
    {
        TinyJanus.Write(Model);
        var link = Path.Combine(folder, "link");
        Directory.CreateSymbolicLink(link, Model);
        Assert.Contains("the folder that is read",
            Assert.Throws<ArgumentException>(() => JanusMerge.Write(Model, link)).Message);
    }

    [Theory]
    [InlineData("model_world_size_2_rank_0.pt,model_world_size_2_rank_1.pt", "verl.model_merger")]
    [InlineData("__0_0.distcp,.metadata", "dcp_to_torch")]
    [InlineData("zero_pp_rank_0_mp_rank_00_optim_states.pt,mp_rank_00_model_states.pt", "zero_to_fp32.py")]
    [InlineData("model-q4.gguf", "GGUF")]
    [InlineData("flax_model.msgpack", "Flax")]
    [InlineData("a1b2.incomplete", "not finished")]
    [InlineData("readme.md", "holds no checkpoint")]
    public void A_folder_without_weights_is_told_what_it_is(string files, string message)
    {
        Directory.CreateDirectory(Model);
        Array.ForEach(files.Split(','), file => File.WriteAllText(Path.Combine(Model, file), "x"));
        Assert.Contains(message, Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(Model)).Message);
    }

    [Fact]
    public void An_adapter_is_told_to_be_merged_where_a_model_is_wanted()
    {
        Save("adapter_model.safetensors",
            new()
            {
                ["base_model.model.x.lora_A.weight"] = ones(2, 3), ["base_model.model.x.lora_B.weight"] = ones(3, 2),
            });
        File.WriteAllText(Path.Combine(Model, "adapter_config.json"),
            """{ "peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "some/base" }""");
        Assert.Contains("for the base \"some/base\"", CheckpointFiles.Open(Model).Note);
        var error = Assert.Throws<UnusableFileException>(() => JanusFiles.Load(Model, Cpu));
        Assert.Contains("PEFT adapter", error.Message);
        Assert.Contains("PEFT adapter",
            Assert.Throws<UnusableFileException>(() => JanusPipeline.Open(Model, Cpu)).Message);
        Assert.Contains("merge_and_unload", error.Message);
    }

    [Fact]
    public async Task A_model_and_an_adapter_in_one_folder_are_named_and_neither_is_guessed()
    {
        TinyJanus.Write(Model);
        Adapter(Model, Model);
        foreach (Action open in new Action[]
        {
            () => JanusPipeline.Open(Model, Cpu), () => JanusMerge.Write(Model, Path.Combine(folder, "merged")),
            () => TrainModel.Find(Model, TrainingStage.Sft), () => JanusPipeline.Expect(Model),
        })
        {
            var error = Assert.Throws<UnusableFileException>(open).Message;
            Assert.Contains("a model and an adapter in one folder", error);
            Assert.Contains("Move adapter_config.json", error);
        }

        var (code, output) = await Reasongen.RunAsync("inspect", Model);
        Assert.True(code == 0, output);
        Assert.Contains("Janus, original layout; names and shapes fit", output);
        Assert.Contains("beside it a PEFT adapter (type \"LORA\", r 2", output);
        (_, output) = await Reasongen.RunAsync("inspect", Path.Combine(Model, "model.safetensors"));
        Assert.Contains("model  Janus, original layout", output);
    }

    [Fact]
    public async Task A_configuration_beside_an_adapter_alone_does_not_make_it_a_model()
    {
        var (based, alone) = (TinyJanus.Write(Path.Combine(folder, "base")), Path.Combine(folder, "alone"));
        Adapter(alone, based);
        File.Copy(Path.Combine(based, "config.json"), Path.Combine(alone, "config.json"));
        using var opened = JanusPipeline.Open(alone, Cpu);
        using var merged = JanusFiles.Load(based, Cpu);
        PeftAdapter.Read(alone).MergeInto(merged);
        Assert.All(opened.Model.named_parameters().Zip(merged.named_parameters()),
            pair => Golden.Equal(pair.First.parameter, pair.Second.parameter, pair.First.name));
        var (code, output) = await Reasongen.RunAsync("inspect", alone);
        Assert.True(code == 0, output);
        Assert.Contains("model  a PEFT adapter", output);

        Assert.Contains("holds an adapter",
            Assert.Throws<ArgumentException>(() => JanusMerge.Write(based, alone)).Message);
        Assert.False(File.Exists(Path.Combine(alone, "model.safetensors")));
    }

    [Theory]
    [InlineData("module.")]
    [InlineData("_orig_mod.")]
    [InlineData("base_model.model.")]
    [InlineData("module._orig_mod.")]
    public void Prefixes_that_a_training_loop_put_before_every_name_are_taken_off(string prefix)
    {
        TinyJanus.Write(Model);
        var tensors = CheckpointFiles.Open(Model).Load();
        Save("model.safetensors", tensors.ToDictionary(pair => prefix + pair.Key, pair => pair.Value));
        using var read = JanusFiles.Load(Model, Cpu);
        using var expected = TinyJanus.Build();
        Assert.All(expected.named_parameters().Zip(read.named_parameters()),
            pair => Golden.Equal(pair.First.parameter, pair.Second.parameter, pair.First.name));
    }

    [Theory]
    [InlineData("zeros", "nothing but zeros")]
    [InlineData("int8", "is of Int8")]
    [InlineData("quantised", "they are quantised")]
    [InlineData("config", "its weights are quantised (awq)")]
    public void Weights_that_would_give_silent_nonsense_are_refused(string how, string message)
    {
        TinyJanus.Write(Model);
        var tensors = CheckpointFiles.Open(Model).Load();
        var name = tensors.Keys.First(key => key.EndsWith("q_proj.weight"));
        switch (how)
        {
            case "zeros": tensors[name] = zeros_like(tensors[name]); break;
            case "int8": tensors[name] = tensors[name].to(ScalarType.Int8); break;
            case "quantised": tensors[name.Replace(".weight", ".qweight")] =
                tensors[name].to(ScalarType.Int32); tensors.Remove(name); break;
            default:
                var config = Path.Combine(Model, "config.json");
                File.WriteAllText(config,
                    File.ReadAllText(config).TrimEnd().TrimEnd('}')
                        + """, "quantization_config": { "quant_method": "awq" } }""");
                break;
        }

        Save("model.safetensors", tensors);
        Assert.Contains(message, Assert.Throws<UnusableFileException>(() => JanusFiles.Load(Model, Cpu)).Message);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Two_sets_of_weights_in_one_folder_must_agree(bool same)
    {
        Save("model.safetensors", new() { ["a"] = ones(3, 4), ["b"] = ones(2) });
        // the first bytes tell the kind
        Save("pytorch_model.bin", new() { ["a"] = same ? ones(3, 4) : ones(3, 4) * 2, ["b"] = ones(2) });
        if (same)
        {
            Assert.Equal(2, CheckpointFiles.Open(Model).Entries.Count);
        }
        else
        {
            Assert.Contains("two sets of weights that differ",
                Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(Model)).Message);
        }
    }

    [Fact]
    public void An_index_of_a_form_that_was_not_downloaded_does_no_harm()
    {
        Save("model.safetensors", new() { ["a"] = ones(3) });
        File.WriteAllText(Path.Combine(Model, "pytorch_model.bin.index.json"),
            """{ "weight_map": { "a": "pytorch_model-00001-of-00002.bin" } }""");
        Assert.Single(CheckpointFiles.Open(Model).Entries);
    }

    [Fact]
    public void A_link_to_nothing_says_so()
    {
        Directory.CreateDirectory(Model);
        var link = Path.Combine(Model, "model.safetensors");
        File.CreateSymbolicLink(link, "../blobs/0123");
        Assert.Contains("link to '../blobs/0123', which is not there",
            Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(link)).Message);
    }

    [Theory]
    [InlineData("F8_E4M3", "bf16 or fp16")]
    [InlineData("U16", "read here are")]
    public void Types_that_are_not_read_are_named(string type, string message)
    {
        Directory.CreateDirectory(Model);
        var header = $$$"""{"w":{"dtype":"{{{type}}}","shape":[1,1],"data_offsets":[0,1]}}""";
        var path = Path.Combine(Model, "model.safetensors");
        File.WriteAllBytes(path,
            [.. BitConverter.GetBytes((long)header.Length), .. System.Text.Encoding.ASCII.GetBytes(header), 0]);
        var error = Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(path)).Message;
        Assert.Contains(type, error);
        Assert.Contains(message, error);
    }

    [Fact]
    public void A_tensor_of_more_dimensions_than_any_is_refused()
    {
        Directory.CreateDirectory(Model);
        var header = $$$"""{"w":{"dtype":"U8","shape":[{{{string.Join(",", Enumerable.Repeat(1, 65))}}}],"data_offsets":[0,1]}}""";
        var path = Path.Combine(Model, "model.safetensors");
        File.WriteAllBytes(path,
            [.. BitConverter.GetBytes((long)header.Length), .. System.Text.Encoding.ASCII.GetBytes(header), 0]);
        Assert.Contains("64 dimensions",
            Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(path)).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static ComputeTarget Cpu => new(CPU, ScalarType.Float32);

    private static void Adapter(string folder, string based)
    {
        const string module = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_";
        var width = TinyJanus.Config.Language.Width;
        Safetensors.Save(Path.Combine(folder, "adapter_model.safetensors"), [new(module + "A.weight", ones(2, width)),
            new(module + "B.weight", ones(width, 2))]);
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), Newtonsoft.Json.JsonConvert.SerializeObject(new
        {
            peft_type = "LORA", r = 2, lora_alpha = 4, base_model_name_or_path = based,
        }));
    }

    private void Save(string file, Dictionary<string, Tensor> tensors) =>
        Safetensors.Save(Path.Combine(Model, file), tensors);
}
