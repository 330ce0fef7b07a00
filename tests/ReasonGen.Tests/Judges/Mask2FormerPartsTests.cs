using ReasonGen.Judges.Mask2Former;
using ReasonGen.Core;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class Mask2FormerPartsTests
{
    public static TheoryData<int> Sampled => [.. Numbers("mask2former/deformable", ".locations")];

    public static TheoryData<int> Windowed => [.. Numbers("mask2former/windows", ".settings")];

    [Theory]
    [MemberData(nameof(Sampled))]
    public void Sampling_equals_the_reference(int n)
    {
        var t = Golden.Tensors("mask2former/deformable");
        Tensor Of(string name) => t[$"{n}.{name}"];
        using var free = no_grad();
        using var scope = NewDisposeScope();
        for (var row = 0; row < Of("value").shape[0]; row++)
        {
            var (value, locations, weights, shapes) = (Of("value")[row], Of("locations")[row], Of("weights")[row],
                Shapes(Of("shapes")));
            Golden.Close(Of("output")[row], Deformable.SampleMaps(value, shapes, locations, weights).flatten(1), 1e-5,
                $"maps {n}");
            Golden.Close(Of("output")[row], Deformable.Sample(value, shapes, locations, weights).flatten(1), 1e-5,
                $"sample {n}");
            Golden.Close(Of("output")[row], Deformable.SampleRows(value, shapes, locations, weights).flatten(1), 1e-5,
                $"rows {n}");
        }
    }

    [Fact]
    public void Deformable_attention_equals_the_reference()
    {
        var t = Golden.Tensors("mask2former/deformable");
        Tensor Of(string name) => t["module." + name];
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var shapes = Shapes(Of("shapes"));
        var points = Of("reference_points")[0];
        var heads = (int)(Of("attention_weights.bias").shape[0] / shapes.Length / 4);
        var actual = Deformable.Attend(new Weights(t, "module."), Of("query").squeeze(1), Of("query_pos").squeeze(1),
            points, shapes, heads);
        Golden.Close(Of("output").squeeze(1), actual, 1e-5);
    }

    [Theory]
    [MemberData(nameof(Windowed))]
    public void Window_attention_equals_the_reference(int n)
    {
        var t = Golden.Tensors("mask2former/windows");
        var settings = t[$"{n}.settings"].Values<long>().Select(value => (int)value).ToArray();
        int side = settings[0], shift = settings[1], height = settings[2], width = settings[3], heads = settings[5];
        using var free = no_grad();
        using var scope = NewDisposeScope();
        using var windows = new SwinWindows(height, width, side, shift, CPU, ScalarType.Float32);
        for (var row = 0; row < t[$"{n}.input"].shape[0]; row++)
        {
            var actual = Swin.Attend(new Weights(t, $"{n}.w_msa."), t[$"{n}.input"][row], windows, heads, side);
            Golden.Close(t[$"{n}.output"][row], actual, 1e-5, $"case {n}");
        }

        Assert.Equal(t.ContainsKey($"{n}.mask"), windows.Mask is not null);
        if (windows.Mask is { } mask)
        {
            Golden.Equal(t[$"{n}.mask"].mul(-100.0), mask.squeeze(1), $"mask {n}");
        }
    }

    [Fact]
    public void Indices_merging_and_positions_equal_the_reference()
    {
        var t = Golden.Tensors("mask2former/windows");
        using var free = no_grad();
        using var scope = NewDisposeScope();
        foreach (var (name, expected) in t)
        {
            var parts = name.Split('.');
            if (parts[0] == "relative_index")
            {
                Assert.Equal(expected.Values<long>(), SwinWindows.RelativeIndex(int.Parse(parts[1])));
            }
            else if (parts[0] == "sine")
            {
                var size = Array.ConvertAll(parts[1].Split('x'), int.Parse);
                Golden.Close(expected[0].permute(1, 2, 0).flatten(0, 1), PixelDecoder.Sine((size[0], size[1]),
                    (int)expected.shape[1], CPU), 1e-6, name);
            }
            else if (parts is ["merge", var map, "input"])
            {
                var size = Array.ConvertAll(map.Split('x'), int.Parse);
                var merged = Swin.Merge(new Weights(t, "merge."), expected[0].view(size[0], size[1], -1));
                Golden.Close(t[$"merge.{map}.output"][0], merged, 1e-5, name);
            }
        }
    }

    private static (int, int)[] Shapes(Tensor shapes) =>
        [.. shapes.Values<long>().Chunk(2).Select(pair => ((int)pair[0], (int)pair[1]))];

    private static IEnumerable<int> Numbers(string file, string ending) =>
        Golden.Tensors(file).Keys.Where(key => key.EndsWith(ending)).Select(key => int.Parse(key[..^ending.Length]))
            .Order();
}
