using System.IO.Compression;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Studies;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests;

/// <summary>Fixtures made by the reference implementations: those of the repository, or another set of the same
/// layout.</summary>
internal static class Golden
{
    private static readonly string Folder =
        Environment.GetEnvironmentVariable("REASONGEN_GOLDEN") is { Length: > 0 } other ? other
        : System.IO.Path.Combine(System.IO.Path.GetDirectoryName(Study.DataFolder())!, "tests", "golden");

    internal static string Path(string name) => System.IO.Path.Combine(Folder, name);

    internal static Dictionary<string, Tensor> Tensors(string name) =>
        Safetensors.Load(Path(name + ".safetensors")).Here();

    internal static JObject Json(string name) => (JObject)Token(name);

    internal static JArray List(string name) => (JArray)Token(name);

    private static JToken Token(string name)
    {
        var zipped = Path(name + ".json.gz");
        using Stream file = File.Exists(zipped) ? new GZipStream(File.OpenRead(zipped), CompressionMode.Decompress)
            : File.OpenRead(Path(name + ".json"));
        using var reader = new JsonTextReader(new StreamReader(file)) { DateParseHandling = DateParseHandling.None };
        return JToken.Load(reader);
    }

    internal static void Close(Tensor expected, Tensor actual, double tolerance, string what = "")
    {
        Assert.True(expected.shape.SequenceEqual(actual.shape),
            $"{what}: [{string.Join(", ", actual.shape)}] instead of [{string.Join(", ", expected.shape)}]");
        using var scope = NewDisposeScope();
        Tensor Wide(Tensor values) => values.detach().cpu().to(ScalarType.Float64);
        var worst = expected.numel() == 0 ? 0 : Wide(expected).sub(Wide(actual)).abs().max().ToDouble();
        Assert.True(worst <= tolerance, $"{what}: off by {worst:G4}, more than {tolerance:G4}");
    }

    internal static void Equal(Tensor expected, Tensor actual, string what = "") => Close(expected, actual, 0, what);

    /// <summary>Weights by the rule of golden/janus/README.md; not scaled, the rule's plain u.</summary>
    internal static Tensor ByRule(string name, long[] shape, bool scaled = true)
    {
        var hash = 0xcbf29ce484222325UL;
        foreach (var b in System.Text.Encoding.UTF8.GetBytes(name))
        {
            hash = (hash ^ b) * 0x100000001b3UL;
        }

        long count = shape.Aggregate(1L, (product, size) => product * size);
        var values = new float[count];
        var scale = !scaled || (name.Contains("embed") && !name.Contains("patch_embed")) ? 1
            : Math.Sqrt(3.0 * shape[0] / count);
        var kind = name.EndsWith("bias") ? 0 : name.Contains("norm") ? 1 : 2;
        Parallel.For(0, 16, part =>
        {
            for (var i = count * part / 16; i < count * (part + 1) / 16; i++)
            {
                var x = hash + (ulong)(i + 1) * 0x9E3779B97F4A7C15UL;
                x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9UL;
                x = (x ^ (x >> 27)) * 0x94D049BB133111EBUL;
                x ^= x >> 31;
                var u = (x >> 40) / 8388608.0 - 1;
                values[i] = (float)(kind == 0 ? 0.1 * u : kind == 1 ? 1 + 0.2 * u : scale * u);
            }
        });
        return tensor(values, shape);
    }
}
