using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Checkpoints;

public sealed class CheckpointFilesTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [Trait("Category", "Golden")]
    [InlineData("torchbin/sharded", "torchbin/sharded")]
    [InlineData("safetensors/sharded", "safetensors/sharded")]
    [InlineData("safetensors/sharded", "safetensors/sharded/model.safetensors.index.json")]
    public void Shards_are_read_as_one(string fixture, string opened)
    {
        var expected = Golden.Json(fixture + "/expected");
        var files = CheckpointFiles.Open(Golden.Path(opened));
        var tensors = files.Load();
        Assert.Equal(expected["tensors"]!.Select(tensor => (string)tensor["name"]!).Order(), tensors.Keys.Order());
        Assert.Equal((long)expected["total_size"]!, files.Entries.Sum(entry => entry.Bytes));
        foreach (var tensor in expected["tensors"]!)
        {
            Assert.Equal((string)tensor["sha256"]!, TorchFileTests.Sha256(tensors[(string)tensor["name"]!]));
        }
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void An_index_with_a_wrong_size_loads_what_it_lists()
    {
        var listed = ((JObject)Golden.Json("torchbin/sharded/tolerated_index")["weight_map"]!).Properties()
            .Select(pair => pair.Name);
        Copy("torchbin/sharded", "tolerated_index.json", "pytorch_model.bin.index.json");
        Assert.Equal(listed, CheckpointFiles.Open(folder).Load().Keys);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void Unsound_indexes_are_refused_with_the_reason()
    {
        foreach (var (file, reason) in Golden.Json("torchbin/sharded/bad/manifest"))
        {
            Copy("torchbin/sharded", "bad/" + file, file);
            var thrown = Record.Exception(() => CheckpointFiles.Open(Path.Combine(folder, file)));
            Assert.True(thrown is UnusableFileException && thrown.Message.Contains(file),
                $"{file} ({reason!["reason"]}): {thrown}");
        }
    }

    [Fact]
    public void Weights_are_converted_to_the_type_of_the_model_and_into_views()
    {
        var stored = randn(300, 7);
        Save(new() { ["a"] = stored, ["b"] = stored[0], ["c"] = stored.t() });
        Tensor whole = zeros(2, 300, 7, ScalarType.BFloat16), turned = zeros(300, 7);
        CheckpointFiles.Open(folder)
            .LoadInto(new Dictionary<string, Tensor> { ["a"] = whole[1], ["b"] = whole[0][5], ["c"] = turned.t() });
        Golden.Equal(stored.to(ScalarType.BFloat16), whole[1]);
        Golden.Equal(stored[0].to(ScalarType.BFloat16), whole[0][5]);
        Golden.Equal(stored, turned);
        Assert.Equal(0, whole[0].narrow(0, 0, 5).abs().sum().ToDouble());
    }

    [Fact]
    public void Large_tensors_are_read_chunk_by_chunk()
    {
        var stored = arange(1_500_000, ScalarType.Float32);
        Save(new() { ["a"] = stored });
        Tensor same = empty(1_500_000), wider = empty(1_500_000, ScalarType.Float64);
        CheckpointFiles.Open(folder).LoadInto(new Dictionary<string, Tensor> { ["a"] = same });
        CheckpointFiles.Open(folder).LoadInto(new Dictionary<string, Tensor> { ["a"] = wider });
        Golden.Equal(stored, same);
        Golden.Equal(stored, wider);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16, double.NaN)]
    [InlineData(ScalarType.Float16, double.PositiveInfinity)]
    [InlineData(ScalarType.Float32, double.NegativeInfinity)]
    [InlineData(ScalarType.Float64, double.NaN)]
    public void Weights_that_are_not_finite_are_refused_by_name(ScalarType type, double value)
    {
        using var spoiled = ones(1003, type);
        spoiled[1000] = value;
        Save(new() { ["sound"] = ones(5), ["head.weight"] = spoiled });
        var targets = new Dictionary<string, Tensor> { ["sound"] = zeros(5), ["head.weight"] = zeros(1003) };
        var thrown = Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(folder).LoadInto(targets));
        Assert.Contains("'head.weight' holds NaN or infinite weights", thrown.Message);
        CheckpointFiles.Open(folder).LoadInto(targets, finite: false);
    }

    [Fact]
    public void Optional_names_may_be_missing_superfluous_or_misshapen()
    {
        Save(new() { ["a"] = ones(2), ["extra"] = ones(1), ["shape"] = ones(4) });
        var targets = new Dictionary<string, Tensor> { ["a"] = zeros(2), ["lost"] = ones(3), ["shape"] = ones(5) };
        CheckpointFiles.Open(folder).LoadInto(targets, name => name != "a");
        Golden.Equal(ones(2), targets["a"]);
        Golden.Equal(zeros(3), targets["lost"]);
        Golden.Equal(zeros(5), targets["shape"]);
        var thrown = Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(folder).LoadInto(targets));
        Assert.Contains("3 tensors do not fit the model", thrown.Message);
    }

    [Fact]
    public void A_folder_without_or_with_too_many_checkpoints_is_refused()
    {
        Assert.Contains("holds no checkpoint",
            Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(folder)).Message);
        Assert.Contains("no such file",
            Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(Path.Combine(folder, "none"))).Message);
        Safetensors.Save(Path.Combine(folder, "one.safetensors"), new Dictionary<string, Tensor> { ["a"] = ones(2) });
        Assert.Single(CheckpointFiles.Open(folder).Entries);
        Safetensors.Save(Path.Combine(folder, "two.safetensors"), new Dictionary<string, Tensor> { ["a"] = ones(2) });
        Assert.Contains("2 checkpoint files",
            Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(folder)).Message);
    }

    [Fact]
    public void A_truncated_shard_is_named()
    {
        var path = Path.Combine(folder, "model.safetensors");
        Safetensors.Save(path, new Dictionary<string, Tensor> { ["a"] = ones(200) });
        using (var file = File.OpenWrite(path))
        {
            file.SetLength(file.Length - 100);
        }

        Assert.Contains("model.safetensors",
            Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(folder)).Message);
    }

    [Fact]
    public void A_part_of_the_program_that_is_missing_is_no_missing_checkpoint()
    {
        Assert.True(FileKinds.IsAboutFile(new FileNotFoundException("not found", "model.safetensors")));
        Assert.False(
            FileKinds.IsAboutFile(new FileNotFoundException("not found",
                "System.IO.Hashing, Version=10.0.0.0, Culture=neutral, PublicKeyToken=cc7b13ffcd2ddd51")));
        Assert.False(FileKinds.IsAboutFile(new FileLoadException("not loaded")));
    }

    public void Dispose() => Directory.Delete(folder, true);

    private void Save(Dictionary<string, Tensor> tensors) =>
        Safetensors.Save(Path.Combine(folder, "model.safetensors"), tensors);

    private void Copy(string fixture, string index, string name)
    {
        foreach (var file in Directory.GetFiles(Golden.Path(fixture), "*.bin"))
        {
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)), true);
        }

        File.Copy(Golden.Path($"{fixture}/{index}"), Path.Combine(folder, name), true);
    }
}
