using System.IO.Compression;
using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judges.UniDet;
using ReasonGen.Scoring;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

/// <summary>The small detectors of the fixtures.</summary>
internal static class UniDetFixture
{
    internal static ComputeTarget Target => TestDevice.Target;

    internal static string[] Kinds => [.. ((JObject)Golden.Json("unidet/config")["tiny"]!).Properties()
        .Select(kind => kind.Name)];

    internal static string File(string kind) => Golden.Path($"unidet/{kind}.pth");

    /// <summary>Sizes as the fixtures' configuration tells them: "published" or "tiny".</summary>
    internal static UniDetConfig Config(string kind, string which = "tiny")
    {
        var json = Golden.Json("unidet/config")[which]![kind]!;
        int Size(string key) => (int)json[key]!;
        return new()
        {
            Kind = Enum.Parse<UniDetKind>(kind), Blocks = json["blocks"]!.ToObject<int[]>()!, StemWidth =
                Size("stem_out"), Width = Size("res2_out"),
            InnerWidth = Size("res2_width"), PyramidWidth = Size("fpn_out"), HeadConvolutions = Size("head_convs"),
            HeadConvolutionWidth = Size("head_conv_dim"), HeadLayers = Size("head_fcs"), HeadWidth =
                Size("head_fc_dim"), Classes = Size("classes"),
            ProposalsPerLevel = Size("rpn_pre"), Proposals = Size("rpn_post"), Detections = Size("detections"),
        };
    }

    /// <summary>The names that the fixtures tell, and a number for each of the others.</summary>
    internal static UniDetLabels Labels { get; } = new(
    [
        .. Enumerable.Range(0, (int)Golden.Json("unidet/config")["labels"]!["count"]!)
            .Select(i => (string?)Golden.Json("unidet/config")["labels"]!["some"]![$"{i}"] ?? $"class {i}"),
    ]);

    /// <summary>Those objects of the benchmark's list that are classes of the fixtures, or never found.</summary>
    internal static string[] Objects =>
        ("bottle - bottles,cup - cups,bird - birds,fish - fish,suitcase - suitcases,horse - horses,man - men,"
        + "bicycle - bicycles,vase - vases,sheep - sheep,car - cars,dog - dogs,cat - cats,person - people,"
        + "chair - chairs,boat - boats").Split(',');

    internal static UniDetModel Model(string kind) => UniDetFiles.Load(File(kind), Target, Config(kind));

    internal static UniDetDetector Detector(string kind) =>
        UniDetDetector.Load(File(kind), Labels, Target, Config(kind));

    internal static RgbImage Image(string name) => UniDetImage.Read(Golden.Path("unidet/" + name));

    /// <summary>{"labels": [...]} as torch.save writes it.</summary>
    internal static string LabelFile(string path, IReadOnlyList<string> labels)
    {
        using var zip = ZipFile.Open(path, ZipArchiveMode.Create);
        using var entry = zip.CreateEntry("archive/data.pkl", CompressionLevel.NoCompression).Open();
        entry.Write(Encoding.Latin1.GetBytes("\u0080\u0002}" + Text("labels") + "]("
            + string.Concat(labels.Select(Text)) + "es."));
        return path;

        static string Text(string text) => $"X{(char)text.Length}\0\0\0{text}";
    }

    /// <summary>Within a share of the largest value.</summary>
    internal static void Near(Tensor expected, Tensor actual, string what, double share = 5e-5)
    {
        var largest = expected.numel() == 0 ? 0 : expected.to(ScalarType.Float64).abs().max().ToDouble();
        Golden.Close(expected, actual, share * largest, what);
    }

    internal static void Same(JToken expected, IReadOnlyList<Detection> found, string what)
    {
        Assert.Equal(expected.Select(one => (string)one["label"]!), found.Select(one => one.Class));
        Assert.All(expected.Paired(found), pair =>
        {
            Assert.True(Math.Abs((double)pair.First["score"]! - pair.Second.Score) <= 3e-4, what);
            Assert.All(pair.First["box"]!.Paired([pair.Second.X1, pair.Second.Y1, pair.Second.X2, pair.Second.Y2]),
                side => Assert.Equal((double)side.First, side.Second, 0.05));
        });
    }
}
