using System.Diagnostics;
using System.Security.Cryptography;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Checkpoints;

public sealed class TorchFileTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public static IEnumerable<TheoryDataRow<string>> ValidFiles =>
        ((JObject)Golden.Json("torchbin/expected")["files"]!).Properties()
            .Select(file => new TheoryDataRow<string>(file.Name));

    public static IEnumerable<TheoryDataRow<string>> HostileFiles =>
        ((JObject)Golden.Json("torchbin/malicious/manifest")["files"]!).Properties()
            .Select(file => new TheoryDataRow<string>(file.Name));

    [Theory]
    [Trait("Category", "Golden")]
    [MemberData(nameof(ValidFiles))]
    public void Valid_files_hold_what_the_reference_wrote(string file)
    {
        var expected = Golden.Json("torchbin/expected")["files"]![file]!;
        CheckpointFiles files;
        try
        {
            files = CheckpointFiles.Open(Golden.Existing("torchbin/" + file), unwrap: false);
        }
        catch (UnusableFileException e) when (expected["may_refuse"] is { Type: not JTokenType.Null })
        {
            Assert.Contains(System.IO.Path.GetFileName(file), e.Message);
            return;
        }

        var described = expected["tensors"]!.ToArray();
        Assert.Equal(described.Select(tensor => string.Join('.', tensor["path"]!)),
            files.Entries.Select(entry => entry.Name));
        var tensors = files.Load();
        foreach (var (tensor, entry) in described.Paired(files.Entries))
        {
            Assert.Equal((string)tensor["dtype"]!,
                entry.Type == ScalarType.Byte ? "uint8" : entry.Type.ToString().ToLowerInvariant());
            Assert.Equal(tensor["shape"]!.Select(size => (long)size), entry.Shape);
            Assert.Equal((string)tensor["sha256"]!, Sha256(tensors[entry.Name]));
        }
    }

    [Theory]
    [Trait("Category", "Golden")]
    [MemberData(nameof(HostileFiles))]
    public void Hostile_files_are_refused_in_bounded_time_and_memory(string file)
    {
        var manifest = Golden.Json("torchbin/malicious/manifest")["files"]![file]!;
        var path = Golden.Existing("torchbin/malicious/" + file);
        var (watch, before) = (Stopwatch.StartNew(), GC.GetAllocatedBytesForCurrentThread());
        var thrown = Record.Exception(() => CheckpointFiles.Open(path).Load());
        Assert.True(thrown is UnusableFileException || thrown is null && (string)manifest["must"]! != "refuse",
            $"{manifest["reason"]}: {thrown}");
        if (thrown is not null)
        {
            Assert.Contains(file, thrown.Message);
            Assert.DoesNotContain('\n', thrown.Message);
            var named = (string?)manifest["message_should_name"] ?? "";
            Assert.Contains(named.Length is 1 or 2 ? $"'{named}'" : named, thrown.Message);
        }

        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 100 << 20, "more than 100 MB for a few bytes");
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10));
        Assert.False(File.Exists("PWNED"));
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void A_cut_or_altered_file_never_crashes_the_reader()
    {
        foreach (var name in new[] { "plain_fp32.bin", "legacy_shared_views.bin", "protocol5.bin",
            "zip64_records.bin" })
        {
            var bytes = File.ReadAllBytes(Golden.Path("torchbin/" + name));
            var random = new Random(5);
            for (var trial = 0; trial < 400; trial++)
            {
                var altered = trial % 4 == 0 ? bytes[..random.Next(bytes.Length)] : [.. bytes];
                for (var flips = trial % 4; flips > 0; flips--)
                {
                    altered[random.Next(altered.Length)] = (byte)random.Next(256);
                }

                var path = System.IO.Path.Combine(folder, "altered.bin");
                File.WriteAllBytes(path, altered);
                var thrown = Record.Exception(() =>
                    CheckpointFiles.Open(path).Load().Values.ToList().ForEach(tensor => tensor.Dispose()));
                Assert.True(thrown is null or UnusableFileException, $"{name}, trial {trial}: {thrown}");
            }
        }
    }

    [Theory]
    [Trait("Category", "Golden")]
    [InlineData("nested_state_dict.bin")]
    [InlineData("nested_model.bin")]
    [InlineData("adamw.bin")]
    public void A_wrapped_state_dict_is_unwrapped(string file)
    {
        var names = Golden.Json("torchbin/expected")["files"]![file]!["tensors"]!
            .Where(tensor => (string?)tensor["path"]![0] is "state_dict" or "model")
            .Select(tensor => string.Join('.', tensor["path"]!.Skip(1)));
        Assert.Equal(names, CheckpointFiles.Open(Golden.Path("torchbin/" + file)).Entries.Select(entry => entry.Name));
    }

    public void Dispose() => Directory.Delete(folder, true);

    internal static string Sha256(Tensor tensor) =>
        Convert.ToHexStringLower(SHA256.HashData(tensor.numel() == 0 ? [] : tensor.bytes.ToArray()));
}
