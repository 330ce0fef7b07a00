using System.Buffers.Binary;
using System.Text;
using ReasonGen.Checkpoints;
using ReasonGen.Tests.Fuzz;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Checkpoints;

/// <summary>Arrays of numpy in torch files and bare pickles: two that numpy wrote, the others by hand.</summary>
public sealed class NumpyArrayTests : IDisposable
{
    // numpy 1.24: pickle.dumps({'model': {…}}, protocol) of arrays as Written_by_numpy expects them
    private const string Protocol2 =
        "gAJ9cQBYBQAAAG1vZGVscQF9cQIoWAEAAABjcQNjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApxBGNudW1weQpuZGFy"
        + "cmF5CnEFSwCFcQZjX2NvZGVjcwplbmNvZGUKcQdYAQAAAGJxCFgGAAAAbGF0aW4xcQmGcQpScQuHcQxScQ0oSwFLAksDhnEOY251bXB5"
        + "CmR0eXBlCnEPWAIAAABmNHEQiYiHcRFScRIoSwNYAQAAADxxE05OTkr/////Sv////9LAHRxFGKJaAdYHQAAAAAAIMOAAADDgMK/AAAA"
        + "wr8AAAA/AADDgD8AACBAcRVoCYZxFlJxF3RxGGJYBwAAAGZvcnRyYW5xGWgEaAVLAIVxGmgLh3EbUnEcKEsBSwJLA4ZxHWgSiGgHWB0A"
        + "AAAAACDDgAAAAD8AAMOAwr8AAMOAPwAAAMK/AAAgQHEeaAmGcR9ScSB0cSFiWAMAAABiaWdxImgEaAVLAIVxI2gLh3EkUnElKEsBSwJL"
        + "A4ZxJmgPWAIAAABmOHEniYiHcShScSkoSwNYAQAAAD5xKk5OTkr/////Sv////9LAHRxK2KJaAdYNwAAAMOABAAAAAAAAMK/w7gAAAAA"
        + "AADCv8OgAAAAAAAAP8OgAAAAAAAAP8O4AAAAAAAAQAQAAAAAAABxLGgJhnEtUnEudHEvYlgFAAAAd2hvbGVxMGgEaAVLAIVxMWgLh3Ey"
        + "UnEzKEsBSwKFcTRoD1gCAAAAaThxNYmIh3E2UnE3KEsDaBNOTk5K/////0r/////SwB0cThiiWgHWBgAAADDv8O/w7/Dv8O/w7/Dv8O/"
        + "AAAAAAABAABxOWgJhnE6UnE7dHE8YlgDAAAAb25lcT1oBGgFSwCFcT5oC4dxP1JxQChLASloD1gCAAAAaTRxQYmIh3FCUnFDKEsDaBNO"
        + "Tk5K/////0r/////SwB0cURiiWgHWAQAAAAHAAAAcUVoCYZxRlJxR3RxSGJYBAAAAG5vbmVxSWgEaAVLAIVxSmgLh3FLUnFMKEsBSwBL"
        + "A4ZxTWgSiWNfX2J1aWx0aW5fXwpieXRlcwpxTilScU90cVBiWAQAAABoYWxmcVFoBGgFSwCFcVJoC4dxU1JxVChLAUsBhXFVaA9YAgAA"
        + "AGYycVaJiIdxV1JxWChLA2gTTk5OSv////9K/////0sAdHFZYoloB1gCAAAARFpxWmgJhnFbUnFcdHFdYlgFAAAAZmxhZ3NxXmgEaAVL"
        + "AIVxX2gLh3FgUnFhKEsBSwKFcWJoD1gCAAAAYjFxY4mIh3FkUnFlKEsDWAEAAAB8cWZOTk5K/////0r/////SwB0cWdiiWgHWAIAAAAB"
        + "AHFoaAmGcWlScWp0cWtidXMu";

