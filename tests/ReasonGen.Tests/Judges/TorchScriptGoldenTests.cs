using System.Security.Cryptography;
using ReasonGen.Checkpoints;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class TorchScriptGoldenTests
{
    [Theory]
    [InlineData("ViT-tiny.pt", "state_dict")]
    [InlineData("cuda_tag.pt", "cuda_tag")]
    public void An_archive_gives_names_types_shapes_and_bytes_of_the_reference(string file, string key)
    {
        var path = Golden.Path("clip/openai/" + file);
        Assert.True(TorchScriptFile.Is(path));
        var files = CheckpointFiles.OpenArchive(path);
        var tensors = files.Load();
        using var scope = NewDisposeScope();
        var expected = Golden.Json("clip/openai/expected")[key]!;
        Assert.Equal(expected.Count(), tensors.Count);
        foreach (var row in expected)
        {
            var tensor = tensors[(string)row["name"]!];
            Assert.Equal((string)row["dtype"]!, ElementTypes.TorchNameOf(tensor.dtype));
            Assert.Equal(row["shape"]!.ToObject<long[]>()!, tensor.shape);
            Assert.Equal((string)row["sha256"]!, Convert.ToHexStringLower(SHA256.HashData(tensor.contiguous().bytes)));
        }
    }

    [Fact]
    public void The_reader_of_state_dicts_still_refuses_a_program()
    {
        var error = Assert.Throws<UnusableFileException>(() =>
            CheckpointFiles.Open(Golden.Path("clip/openai/ViT-tiny.pt")));
        Assert.Contains("TorchScript", error.Message);
    }

    [Fact]
    public void A_file_of_torch_save_is_no_archive() =>
        Assert.False(TorchScriptFile.Is(Golden.Path("preference/hps/HPS_tiny.pt")));

    [Fact]
    public void Compressed_code_is_passed_over()
    {
        using var copy = new ClipFixture.Copy("clip/openai/cuda_tag.pt");
        using (var archive = System.IO.Compression.ZipFile.OpenRead(copy.In("cuda_tag.pt")))
        using (var made = System.IO.Compression.ZipFile.Open(copy.In("made.pt"),
            System.IO.Compression.ZipArchiveMode.Create))
        {
            foreach (var entry in archive.Entries)
            {
                var level = entry.FullName.Contains("/code/") ? System.IO.Compression.CompressionLevel.Optimal
                    : System.IO.Compression.CompressionLevel.NoCompression;
                using var from = entry.Open();
                using var to = made.CreateEntry(entry.FullName, level).Open();
                from.CopyTo(to);
            }
        }

        Assert.Equal(CheckpointFiles.OpenArchive(copy.In("cuda_tag.pt")).Entries.Select(entry =>
            (entry.Name, entry.Bytes)),
            CheckpointFiles.OpenArchive(copy.In("made.pt")).Entries.Select(entry => (entry.Name, entry.Bytes)));
    }

    [Fact]
    public void An_archive_that_is_cut_short_is_refused()
    {
        using var copy = new ClipFixture.Copy("clip/openai/ViT-tiny.pt");
        var bytes = File.ReadAllBytes(copy.In("ViT-tiny.pt"));
        File.WriteAllBytes(copy.In("ViT-tiny.pt"), bytes[..(bytes.Length / 2)]);
        Assert.Throws<UnusableFileException>(() => ReasonGen.Judges.Clip.ClipFiles.Open(copy.In("ViT-tiny.pt")));
    }
}
