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
    private static string Own =>
        System.IO.Path.Combine(System.IO.Path.GetDirectoryName(Study.DataFolder())!, "tests", "golden");

    private static readonly string Folder = Environment.GetEnvironmentVariable("REASONGEN_GOLDEN") is { Length: > 0 }
        other ? Whole(other) : Own;

    // without sizes or seeds, and made once: another set need not have them
    private static readonly string[] MadeOnce = ["tokenizer/malformed", "tokenizer/unicode_classes"];

    // members that hold nothing in some sets
    private static readonly string[] Sparse = ["buffers", "errors", "hf_optional_buffers", "may_also_be_in_a_file",
        "only_in_2", "only_in_3", "only_in_hf"];

    // seen from the shell, not from the folder of the tests, where they run
    private static string Whole(string folder) => Environment.GetEnvironmentVariable("PWD") is { } shell
        && System.IO.Path.IsPathFullyQualified(shell) && Directory.Exists(System.IO.Path.Combine(shell, folder))
            ? System.IO.Path.GetFullPath(folder, shell) : System.IO.Path.GetFullPath(folder);

    internal static string Path(string name)
    {
        var path = System.IO.Path.Combine(Folder, name);
        return MadeOnce.Any(name.StartsWith) && !System.IO.Path.Exists(path) ? System.IO.Path.Combine(Own, name) : path;
    }

    /// <summary>The path of a file that must be there: one to be refused would be refused too if it were not.</summary>
    internal static string Existing(string name)
    {
        Assert.True(File.Exists(Path(name)), $"the fixture lists {name}, which it does not have");
        return Path(name);
    }

    internal static Dictionary<string, Tensor> Tensors(string name)
    {
        var tensors = Safetensors.Load(Path(name + ".safetensors"));
        Assert.True(tensors.Count > 0, $"{name}.safetensors holds no tensors");
        return tensors.Here();
    }

    /// <summary>An object whose members hold something, so that no loop over one of them goes over nothing.</summary>
    internal static JObject Json(string name, bool mayBeSparse = false)
    {
        var json = (JObject)Token(name);
        Assert.All(json.Properties(), member => Assert.False(
            member.Value is JContainer { Count: 0 } && !mayBeSparse && !Sparse.Contains(member.Name),
            $"'{member.Name}' of {name}.json is empty"));
        return json;
    }

    /// <summary>A list of at least one case.</summary>
    internal static JArray List(string name) => (JArray)Token(name);

    /// <summary>At least one of them, so that a loop over them compares something.</summary>
    internal static List<T> Some<T>(this IEnumerable<T> cases, string what = "case")
    {
        List<T> some = [.. cases];
        Assert.True(some.Count > 0, $"the fixture has no {what}");
        return some;
    }

    /// <summary>Zip for lists that must be of one length.</summary>
    internal static List<(A First, B Second)> Paired<A, B>(this IEnumerable<A> expected, IEnumerable<B> actual)
    {
        var (first, second) = (expected.ToArray(), actual.ToArray());
        Assert.True(first.Length == second.Length, $"{second.Length} instead of {first.Length}");
        return [.. first.Zip(second)];
    }

    private static JToken Token(string name)
    {
        var zipped = Path(name + ".json.gz");
        using Stream file = File.Exists(zipped) ? new GZipStream(File.OpenRead(zipped), CompressionMode.Decompress)
            : File.OpenRead(Path(name + ".json"));
        using var reader = new JsonTextReader(new StreamReader(file)) { DateParseHandling = DateParseHandling.None };
        var token = JToken.Load(reader);
        Assert.True(token is JContainer { Count: > 0 }, $"{name}.json is empty");
        return token;
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