    private const string Protocol5 =
        "gAWVlgIAAAAAAAB9lIwFbW9kZWyUfZQojAFjlIwSbnVtcHkuY29yZS5udW1lcmljlIwLX2Zyb21idWZmZXKUk5QolhgAAAAAAAAAAAAg"
        + "wAAAwL8AAAC/AAAAPwAAwD8AACBAlIwFbnVtcHmUjAVkdHlwZZSTlIwCZjSUiYiHlFKUKEsDjAE8lE5OTkr/////Sv////9LAHSUYksC"
        + "SwOGlIwBQ5R0lFKUjAdmb3J0cmFulGgGKJYYAAAAAAAAAAAAIMAAAAA/AADAvwAAwD8AAAC/AAAgQJRoDUsCSwOGlIwBRpR0lFKUjANi"
        + "aWeUaAYoljAAAAAAAAAAwAQAAAAAAAC/+AAAAAAAAL/gAAAAAAAAP+AAAAAAAAA/+AAAAAAAAEAEAAAAAAAAlGgKjAJmOJSJiIeUUpQo"
        + "SwOMAT6UTk5OSv////9K/////0sAdJRiSwJLA4aUaBF0lFKUjAV3aG9sZZRoBiiWEAAAAAAAAAD//////////wAAAAAAAQAAlGgKjAJp"
        + "OJSJiIeUUpQoSwNoDk5OTkr/////Sv////9LAHSUYksChZRoEXSUUpSMA29uZZRoBiiWBAAAAAAAAAAHAAAAlGgKjAJpNJSJiIeUUpQo"
        + "SwNoDk5OTkr/////Sv////9LAHSUYiloEXSUUpSMBG5vbmWUaAYolgAAAAAAAAAAlGgNSwBLA4aUaBF0lFKUjARoYWxmlGgGKJYCAAAA"
        + "AAAAAERalGgKjAJmMpSJiIeUUpQoSwNoDk5OTkr/////Sv////9LAHSUYksBhZRoEXSUUpSMBWZsYWdzlGgGKJYCAAAAAAAAAAEAlGgK"
        + "jAJiMZSJiIeUUpQoSwOMAXyUTk5OSv////9K/////0sAdJRiSwKFlGgRdJRSlHVzLg==";

    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private readonly IDisposable scope = NewDisposeScope(); // keeps what is only on its way

    private static readonly float[] Values = [-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f];

    [Theory]
    [InlineData(Protocol2)]
    [InlineData(Protocol5)]
    public void Pickles_that_numpy_wrote_hold_its_arrays(string pickle)
    {
        var t = Open(Convert.FromBase64String(pickle)).Load();
        Assert.Equal(["c", "fortran", "big", "whole", "one", "none", "half", "flags"], t.Keys);
        Assert.All(["c", "fortran", "big"], name =>
        {
            Assert.Equal([2L, 3], t[name].shape);
            Assert.Equal(Values, t[name].to(ScalarType.Float32).contiguous().data<float>().ToArray());
        });
        Assert.Equal(ScalarType.Float64, t["big"].dtype);
        Assert.Equal([-1L, 1L << 40], t["whole"].data<long>().ToArray());
        Assert.Equal(7, t["one"].ToInt32());
        Assert.Empty(t["one"].shape);
        Assert.Equal([0L, 3], t["none"].shape);
        Assert.Equal(200.5, t["half"].to(ScalarType.Float64).ToDouble());
        Assert.Equal([true, false], t["flags"].data<bool>().ToArray());
    }

    public static IEnumerable<TheoryDataRow<string, string, char, bool>> Forms =>
        from code in new[] { "f4", "f8", "f2", "i8", "i4", "i2" }
        from module in new[] { "numpy.core", "numpy._core" }
        from order in new[] { '<', '>' }
        from fortran in new[] { false, true }
        select new TheoryDataRow<string, string, char, bool>(code, module, order, fortran);

    [Theory]
    [MemberData(nameof(Forms))]
    public void Types_orders_and_names_of_either_version_are_read(string code, string module, char order, bool fortran)
    {
        var type = code switch
        {
            "f4" => ScalarType.Float32, "f8" => ScalarType.Float64, "f2" => ScalarType.Float16,
            "i8" => ScalarType.Int64, "i4" => ScalarType.Int32, _ => ScalarType.Int16,
        };
        var expected = arange(-300, 300, 100, ScalarType.Float32).view(2, 3).to(type);
        var bytes = (fortran ? expected.t().contiguous() : expected).bytes.ToArray();
        if (order == '>')
        {
            bytes = [.. bytes.Chunk(code[1] - '0').SelectMany(element => element.Reverse())];
        }

        var array = Made(module, code, order, [2, 3], fortran, Spelt(bytes));
        foreach (var file in new[] { Bare(array), Legacy(array), Zipped(array) })
        {
            var entry = Assert.Single(Open(file).Entries);
            Assert.Equal(("w", type, 6L), (entry.Name, entry.Type, entry.Elements));
            Assert.Equal([2L, 3], entry.Shape);
            Assert.True(Open(file).Load()["w"].equal(expected).all().ToBoolean());
        }
    }

    [Theory]
    [InlineData("spelt")] // Python 3, protocols below 3
    [InlineData("short")] // SHORT_BINBYTES
    [InlineData("long")] // BINBYTES
    [InlineData("python2")] // BINSTRING
    public void Bytes_are_read_however_they_are_written(string way)
    {
        byte[] data = [0, 0, 128, 63, 255, 255, 127, 127];
        var array = Made("numpy.core", "f4", '<', [2], false, way switch
        {
            "spelt" => Spelt(data), "short" => [(byte)'C', 8, .. data], "long" => [(byte)'B', 8, 0, 0, 0, .. data],
            _ => [(byte)'T', 8, 0, 0, 0, .. data],
        });
        Assert.Equal([1f, float.MaxValue], Open(Bare(array)).Load()["w"].data<float>().ToArray());
    }

