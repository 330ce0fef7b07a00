using System.Buffers.Binary;
using ReasonGen.Checkpoints;
using ReasonGen.Native;
using ReasonGen.Runs;
using Tensorboard;
using Xunit;
using static TorchSharp.torch.utils;

namespace ReasonGen.Tests.Runs;

/// <summary>The numbers of a run as a table and as TensorBoard's events, which are read back as TensorBoard reads
/// them.</summary>
public sealed class MetricsTableTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private string Csv => Path.Combine(folder, "metrics.csv");

    [Fact]
    public void Events_hold_every_number_once_after_a_run_went_on()
    {
        NativeRuntime.EnsureLoaded(); // checksums are libtorch's
        var first = new MetricsTable(Csv, 0, tensorboard.SummaryWriter(folder));
        first.Add(0, [("loss", 3.5), ("seconds", 0.1)]);
        first.Add(1, [("loss", 3.25), ("seconds", 0.2)]);
        first.Save();
        first.Add(2, [("loss", 99), ("seconds", 9)]); // was not saved: the run was killed
        Directory.GetFiles(folder, "events*").ToList().ForEach(File.Delete);

        var events = tensorboard.SummaryWriter(folder);
        var second = new MetricsTable(Csv, 2, events);
        second.Add(2, [("loss", 3), ("seconds", 0.3)]);
        new MetricsTable(Path.Combine(folder, "validation.csv"), 0, events, "validation").Add(2, [("loss", 4)]);
        var file = Assert.Single(Directory.GetFiles(folder, "events.out.tfevents.*"));
        var read = Events(file).Where(one => one.Summary is not null)
            .SelectMany(one => one.Summary.Value.Select(value => (one.Step, value.Tag, value.SimpleValue)));
        Assert.Equal([(0, "loss", 3.5f), (0, "seconds", 0.1f), (1, "loss", 3.25f), (1, "seconds", 0.2f),
            (2, "loss", 3), (2, "seconds", 0.3f), (2, "validation/loss", 4)], read);
        Assert.Equal("brain.Event:2", Events(file).First().FileVersion);
    }

    [Fact]
    public void Columns_that_come_later_and_numbers_that_are_none_are_kept()
    {
        var table = new MetricsTable(Csv, 0, null);
        table.Add(0, [("reward", double.NaN)]);
        table.Add(1, [("reward", 1 / 3.0), ("part", 1e-9)]);
        table.Save();
        Assert.Equal("step,reward,part\n0,NaN,NaN\n1,0.3333333333333333,1E-09\n", File.ReadAllText(Csv));
        var again = new MetricsTable(Csv, 2, null);
        Assert.Equal(1 / 3.0, again.Last("reward"));
        Assert.Single(new MetricsTable(Csv, 1, null).Rows);
        Assert.Empty(new MetricsTable(Csv, 0, null).Rows);
    }

    [Fact]
    public void A_table_that_is_still_empty_is_taken_up_again()
    {
        new MetricsTable(Csv, 0, null).Save();
        var table = new MetricsTable(Csv, 2, null);
        table.Add(2, [("loss", 3)]);
        Assert.Equal(["step", "loss"], table.Columns);
        Assert.Equal([2, 3], Assert.Single(table.Rows));
    }

    [Theory]
    [InlineData("step,loss\n0,1\n1\n")]
    [InlineData("step,loss\n0,one\n")]
    public void A_damaged_table_is_refused(string text)
    {
        File.WriteAllText(Csv, text);
        Assert.Contains("line", Assert.Throws<UnusableFileException>(() => new MetricsTable(Csv, 2, null)).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    // length, its checksum, data, their checksum (tensorflow/core/lib/io/record_writer.cc)
    private static List<Event> Events(string file)
    {
        var bytes = File.ReadAllBytes(file).AsSpan();
        var events = new List<Event>();
        while (bytes.Length > 0)
        {
            var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            Assert.Equal(Masked(bytes[..8]), BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]));
            Assert.Equal(Masked(bytes.Slice(12, length)),
                BinaryPrimitives.ReadUInt32LittleEndian(bytes[(12 + length)..]));
            events.Add(Event.Parser.ParseFrom(bytes.Slice(12, length).ToArray()));
            bytes = bytes[(16 + length)..];
        }

        return events;
    }

    private static uint Masked(ReadOnlySpan<byte> bytes)
    {
        var crc = ~0u; // CRC-32C, Castagnoli
        foreach (var b in bytes)
        {
            crc ^= b;
            for (var bit = 0; bit < 8; bit++)
            {
                crc = (crc & 1) == 0 ? crc >> 1 : crc >> 1 ^ 0x82F63B78;
            }
        }

        crc = ~crc;
        return (crc >> 15 | crc << 17) + 0xA282EAD8;
    }
}
