using System.Buffers.Binary;
using System.Text;
using ReasonGen.Checkpoints;
using Xunit;

namespace ReasonGen.Tests.Checkpoints;

/// <summary>Files of torch.save that cost far more than they are: each is written by hand, in the legacy container or
/// as bare instructions.</summary>
public sealed class HostileTorchFileTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData("model")]
    [InlineData("state_dict")]
    [InlineData("module")]
    [InlineData("weights")]
    public void A_dictionary_that_holds_itself_is_refused(string name)
    {
        byte[] held = [(byte)'}', (byte)'q', 0, .. Text(name), (byte)'h', 0, (byte)'s', (byte)'.'];
        Assert.Contains("holds itself", Refused(held));
    }

    [Fact]
    public void Two_dictionaries_that_hold_each_other_are_refused()
    {
        byte[] held =
        [
            (byte)'}', (byte)'q', 0, .. Text("model"), (byte)'}', (byte)'q', 1, .. Text("model"), (byte)'h', 0,
            (byte)'s', (byte)'s', (byte)'.',
        ];
        Assert.Contains("holds itself", Refused(held));
    }

    [Theory]
    [InlineData(1, "nested deeper")] // each list holds the one before, and all are kept in one
    [InlineData(2, "more values")] // each holds the one before twice: a million values in some hundred bytes
    public void Lists_built_from_the_inside_out_are_refused(int times, string reason)
    {
        var count = times == 1 ? 40 : 20;
        List<byte> held = [(byte)'}', .. Text("x"), (byte)']', (byte)'(', (byte)']', (byte)'q', 0];
        for (var i = 1; i < count; i++)
        {
            held.AddRange([(byte)']', (byte)'q', (byte)i]);
            held.AddRange(Enumerable.Repeat(new[] { (byte)'h', (byte)(i - 1), (byte)'a' }, times).SelectMany(x => x));
        }

        Assert.Contains(reason, Refused([.. held, (byte)'e', (byte)'s', (byte)'.']));
    }

    [Theory]
    [InlineData(long.MaxValue)]
    [InlineData(-1L)]
    [InlineData(1000L)]
    public void A_frame_that_the_file_does_not_hold_is_refused(long length)
    {
        var frame = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(frame, length);
        Assert.Contains("frame", Refused([0x95, .. frame, (byte)'}', (byte)'.']));
    }

    [Theory]
    [InlineData(65)]
    [InlineData(4000)]
    public void A_tensor_of_very_many_dimensions_is_refused(int dimensions) =>
        Assert.Contains("'w' is not described",
            Refused([(byte)'}', .. Text("w"), .. Tensor(dimensions, 1, 1), (byte)'s', (byte)'.'], oneStorage: true));

    [Fact]
    public void Many_views_that_each_unfold_a_little_are_refused_together()
    {
        List<byte> held = [(byte)'}'];
        for (var i = 0; i < 300; i++)
        {
            held.AddRange([.. Text($"w{i}"), .. Tensor(2, 100, 0), (byte)'s']); // 40,000 bytes of one element
        }

        Assert.Contains("unfold", Refused([.. held, (byte)'.'], oneStorage: true));
    }

    [Fact]
    public void One_list_made_into_dictionaries_again_and_again_is_refused()
    {
        List<byte> held = [(byte)'}', .. Text("x"), (byte)']', (byte)'q', 0, (byte)'('];
        for (var i = 0; i < 5000; i++)
        {
            held.AddRange([.. Text($"k{i}"), (byte)'N', 0x86]);
        }

        held.Add((byte)'e');
        for (var i = 0; i < 5000; i++)
        {
            held.AddRange([.. "ccollections\nOrderedDict\n"u8, (byte)'h', 0, 0x85, (byte)'R', (byte)'q', 1]);
        }

        Assert.Contains("steps", Refused([.. held, (byte)'.']));
    }

    [Theory]
    [InlineData("colon")] // the folder inside is called "run 10:30"
    [InlineData("seed")] // a whole number of 64 bits without a sign
    [InlineData("bool")] // a dictionary whose key is True
    [InlineData("tuple")] // one whose key is (1, 2)
    public void What_lies_beside_the_weights_does_not_matter(string name) => Assert.Equal(["w"],
        CheckpointFiles.Open(HandedIn.Path($"torch-{name}.bin")).Entries.Select(entry => entry.Name));

    [Fact]
    public void A_tensor_under_a_key_that_is_no_name_is_refused() => Assert.Contains("neither text nor a number",
        Refused([(byte)'}', 0x88, .. Tensor(1, 1, 1), (byte)'s', (byte)'.'], oneStorage: true));

    [Fact]
    public void A_part_of_a_distributed_run_is_told_to_be_merged() =>
        Assert.Contains("verl.model_merger",
            Refused([(byte)'c', .. "torch.distributed.tensor\nDTensor\n"u8, (byte)'.']));

    [Fact]
    public void A_refused_function_is_told_with_the_name_of_what_it_would_make()
    {
        byte[] call = [.. "ctorch._utils\n_rebuild_tensor_v3\n"u8, (byte)'.'];
        const string Said = "to make 'w' it calls for 'torch._utils._rebuild_tensor_v3'";
        Assert.Contains(Said, Refused([(byte)'}', .. Text("w"), .. call]));
        Assert.Contains(Said, Refused([(byte)'}', (byte)'(', .. Text("v"), (byte)'N', .. Text("w"), .. call]));
        // what stands below is an argument, not a key
        Assert.DoesNotContain("to make", Refused([(byte)'}', .. Text("w"), .. "ccollections\nOrderedDict\n"u8,
            (byte)'(', .. Text("storage"), .. call]));
    }

    [Fact]
    public void A_name_cannot_move_the_cursor() =>
        Assert.DoesNotContain('\u001b', Refused([(byte)'c', .. "evil\u001b[2J\nx\n"u8, (byte)'.']));

    public void Dispose() => Directory.Delete(folder, true);

    private string Refused(byte[] held, bool oneStorage = false)
    {
        byte[] file =
        [
            .. FileKinds.LegacyMagic, 0x80, 2, (byte)'M', 0xE9, 3, (byte)'.', 0x80, 2, (byte)'}', (byte)'.', 0x80, 4,
            .. held,
            0x80, 2, (byte)']', .. oneStorage ? [.. Text("0"), (byte)'a'] : Array.Empty<byte>(), (byte)'.',
            .. oneStorage ? new byte[] { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128, 63 } : [],
        ];
        var path = Path.Combine(folder, "hostile.bin");
        File.WriteAllBytes(path, file);
        return Assert.Throws<UnusableFileException>(() => CheckpointFiles.Open(path)).Message;
    }

    private static byte[] Text(string text) => [0x8C, (byte)text.Length, .. Encoding.ASCII.GetBytes(text)];

    // a float tensor over storage "0", which has one element
    private static byte[] Tensor(int dimensions, byte size, byte stride) =>
    [
        .. "ctorch._utils\n_rebuild_tensor_v2\n"u8, (byte)'(', (byte)'(', .. Text("storage"),
        .. "ctorch\nFloatStorage\n"u8, .. Text("0"), .. Text("cpu"),
        (byte)'K', 1, (byte)'t', (byte)'Q', (byte)'K', 0, (byte)'(',
        .. Enumerable.Repeat(new byte[] { (byte)'K', size }, dimensions).SelectMany(x => x), (byte)'t',
        (byte)'(', .. Enumerable.Repeat(new byte[] { (byte)'K', stride }, dimensions).SelectMany(x => x), (byte)'t',
        0x89,
        .. "ccollections\nOrderedDict\n"u8, (byte)')', (byte)'R', (byte)'t', (byte)'R',
    ];
}