    [Fact]
    public void Weights_are_converted_to_the_models_type()
    {
        using var target = zeros(2, 3);
        var array = Made("numpy.core", "f8", '>', [2, 3], true, Spelt([.. Enumerable.Range(1, 6).SelectMany(Big)]));
        Open(Legacy(array)).LoadInto(new Dictionary<string, Tensor> { ["w"] = target });
        Assert.Equal([1f, 3, 5, 2, 4, 6], target.data<float>().ToArray());

        static byte[] Big(int value)
        {
            var bytes = new byte[8];
            BinaryPrimitives.WriteDoubleBigEndian(bytes, value);
            return bytes;
        }
    }

    [Theory]
    [InlineData("c8")]
    [InlineData("O8")]
    [InlineData("U3")]
    [InlineData("V8")]
    [InlineData("u4")]
    [InlineData("f16")]
    public void An_array_of_another_type_is_refused_by_name_and_passed_over_beside_the_weights(string code)
    {
        var other = Made("numpy.core", code, '<', [1], false, Spelt(new byte[8]));
        var message = Refused(Bare(other));
        Assert.Contains($"'w' is an array of numpy of the type '{code}'", message);
        Assert.Contains("f8, i8, f4", message);
        byte[] beside = [(byte)'}', .. Text("classes"), .. other, (byte)'s', .. Text("model"), (byte)'}', .. Text("w"),
            .. Made("numpy.core", "i2", '<', [1], false, Spelt([7, 0])), (byte)'s', (byte)'s', (byte)'.'];
        Assert.Equal(7, Assert.Single(Open([0x80, 2, .. beside]).Load()).Value[0].ToInt16());
    }

    [Theory]
    [InlineData(2, 7, "8 bytes, of which the file has 7")]
    [InlineData(2, 12, "8 bytes, of which the file has 12")]
    [InlineData(3, 8, "12 bytes, of which the file has 8")]
    [InlineData(-2, 8, "without a shape")]
    [InlineData(int.MaxValue, 8, "of which the file has 8")]
    public void Bytes_that_do_not_make_the_shape_are_refused(int size, int bytes, string reason) => Assert.Contains(
        reason, Refused(Bare(Made("numpy.core", "f4", '<', [size], false, Spelt(new byte[bytes])))));

    [Fact]
    public void A_text_of_other_characters_than_bytes_is_refused() => Assert.Contains("a text that spells no bytes",
        Refused(Bare(Made("numpy.core", "f4", '<', [1], false, [.. "c_codecs\nencode\n"u8, .. Text("a€bc"),
            .. Text("latin1"), 0x86, (byte)'R']))));

    [Fact]
    public void Shapes_beyond_any_file_are_refused() => Assert.Contains("larger than any file", Refused(Bare(
        Made("numpy.core", "f8", '<', [int.MaxValue, int.MaxValue, int.MaxValue], false, Spelt(new byte[8])))));

    [Theory]
    [InlineData("cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\u0085U\u0001b\u0087R", "without a shape")]
    [InlineData("cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\u0085U\u0001b\u0087R)b", "not (1, shape")]
    [InlineData("cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\0\u0085U\u0001b\u0087R",
        "_reconstruct' otherwise")]
    [InlineData("cnumpy.core.multiarray\n_reconstruct\nK\u0001\u0085R", "_reconstruct' otherwise")]
    [InlineData("cnumpy\ndtype\nU\u0002f4\u0085R)b", "no order of bytes")]
    [InlineData("cnumpy\nndarray\nK\u0002\u0085R", "ArrayClass")]
    [InlineData("cbuiltins\nbytes\nK\u0002\u0085R", "Bytes")]
    [InlineData("c_codecs\nencode\nU\u0001aU\u0005rot13\u0086R", "Encode")]
    [InlineData("cnumpy\nload\nU\u0001a\u0085R", "numpy.load")]
    [InlineData("c_codecs\ndecode\nU\u0001a\u0085R", "_codecs.decode")]
    [InlineData("N", "holds no array of numpy")]
    public void What_is_no_array_is_refused(string instructions, string reason) =>
        Assert.Contains(reason, Refused(Bare(Encoding.Latin1.GetBytes(instructions))));

    [Fact]
    public void A_bare_pickle_with_more_behind_it_is_refused() => Assert.Contains("its pickle ends at byte",
        Refused([.. Bare(Made("numpy.core", "i2", '<', [1], false, Spelt([7, 0]))), 0]));

