using System.Security.Cryptography;
using ReasonGen.Core;
using ReasonGen.Judges.UniDet;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class UniDetPartsTests
{
    public static TheoryData<int> Regions => [.. Enumerable.Range(0, Golden.Json("unidet/operators")["roi"]!.Count())];

    public static TheoryData<int> Weighted =>
        [.. Enumerable.Range(0, Golden.Json("unidet/operators")["deltas"]!.Count())];

    public static TheoryData<string> Suppressed =>
        [.. Golden.Json("unidet/operators")["nms"]!.Select(one => (string)one["name"]!)];

    public static TheoryData<int> Modes =>
        [.. Enumerable.Range(0, Golden.Json("unidet/preprocess")["pictures"]!.Count())];

    [Theory]
    [MemberData(nameof(Regions))]
    public void Regions_of_maps_equal_RoIAlign(int n)
    {
        var (t, json) = (Golden.Tensors("unidet/operators"), Golden.Json("unidet/operators")["roi"]![n]!);
        using var scope = NewDisposeScope();
        var (maps, rois) = (t[$"roi.{n}.input"], t[$"roi.{n}.rois"]);
        (int Rows, int Columns) output = ((int)json["output"]![0]!, (int)json["output"]![1]!);
        var owners = rois.select(1, 0).Values<float>();
        var regions = Box.Of(rois.narrow(1, 1, 4));
        foreach (var aligned in new[] { true, false }.Where(aligned => aligned
            || t.ContainsKey($"roi.{n}.output_legacy")))
        {
            var expected = t[$"roi.{n}.output" + (aligned ? "" : "_legacy")];
            for (var image = 0; image < maps.shape[0]; image++)
            {
                int[] own = [.. Enumerable.Range(0, owners.Length).Where(i => (int)owners[i] == image)];
                var map = maps[image].permute(1, 2, 0);
                var scale = 1f / (float)json["stride"]!;
                Box[] some = [.. own.Select(i => regions[i])];
                var pooled = RoiAlign.Pool(map, some, scale, output, (int)json["sampling_ratio"]!, aligned);
                var wanted = expected.index_select(0, tensor(own, int64)).permute(0, 2, 3, 1);
                Golden.Close(wanted, pooled, 1e-5, $"case {n}, aligned {aligned}");
                RoiAlign.Bins[] Bins(Func<Box, (float, float)> axis, long size, int count) =>
                    [.. some.Select(box => new RoiAlign.Bins(
                    axis(box).Item1, axis(box).Item2, scale, (int)size, count, (int)json["sampling_ratio"]!, aligned))];
                Golden.Close(wanted, RoiAlign.Multiply(map, Bins(box => (box.Y1, box.Y2), map.shape[0], output.Rows),
                    Bins(box => (box.X1, box.X2), map.shape[1], output.Columns)), 1e-5,
                        $"case {n} by products, aligned {aligned}");
            }
        }
    }

    [Fact]
    public void Levels_and_pooling_equal_the_reference()
    {
        var t = Golden.Tensors("unidet/operators");
        using var scope = NewDisposeScope();
        var boxes = Box.Of(t["pooler.boxes"]);
        Assert.Equal(t["pooler.levels"].Values<long>(), boxes.Select(box => (long)CascadeHeads.LevelOf(box)));
        Golden.Close(t["pooler.output"], CascadeHeads.Pool([t["pooler.p3"], t["pooler.p4"], t["pooler.p5"]], boxes),
            1e-5);
    }

    [Fact]
    public void Anchors_equal_the_reference()
    {
        var (t, json) = (Golden.Tensors("unidet/operators"), Golden.Json("unidet/operators")["anchors"]!);
        foreach (var (level, grid) in json["grids"]!.Some().Index())
        {
            Golden.Close(t["anchors.cell"][level], Box.ToTensor(Box.CellAnchors(level)), 1e-5);
            Golden.Close(t[$"anchors.p{level + 3}"], Box.ToTensor(Box.Anchors(level, (int)grid[0]!, (int)grid[1]!)),
                1e-5);
        }
    }

    [Theory]
    [MemberData(nameof(Weighted))]
    public void Decoded_boxes_equal_the_reference(int n)
    {
        var (t, json) = (Golden.Tensors("unidet/operators"), Golden.Json("unidet/operators")["deltas"]![n]!);
        var decoded = Box.Decode(Box.Of(t["deltas.boxes"]), t[$"deltas.{n}.deltas"].Values<float>(),
            (float)json["weights"]![0]!,
            (float)json["weights"]![2]!);
        var clipped = decoded.Select(box => box.Clip(((int)json["clip_hw"]![0]!, (int)json["clip_hw"]![1]!))).ToArray();
        UniDetFixture.Near(t[$"deltas.{n}.boxes"], Box.ToTensor(decoded), "boxes", 1e-6);
        Golden.Close(t[$"deltas.{n}.clipped"], Box.ToTensor(clipped), 1e-4);
        Assert.Equal(t[$"deltas.{n}.nonempty"].Values<byte>(), clipped.Select(box => box.HasArea ? (byte)1 : (byte)0));
    }

    [Theory]
    [MemberData(nameof(Suppressed))]
    public void Suppression_keeps_what_torchvision_keeps(string name)
    {
        var t = Golden.Tensors("unidet/operators");
        var threshold = (double)Golden.Json("unidet/operators")["nms"]!.Single(one =>
            (string)one["name"]! == name)["threshold"]!;
        int[] groups = [.. t[$"nms.{name}.groups"].Values<long>().Select(group => (int)group)];
        IEnumerable<long> Kept(int most) => Suppression.KeepByGroup(Box.Of(t[$"nms.{name}.boxes"]),
            t[$"nms.{name}.scores"].Values<float>(), groups,
            threshold, most).Select(i => (long)i);
        Assert.Equal(t[$"nms.{name}.keep"].Values<long>(), Kept(Suppression.MostShiftedOnCpu));
        Assert.Equal(t[$"nms.{name}.keep_trick"].Values<long>(), Kept(int.MaxValue));
        Assert.Equal(t[$"nms.{name}.keep_vanilla"].Values<long>(), Kept(0));
    }

    [Fact]
    public void Proposals_that_are_not_finite_take_up_places_as_in_the_reference()
    {
        var (t, json) = (Golden.Tensors("unidet/operators"), Golden.Json("unidet/operators")["top"]!);
        var levels = Enumerable.Range(0, t.Keys.Count(key => key.StartsWith("top.proposals")))
            .Select(i => (Box.Of(t[$"top.proposals{i}"]), t[$"top.logits{i}"].Values<float>())).ToArray();
        var (boxes, logits) = Suppression.Proposals(levels, ((int)json["image_hw"]![0]!, (int)json["image_hw"]![1]!),
            (int)json["pre"]!,
            (int)json["post"]!, Suppression.MostShiftedOnCpu);
        Golden.Equal(t["top.boxes"], Box.ToTensor(boxes));
        Assert.Equal(t["top.logits"].Values<float>(), logits);
    }

    [Fact]
    public void The_last_step_equals_the_reference()
    {
        var (t, json) = (Golden.Tensors("unidet/operators"), Golden.Json("unidet/operators")["last"]!);
        var found = Suppression.Detections(Box.Of(t["last.boxes"]), t["last.scores"].Values<float>(),
            ((int)json["image_hw"]![0]!, (int)json["image_hw"]![1]!), 300, Suppression.MostShiftedOnCpu);
        Assert.Equal(t["last.out_classes"].Values<long>(), found.Select(one => (long)one.Class));
        Assert.Equal(t["last.out_scores"].Values<float>(), found.Select(one => one.Score));
        Golden.Equal(t["last.out_boxes"], Box.ToTensor([.. found.Select(one => one.Box)]));
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void Images_of_every_mode_are_read_and_resized_like_the_scripts_do(int n)
    {
        var json = Golden.Json("unidet/preprocess")["pictures"]![n]!;
        var image = UniDetFixture.Image($"modes/{(string)json["file"]!}");
        Assert.Equal(((int)json["width"]!, (int)json["height"]!), (image.Width, image.Height));
        var resized = UniDetImage.Resize(image);
        Assert.Equal(json["image_shape"]!.ToObject<int[]>()!, (int[])[3, resized.Height, resized.Width]);
        using var scope = NewDisposeScope();
        var blueFirst = tensor(resized.Rgb, [resized.Height, resized.Width, 3]).to(ScalarType.Float32).flip(2)
            .permute(2, 0, 1).contiguous();
        Assert.All(json["points_chw"]!.Some(), point => Assert.Equal((float)point[3]!,
            blueFirst[(int)point[0]!, (int)point[1]!, (int)point[2]!].ToSingle()));
        Assert.Equal((string)json["image_sha256"]!, Convert.ToHexStringLower(SHA256.HashData(blueFirst.bytes)));
    }

    [Fact]
    public void Sizes_and_the_resize_of_a_whole_image_equal_the_reference()
    {
        var json = Golden.Json("unidet/preprocess");
        Assert.All(json["sizes"]!, row =>
        {
            var (width, height) = UniDetImage.Size((int)row[0]!, (int)row[1]!);
            Assert.Equal(((string)row[2]!, (string)row[3]!), width > 0 && height > 0 ? ($"{width}", $"{height}")
                : ("error", "error"));
        });
        var big = UniDetImage.Resize(UniDetFixture.Image($"modes/{(string)json["big"]!["file"]!}"));
        Assert.Equal((string)json["big"]!["rgb_sha256"]!, Convert.ToHexStringLower(SHA256.HashData(big.Rgb)));
    }

    [Fact]
    public void An_image_too_narrow_to_resize_is_an_error_with_its_size() => Assert.Contains("1x2000",
        Assert.Throws<ArgumentException>(() => UniDetImage.Resize(new(1, 2000, new byte[6000]))).Message);
}
