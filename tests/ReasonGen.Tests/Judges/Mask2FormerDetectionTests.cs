using System.Security.Cryptography;
using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class Mask2FormerDetectionTests
{
    public static TheoryData<string> Files => [.. Golden.Tensors("mask2former/decode").Keys];

    public static TheoryData<string> Images => [.. Golden.Json("mask2former/preprocess").Properties()
        .Select(p => p.Name)];

    public static TheoryData<string> Detected => [.. Golden.Json("mask2former/detections").Properties()
        .Select(p => p.Name)];

    public static TheoryData<string> Logits => [.. Golden.Json("mask2former/postprocess").Properties()
        .Where(p => p.Value is JObject).Select(p => p.Name)];

    [Theory]
    [MemberData(nameof(Files))]
    public void Files_are_read_like_mmdetection(string name) =>
        Same(Golden.Tensors("mask2former/decode")[name],
            DetectorImageFile.Read(Golden.Path($"mask2former/decode/{name}.png")), name);

    [Fact]
    public void Sizes_equal_the_reference()
    {
        var json = Golden.Json("mask2former/sizes");
        Assert.All(json["rows"]!, row =>
        {
            int[] n = row.ToObject<int[]>()!;
            int[] real = json["scale"]!.ToObject<int[]>()!, small = json["small_scale"]!.ToObject<int[]>()!;
            var (width, height) = DetectorImage.Size(n[0], n[1], real.Max(), real.Min());
            Assert.Equal((n[2], n[3], n[4], n[5]), (width, height, DetectorImage.Padded(width),
                DetectorImage.Padded(height)));
            Assert.Equal((n[6], n[7]), DetectorImage.Size(n[0], n[1], small.Max(), small.Min()));
        });
    }

    [Fact]
    public void Resizing_equals_OpenCV()
    {
        var t = Golden.Tensors("mask2former/resize");
        Assert.All(t.Keys.Where(key => key.EndsWith(".in")).Some(), key =>
        {
            var expected = t[key.Replace(".in", ".out")];
            Same(expected, DetectorImage.Resize(Mask2FormerFixture.Image(t[key]), (int)expected.shape[1],
                (int)expected.shape[0]), key);
        });
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Images_are_prepared_like_the_reference(string name)
    {
        var (t, json) = (Golden.Tensors("mask2former/preprocess"), Golden.Json("mask2former/preprocess")[name]!);
        var image = Read(name);
        using (var small = DetectorImage.Prepare(image, Mask2FormerFixture.Config))
        {
            Golden.Equal(t[name + ".img"], small.Pixels[0], name);
            Same(t[name + ".resized"], DetectorImage.Resize(image, small.Resized.Width, small.Resized.Height), name);
        }

        using var real = DetectorImage.Prepare(image, Mask2FormerFixture.RealScale);
        Assert.Equal((string)json["real"]!["img_sha256"]!,
            Convert.ToHexStringLower(SHA256.HashData(real.Pixels.bytes)));
        Assert.Equal((string)json["real"]!["resized_rgb_sha256"]!,
            Convert.ToHexStringLower(
                SHA256.HashData(DetectorImage.Resize(image, real.Resized.Width, real.Resized.Height)
                .Rgb)));
    }

    [Fact]
    public void Images_are_prepared_like_mmdetection_3_where_that_is_asked() =>
        Assert.All(Golden.Tensors("mask2former/mmdet3"), pair =>
    {
        using var prepared = DetectorImage.Prepare(Read(pair.Key.Split('.')[0]),
            Mask2FormerFixture.Config with { PreparedLike3 = true });
        Golden.Close(pair.Value.dim() == 4 ? pair.Value[0] : pair.Value, prepared.Pixels[0], 1e-5, pair.Key);
    });

    [Theory]
    [MemberData(nameof(Detected))]
    public void Detections_equal_inference_detector(string name)
    {
        var json = Golden.Json("mask2former/detections")[name]!;
        var config = json["img_scale"] is null ? Mask2FormerFixture.Config : Mask2FormerFixture.RealScale;
        using var detector = Mask2FormerDetector.Load(Mask2FormerFixture.File, Mask2FormerFixture.Target, config);
        SameObjects(Golden.Tensors("mask2former/detections"), name,
            detector.Find(Read((string?)json["picture"] ?? name)), 2e-4);
    }

    [Fact]
    public void GenEval_keeps_the_same_boxes()
    {
        using var detector = Mask2FormerDetector.Load(Mask2FormerFixture.File, Mask2FormerFixture.Target,
            Mask2FormerFixture.Config);
        Assert.All(Golden.Json("mask2former/geneval_kept").Properties(), image =>
        {
            var found = detector.Detect(Read(image.Name));
            Assert.All(((JObject)image.Value).Properties().Some(), threshold =>
            {
                var number = double.Parse(threshold.Name, System.Globalization.CultureInfo.InvariantCulture);
                var kept = GenEval.Keep(found, "single_object", new() { Threshold = number });
                Assert.Equal(((JObject)threshold.Value).Properties().Select(p => p.Name), kept.Keys);
                Assert.All(((JObject)threshold.Value).Properties(), expected =>
                {
                    Assert.Equal(expected.Value.Count(), kept[expected.Name].Count);
                    Assert.All(expected.Value.Paired(kept[expected.Name]), pair =>
                    {
                        float[] box = pair.First.ToObject<float[]>()!;
                        Assert.Equal((box[0], box[1], box[2], box[3]), (pair.Second.X1, pair.Second.Y1, pair.Second.X2,
                            pair.Second.Y2));
                        Assert.Equal(box[4], pair.Second.Score, 2e-4f);
                    });
                });
            });
        });
    }

    [Theory]
    [MemberData(nameof(Logits))]
    public void Objects_of_given_logits_equal_the_reference(string name)
    {
        var (t, json) = (Golden.Tensors("mask2former/postprocess"), Golden.Json("mask2former/postprocess")[name]!);
        (int, int) Size(string key) => ((int)json[key]![0]!, (int)json[key]![1]!);
        SameObjects(t, name, InstanceResults.Find(t[name + ".class_logits"][0], t[name + ".mask_logits"][0],
            Size("padded_h_w"), Size("img_h_w"), Size("original_h_w")), 2e-6);
    }

    [Fact]
    public void One_query_is_an_error_as_in_the_reference() =>
        Assert.Throws<ArgumentException>(() => InstanceResults.Find(zeros(1, 81), zeros(1, 8, 8), (32, 32), (32, 32),
            (32, 32)));

    [Fact]
    public void Settings_within_processor_config_are_read()
    {
        using var folder = new Host.TestFolder();
        Assert.Contains("preprocessor_config.json", Assert.Throws<UnusableFileException>(() =>
            HuggingFaceImages.Read(folder.Path)).Message);
        folder.Write("processor_config.json", """{ "image_processor": { "size": { "height": 64, "width": 32 } } }""");
        using var prepared = HuggingFaceImages.Read(folder.Path).Prepare(new RgbImage(9, 5, new byte[135]));
        Assert.Equal([1, 3, 64, 32], prepared.Pixels.shape);
    }

    [Fact]
    public void The_transformers_layout_equals_the_library()
    {
        var room = Directory.CreateTempSubdirectory("mask2former-").FullName;
        try
        {
            var folder = Mask2FormerFixture.HuggingFaceFolder(room);
            var (model, kind) = Mask2FormerFiles.Load(folder, Mask2FormerFixture.Target, Mask2FormerFixture.Config);
            using var owned = model;
            Assert.False(kind.IsOfficial);
            Assert.Contains("not GenEval's official detector", kind.Label);
            var t = Golden.Tensors("mask2former/hf_output");
            using var scope = NewDisposeScope();
            foreach (var (name, expected) in (JObject)Golden.Json("mask2former/hf_output")["cases"]!)
            {
                var images = new HuggingFaceImages(new ConfigSection("preprocessor_config.json", "",
                    (JObject)expected!["processor"]!));
                using var prepared =
                    images.Prepare(Read(Path.GetFileNameWithoutExtension((string)expected["picture"]!)));
                Golden.Close(t[name + ".pixel_values"], prepared.Pixels, 1e-5, name);
                var (classes, masks) = model.Forward(prepared.Pixels);
                Golden.Close(t[name + ".class_logits"][0], classes, 1e-3, name);
                Golden.Close(t[name + ".mask_logits"][0], masks, 1e-3, name);
                var (map, segments) = HuggingFaceImages.Segmentation(classes, masks, ((int)expected["target_h_w"]![0]!,
                    (int)expected["target_h_w"]![1]!), (double)expected["threshold"]!);
                Assert.Equal(expected["segments"]!.Select(segment => ((int)segment[0]!, (int)segment[1]!)),
                    segments.Select(segment => (segment.Id, segment.Class)));
                Assert.All(expected["segments"]!.Paired(segments), pair =>
                    Assert.Equal((double)pair.First[2]!, pair.Second.Score, 1e-3));
                Assert.Equal(t[name + ".segmentation"].Values<byte>(), map);
                Assert.All(segments, segment =>
                    Assert.Equal(Mask2FormerFixture.Bits(t[name + ".binary"][segment.Id].Values<byte>(), map.Length),
                    segment.Mask));
            }

            using var detector = Mask2FormerDetector.Load(folder, Mask2FormerFixture.Target, Mask2FormerFixture.Config);
            Assert.Equal(100, detector.Detect(Read("a")).Count);
        }
        finally
        {
            Directory.Delete(room, recursive: true);
        }
    }

    [Fact]
    public void Renamed_weights_of_mmdetection_3_give_the_same_logits()
    {
        var room = Directory.CreateTempSubdirectory("mask2former-").FullName;
        try
        {
            var path = Path.Combine(room, "renamed.safetensors");
            Safetensors.Save(path, CheckpointFiles.Open(Mask2FormerFixture.File).Load()
                .ToDictionary(pair => Mask2FormerNames.Mmdetection3(pair.Key), pair => pair.Value));
            var (model, kind) = Mask2FormerFiles.Load(path, Mask2FormerFixture.Target, Mask2FormerFixture.Config);
            using var owned = model;
            Assert.Equal(Mask2FormerLayout.Mmdetection3, kind.Layout);
            var t = Golden.Tensors("mask2former/detections");
            using var scope = NewDisposeScope();
            Golden.Close(t["b.class_logits"][0], model.Forward(Golden.Tensors("mask2former/trace")["img"]).ClassLogits,
                5e-4);
        }
        finally
        {
            Directory.Delete(room, recursive: true);
        }
    }

    private static RgbImage Read(string name) =>
        DetectorImageFile.Read(Golden.Path($"mask2former/images/{Path.GetFileNameWithoutExtension(name)}.png"));

    private static void Same(Tensor expected, RgbImage actual, string what)
    {
        Assert.Equal((expected.shape[1], expected.shape[0]), (actual.Width, actual.Height));
        Assert.True(expected.Values<byte>().AsSpan().SequenceEqual(actual.Rgb), $"{what}: pixels differ");
    }

    // rows with score 0 tie: compared as a set
    private static void SameObjects(Dictionary<string, Tensor> t, string name, IReadOnlyList<Instance> found,
        double tolerance)
    {
        var (boxes, labels, queries) = (t[name + ".boxes"].Values<float>(), t[name + ".labels"].Values<long>(),
            t[name + ".query"].Values<long>());
        Assert.Equal(labels.Length, found.Count);
        var nearZero = t.GetValueOrDefault(name + ".near_zero")?.Values<byte>();
        long pixels = found[0].Mask.Inside.Length, width = t[name + ".masks"].shape[1];
        var packed = t[name + ".masks"].Values<byte>();
        byte[] Mask(byte[] rows, long query) => Mask2FormerFixture.Bits(rows.AsSpan((int)(query * width), (int)width),
            pixels);
        for (var i = 0; i < labels.Length && boxes[5 * i + 4] > 1e-6; i++)
        {
            var one = found[i];
            Assert.Equal((boxes[5 * i], boxes[5 * i + 1], boxes[5 * i + 2], boxes[5 * i + 3]),
                (one.X1, one.Y1, one.X2, one.Y2));
            Assert.Equal((int)labels[i], one.Class);
            Assert.Equal(boxes[5 * i + 4], one.Score, tolerance);
            var (expected, loose) = (Mask(packed, queries[i]), nearZero is null ? null : Mask(nearZero, queries[i]));
            var differ = Enumerable.Range(0, expected.Length).Count(p => expected[p] != one.Mask.Inside[p]
                && loose?[p] != 1);
            Assert.True(differ == 0, $"{name}: the mask of object {i} differs in {differ} pixels");
        }

        var rest = Enumerable.Range(0, labels.Length).Where(i => boxes[5 * i + 4] <= 1e-6).ToArray();
        Assert.Equal(rest.Select(i => (labels[i], boxes[5 * i + 2], boxes[5 * i + 3])).Order(),
            rest.Select(i => ((long)found[i].Class, found[i].X2, found[i].Y2)).Order());
        Assert.All(rest, i => Assert.Equal(0, found[i].Score, 1e-5));
    }
}
