using System.Security.Cryptography;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Checkpoints;

public sealed class SafetensorsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    [Trait("Category", "Golden")]
    public void Valid_files_hold_what_the_reference_read()
    {
        foreach (var (file, token) in (JObject)Golden.Json("safetensors/expected")["files"]!)
        {
            var path = Golden.Existing("safetensors/" + file);
            Dictionary<string, Tensor> tensors;
            try
            {
                tensors = Safetensors.Load(path);
            }
            catch (UnusableFileException e) when (token!["may_refuse"] is { Type: not JTokenType.Null })
            {
                Assert.Contains(file, e.Message);
                continue;
            }

            Assert.Equal(((JArray)token!["tensors"]!).Count, tensors.Count);
            Assert.Equal(token["metadata"]!.ToObject<Dictionary<string, string>>() ?? [],
                SafetensorsHeader.Read(path).Metadata.ToDictionary());
            foreach (var expected in token["tensors"]!)
            {
                var tensor = tensors[(string)expected["name"]!];
                Assert.Equal((string)expected["dtype"]!, ElementTypes.TorchNameOf(tensor.dtype));
                Assert.Equal(expected["shape"]!.Select(size => (long)size), tensor.shape);
                var bytes = tensor.numel() == 0 ? [] : tensor.bytes.ToArray();
                Assert.Equal((string)expected["sha256"]!, Convert.ToHexStringLower(SHA256.HashData(bytes)));
            }
        }
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void Invalid_files_are_refused_with_the_reason()
    {
        foreach (var (file, token) in (JObject)Golden.Json("safetensors/invalid/manifest")["files"]!)
        {
            if ((string)token!["must"]! == "refuse")
            {
                var path = Golden.Existing("safetensors/invalid/" + file);
                var thrown = Record.Exception(() => Safetensors.Load(path));
                Assert.True(thrown is UnusableFileException && thrown.Message.Contains(file),
                    $"{file} ({token["reason"]}): {thrown}");
            }
        }
    }

    [Fact]
    public void What_is_saved_loads_the_same()
    {
        var path = Path.Combine(folder, "a.safetensors");
        var tensors = new Dictionary<string, Tensor>
        {
            ["b"] = arange(6, ScalarType.Float32).view(2, 3), ["a"] = tensor(new long[] { 1, -2 }),
            ["c"] = tensor(true),
        };
        Safetensors.Save(path, tensors, new Dictionary<string, string> { ["k"] = "v" });
        var loaded = Safetensors.Load(path);
        Assert.All(tensors, pair => Golden.Equal(pair.Value, loaded[pair.Key], pair.Key));
        Assert.Equal("v", SafetensorsHeader.Read(path).Metadata["k"]);
    }

    [Fact]
    public void Loading_into_a_model_lists_all_differences_at_once()
    {
        var path = Path.Combine(folder, "a.safetensors");
        Safetensors.Save(path, new Dictionary<string, Tensor> { ["x"] = zeros(2), ["extra"] = zeros(1) });
        var thrown = Assert.Throws<UnusableFileException>(() =>
            Safetensors.LoadInto(new Dictionary<string, Tensor> { ["x"] = zeros(3), ["lost"] = zeros(1) }, path));
        Assert.Contains("lost is missing", thrown.Message);
        Assert.Contains("extra is not part of the model", thrown.Message);
        Assert.Contains("x is [2], the model has [3]", thrown.Message);
    }

    [Fact]
    public void A_failed_save_leaves_the_earlier_file_alone()
    {
        var path = Path.Combine(folder, "a.safetensors");
        Safetensors.Save(path, new Dictionary<string, Tensor> { ["x"] = ones(2) });
        using var nothing = empty(2, device: META); // has no bytes that could be written
        Assert.ThrowsAny<Exception>(() =>
            Safetensors.Save(path, new Dictionary<string, Tensor> { ["w"] = zeros(2), ["x"] = nothing }));
        Golden.Equal(ones(2), Safetensors.Load(path)["x"]);
        Assert.Equal([path], Directory.GetFiles(folder));
    }

    public void Dispose() => Directory.Delete(folder, true);
}