    [Fact]
    public void Arrays_that_are_not_finite_are_refused_as_weights_and_read_as_data()
    {
        var file = Bare(Made("numpy.core", "f4", '<', [1], false, Spelt([0, 0, 192, 127])));
        Assert.True(float.IsNaN(Open(file).Load()["w"][0].ToSingle()));
        Assert.Contains("NaN", Assert.Throws<UnusableFileException>(() =>
            Open(file).LoadInto(new Dictionary<string, Tensor> { ["w"] = zeros(1) })).Message);
    }

    [Fact]
    public void A_pickle_larger_than_its_usual_size_is_read_whole()
    {
        const int size = 5 << 20;
        var data = new byte[4 * size];
        BinaryPrimitives.WriteSingleLittleEndian(data.AsSpan(data.Length - 4), 0.5f);
        var array = Made("numpy.core", "f4", '<', [size], false, Spelt(data));
        foreach (var file in new[] { Legacy(array), Bare(array) })
        {
            Assert.Equal(0.5f, Open(file).Load()["w"][size - 1].ToSingle());
        }
    }

    [Fact]
    public void One_text_taken_as_bytes_again_and_again_costs_nothing()
    {
        // a list of the text, the function and the name of the coding; then of what the function makes of them
        List<byte> held = [(byte)'}', .. Text("x"), (byte)']', .. Text(new string('a', 4 << 20)), (byte)'q', 0,
            (byte)'a', .. "c_codecs\nencode\n"u8, (byte)'q', 1, (byte)'a', .. Text("latin1"), (byte)'q', 2, (byte)'a'];
        for (var i = 0; i < 100_000; i++)
        {
            held.AddRange([(byte)'h', 1, (byte)'h', 0, (byte)'h', 2, 0x86, (byte)'R', (byte)'a']);
        }

        Assert.Contains("holds no array", Refused([0x80, 2, .. held, (byte)'s', (byte)'.']));
    }

    public void Dispose()
    {
        scope.Dispose();
        Directory.Delete(folder, true);
    }

    private CheckpointFiles Open(byte[] file)
    {
        var path = Path.Combine(folder, "made.pth");
        File.WriteAllBytes(path, file);
        return CheckpointFiles.Open(path);
    }

    private string Refused(byte[] file)
    {
        var (before, message) = (GC.GetAllocatedBytesForCurrentThread(),
            Assert.Throws<UnusableFileException>(() => Open(file)).Message);
        Assert.DoesNotContain('\n', message);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 100 << 20, "more than 100 MB");
        return message;
    }

    private static byte[] Bare(byte[] value) => [0x80, 2, (byte)'}', .. Text("w"), .. value, (byte)'s', (byte)'.'];

    private static byte[] Legacy(byte[] value) => [.. FileKinds.LegacyMagic, 0x80, 2, (byte)'M', 0xE9, 3, (byte)'.',
        0x80, 2, (byte)'}', (byte)'.', .. Bare(value), 0x80, 2, (byte)']', (byte)'.'];

    private static byte[] Zipped(byte[] value) => Seeds.Rezipped("torchbin/plain_fp32.bin", "data.pkl", Bare(value));

    // _reconstruct(ndarray, (0,), b'b') and its state
    private static byte[] Made(string module, string code, char order, int[] shape, bool fortran, byte[] content) =>
    [
        .. Encoding.ASCII.GetBytes($"c{module}.multiarray\n_reconstruct\ncnumpy\nndarray\n"), (byte)'K', 0, 0x85,
        .. Spelt("b"u8), 0x87, (byte)'R', (byte)'(', (byte)'K', 1, (byte)'(', .. shape.SelectMany(Number), (byte)'t',
        .. "cnumpy\ndtype\n"u8, .. Text(code), 0x89, 0x88, 0x87, (byte)'R', (byte)'(', (byte)'K', 3,
        .. Text($"{order}"), .. "NNN"u8, .. Number(-1), .. Number(-1), (byte)'K', 0, (byte)'t', (byte)'b',
        fortran ? (byte)0x88 : (byte)0x89, .. content, (byte)'t', (byte)'b',
    ];

    private static byte[] Spelt(ReadOnlySpan<byte> bytes) =>
        [.. "c_codecs\nencode\n"u8, .. Text(Encoding.Latin1.GetString(bytes)), .. Text("latin1"), 0x86, (byte)'R'];

    private static byte[] Text(string text)
    {
        var (utf8, length) = (Encoding.UTF8.GetBytes(text), new byte[4]);
        BinaryPrimitives.WriteInt32LittleEndian(length, utf8.Length);
        return [(byte)'X', .. length, .. utf8];
    }

    private static byte[] Number(int value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        return [(byte)'J', .. bytes];
    }
}
