using System.Buffers.Binary;
using System.Text;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Checkpoints;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class Mask2FormerFilesTests : IDisposable
{
    private readonly string room = Directory.CreateTempSubdirectory("mask2former-").FullName;

    [Fact]
    public void A_detector_of_other_sizes_is_refused_with_both_sizes()
    {
        var message = Refused(Mask2FormerFixture.File);
        Assert.Contains(Mask2FormerFixture.Config.Describe(), message);
        Assert.Contains(Mask2FormerConfig.Published.Describe(), message);
    }

    [Theory]
    [InlineData("roi_head.bbox_head.fc_cls.weight", "two stages")]
    [InlineData("sem_seg_head.predictor.query_feat.weight", "detectron2")]
    [InlineData("panoptic_head.cls_embed.weight", "not one of Mask2Former with a Swin backbone")]
    [InlineData("language_model.lm_head.weight", "no Mask2Former")]
    public void A_checkpoint_of_another_model_is_refused_with_what_it_is(string name, string what)
    {
        var path = Path.Combine(room, "other.safetensors");
        Safetensors.Save(path, new Dictionary<string, Tensor> { [name] = zeros(2, 2) });
        var message = Refused(path);
        Assert.Contains(what, message);
        Assert.Contains(name, message);
        Assert.Contains("Expected was GenEval's detector", message);
        Assert.Null(Mask2FormerFiles.Describe(path, CheckpointFiles.Open(path)));
    }

    [Fact]
    public void A_file_whose_name_promises_another_checksum_is_refused()
    {
        var path = Path.Combine(room, "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth");
        File.Copy(Mask2FormerFixture.File, path);
        Assert.Contains("promises a SHA-256 that begins with 743b7d99", Refused(path, Mask2FormerFixture.Config));
    }

    [Fact]
    public void A_missing_tensor_is_named()
    {
        var path = Path.Combine(room, "less.safetensors");
        Safetensors.Save(path, CheckpointFiles.Open(Mask2FormerFixture.File).Load()
            .Where(pair => !pair.Key.EndsWith("mask_feature.bias")).ToDictionary());
        Assert.Contains("mask_feature.bias", Refused(path, Mask2FormerFixture.Config) + Mask2FormerFiles.Describe(path,
            CheckpointFiles.Open(path)));
    }

    [Fact]
    public void The_transformers_layout_without_its_configuration_is_refused()
    {
        var folder = Mask2FormerFixture.HuggingFaceFolder(room);
        var alone = Path.Combine(room, "alone");
        Directory.CreateDirectory(alone);
        File.Copy(Path.Combine(folder, "model.safetensors"), Path.Combine(alone, "model.safetensors"));
        Assert.Contains("config.json", Refused(alone, Mask2FormerFixture.Config));
        Assert.Contains("without the config.json", Mask2FormerFiles.Describe(alone, CheckpointFiles.Open(alone)));
    }

    [Fact]
    public void Only_architecture_layout_and_checksum_together_are_official()
    {
        var published = new Mask2FormerKind(Mask2FormerLayout.Mmdetection2, Mask2FormerConfig.Published, "743b7d99"
            + new string('0', 56));
        Assert.True(published.IsOfficial);
        Assert.All(new[]
        {
            published with { Sha256 = new string('0', 64) }, published with { Sha256 = null },
                published with { Layout = Mask2FormerLayout.HuggingFace },
            published with { Config = published.Config with { Queries = 200 } },
                published with { Config = published.Config with { ShortSide = 640 } },
            published with { Config = published.Config with { PreparedLike3 = true } },
        }, other =>
        {
            Assert.False(other.IsOfficial);
            Assert.Contains("not ", other.Label);
        });
    }

    [Fact]
    public void Numbers_of_numpy_beside_the_weights_are_passed_over()
    {
        var path = Path.Combine(room, "numpy.pth");
        var body = Pickled("}(", Text("meta"), "}", Text("best"), "cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n",
            Text("f8"), "K\0K\u0001\u0087R(K\u0003", Text("<"),
            "NNNJ\u00ff\u00ff\u00ff\u00ffJ\u00ff\u00ff\u00ff\u00ffK\0tbc_codecs\nencode\n", Text("12345678"),
                Text("latin1"), "\u0086R\u0086Rs", Text("state_dict"), "}",
            Text("w"), "ctorch._utils\n_rebuild_tensor_v2\n((", Text("storage"), "ctorch\nFloatStorage\n", Text("7"),
                Text("cpu"),
            "K\u0002NtQK\0K\u0002\u0085K\u0001\u0085\u0089ccollections\nOrderedDict\n)RtRsu.");
        var data = new byte[16];
        BinaryPrimitives.WriteInt64LittleEndian(data, 2);
        BinaryPrimitives.WriteSingleLittleEndian(data.AsSpan(8), 1.5f);
        File.WriteAllBytes(path, [.. FileKinds.LegacyMagic, .. Pickled("M\u00e9\u0003."),
            .. Pickled("}", Text("little_endian"), "\u0088s."), .. body,
            .. Pickled("](", Text("7"), "e."), .. data]);
        var tensors = CheckpointFiles.Open(path).Load();
        Assert.Equal(["w"], tensors.Keys);
        Assert.Equal([1.5f, 0], tensors["w"].data<float>().ToArray());

        static string Text(string text) => $"X{(char)text.Length}\0\0\0{text}";
        static byte[] Pickled(params string[] parts) => Encoding.Latin1.GetBytes("\u0080\u0002" + string.Concat(parts));
    }

    public void Dispose() => Directory.Delete(room, recursive: true);

    private static string Refused(string path, Mask2FormerConfig? expected = null) =>
        Assert.Throws<UnusableFileException>(() => Mask2FormerDetector.Load(path, Mask2FormerFixture.Target, expected))
            .Message;
}
