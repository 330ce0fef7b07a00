using ReasonGen.Core;
using ReasonGen.Native;
using ReasonGen.Optimization;
using ReasonGen.Tests.Host;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace ReasonGen.Tests.Devices;

public sealed class ComputeTargetTests
{
    [Theory]
    [InlineData("cpu", ScalarType.Float32)]
    [InlineData(" CPU,bf16 ", ScalarType.BFloat16)]
    [InlineData("cpu,fp32", ScalarType.Float32)]
    public void A_device_is_read_with_its_type(string text, ScalarType type)
    {
        var target = ComputeTarget.Parse(text);
        Assert.True(target.IsCpu);
        Assert.Equal(type, target.DType);
        Assert.Equal(ScalarType.Float32, target.Exact.DType);
        Assert.Equal(target, ComputeTarget.Parse(target.Name));
    }

    [Theory]
    [InlineData("gpu")]
    [InlineData("cuda:")]
    [InlineData("cuda:x")]
    [InlineData("cuda:-1")]
    [InlineData("cpu:1")]
    [InlineData("cpu,fp16")]
    [InlineData("cpu,")]
    [InlineData("cpu,fp32,bf16")]
    [InlineData("lazy")]
    [InlineData("cuda:99999999999999999999")]
    public void What_names_no_device_is_refused_with_what_does(string text)
    {
        var message = Assert.Throws<ArgumentException>(() => ComputeTarget.Parse(text, "--device")).Message;
        Assert.StartsWith($"--device '{text}' names no device. Give cpu", message);
    }

    [Theory]
    [InlineData("cuda:63")]
    [InlineData("cuda:63,fp32")]
    public void A_GPU_that_is_not_there_is_refused_with_what_is(string text)
    {
        var message = Assert.Throws<ArgumentException>(() => ComputeTarget.Parse(text, "--device")).Message;
        Assert.StartsWith($"--device '{text}' is not there: ", message);
        Assert.Contains("What is there: cpu", message);
    }

    [Theory]
    [InlineData("generate", "--model", "tiny", "--prompt", "a", "--out", "OUT")]
    [InlineData("chat", "--model", "tiny", "hello")]
    [InlineData("study", "tokenizer", "--trial", "--out", "OUT")]
    [InlineData("run", "notebooks", "--out", "OUT")]
    public async Task A_command_says_so_before_any_work(params string[] arguments)
    {
        var folder = Path.Combine(Path.GetTempPath(), $"reasongen-{Guid.NewGuid():N}");
        string[] asked = [.. arguments.Select(argument => argument == "OUT" ? folder : argument)];
        var (code, output, error) = await Reasongen.RunApartAsync([.. asked, "--device", "cuda:63"]);
        Assert.Equal(2, code);
        Assert.Empty(output);
        Assert.StartsWith("--device 'cuda:63' is not there: ", error);
        Assert.Single(error.Trim().Split('\n'));
        Assert.False(Directory.Exists(folder));
    }

    [Fact]
    public async Task Doctor_tells_what_libtorch_sees()
    {
        var (_, output, _) = await Reasongen.RunApartAsync("doctor", "--json");
        Assert.Contains("\"libtorch sees\"", output);
        Assert.Contains("\"GPU driver\"", output);
        Assert.Equal(Gpus.All.Count, Gpus.All.Select(gpu => gpu.Index).Distinct().Count());
    }

    [Fact]
    public void Nothing_that_is_called_fp32_is_rounded_by_the_device()
    {
        _ = ComputeTarget.Default;
        Assert.False(backends.cudnn.allow_tf32);
        Assert.False(backends.cuda.matmul.allow_tf32);
    }

    [Fact]
    public void Gradients_of_bf16_weights_are_summed_in_fp32()
    {
        // 1 and 64 times 1/256: bf16 has no 1 + 1/256
        var weight = new Parameter(zeros(1, ScalarType.BFloat16, CPU));
        using var optimizer = new AdamW([("w", weight)]);
        void Add(double gradient) => weight.mul(gradient).sum().backward();
        Add(1);
        for (var i = 0; i < 64; i++)
        {
            optimizer.WidenGradients();
            Add(1 / 256.0);
        }

        Assert.Equal(1.25f, weight.grad!.item<float>());
    }
}
