using System.Buffers.Binary;
using System.Text;
using CsCheck;

namespace ReasonGen.Tests.Fuzz;

/// <summary>Sound inputs, damaged: a few edits of bytes, of numbers or of tokens, so that most of what a reader expects
/// is still there.</summary>
/// <param name="seeds">Sound inputs.</param>
/// <param name="tokens">What is put in besides: names that the format knows.</param>
internal sealed class Mutations(IReadOnlyList<byte[]> seeds, params IReadOnlyList<string> tokens) : Gen<byte[]>
{
    private const int Longest = 256 << 10;

    private static readonly long[] Extremes =
        [0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 65536, int.MaxValue, int.MinValue, uint.MaxValue, 1L << 32,
            1L << 40, long.MaxValue, long.MinValue];

    private static readonly byte[][] Literals = [.. new[]
    {
        "0", "-1", "1", "1.5", "-0.0", "1e308", "1e999", "-1e-300", "NaN", "Infinity", "2147483647", "2147483648",
            "9223372036854775807",
        "99999999999999999999", "1" + new string('0', 400), "null", "true", "false", "{}", "[]", "[1]", "[[]]",
            "{\"a\":1}", "\"\"", "\"x\"", "\"\\u0000\"",
        "\"\\ud800\"", "\"1\"", "[" + string.Join(',', Enumerable.Repeat("1", 300)) + "]", new string('[', 300),
            new string('[', 60) + new string(']', 60),
        string.Concat(Enumerable.Repeat("{\"a\":", 200)), "\"" + new string('x', 5000) + "\"", ",", ":", "}", "]", "\"",
            "'", "\\", "\n", "\r\n", "\0", "\uFEFF", "é", "😀", "\u001b[2J",
    }.Select(Encoding.UTF8.GetBytes)];

    /// <summary>One input; the fewer and shorter, the smaller it counts when a failure is shrunk.</summary>
    public override byte[] Generate(PCG pcg, Size? min, out Size size)
    {
        var bytes = Any(pcg, seeds);
        var edits = 1 + (Below(pcg, 2) == 0 ? 0 : Below(pcg, 5));
        for (var i = 0; i < edits; i++)
        {
            var edited = Edit(pcg, bytes);
            bytes = edited.Length <= Longest ? edited : bytes;
        }

        size = new Size(((ulong)edits << 32) + (ulong)bytes.Length);
        return bytes;
    }

    private byte[] Edit(PCG pcg, byte[] bytes)
    {
        var (from, to) = Range(pcg, bytes.Length);
        switch (Below(pcg, 14))
        {
            case 0: // bits, or bytes
            case 1:
                return Changed(bytes, at: from, [(byte)(bytes.Length > from && Below(pcg, 2) == 0
                    ? bytes[from] ^ (1 << Below(pcg, 8)) : Below(pcg, 256))]);
            case 2: // a number of some width
            case 3:
                var number = new byte[8];
                var width = 1 << Below(pcg, 4);
                var value = Extremes[Below(pcg, Extremes.Length)];
                if (Below(pcg, 3) == 0)
                {
                    BinaryPrimitives.WriteInt64BigEndian(number, value);
                    number = number[(8 - width)..];
                }
                else
                {
                    BinaryPrimitives.WriteInt64LittleEndian(number, value);
                }

                return Changed(bytes, from, number.AsSpan(0, width));
            case 4:
                return bytes[..from]; // cut short
            case 5:
                return [.. bytes[..from], .. bytes[to..]];
            case 6: // the same again, now and then very often
                var times = Below(pcg, 8) == 0 ? 1 + Below(pcg, 2000) : 1 + Below(pcg, 4);
                return to - from > 0 && (long)times * (to - from) <= Longest
                    ? [.. bytes[..to], .. Enumerable.Repeat(bytes[from..to], times).SelectMany(piece => piece),
                        .. bytes[to..]] : bytes;
            case 7: // part of another
                var other = Any(pcg, seeds);
                var (first, last) = Range(pcg, other.Length);
                return [.. bytes[..from], .. other[first..last], .. bytes[(Below(pcg, 2) == 0 ? from : to)..]];
            case 8: // two parts change places
                var (left, right) = Range(pcg, from);
                return [.. bytes[..left], .. bytes[from..to], .. bytes[right..from], .. bytes[left..right],
                    .. bytes[to..]];
            case 9:
                return [.. bytes[..from], .. Enumerable.Range(0, 1 + Below(pcg, 8)).Select(_ => (byte)Below(pcg, 256)),
                    .. bytes[from..]];
            case 10 or 11: // a value of a text format
                var (begin, end) = Value(bytes, from);
                return [.. bytes[..begin], .. Word(pcg), .. bytes[end..]];
            case 12:
                var (start, stop) = Value(bytes, from);
                return Below(pcg, 2) == 0 ? [.. bytes[..start], .. bytes[stop..]] : [.. bytes[..stop], (byte)',',
                    .. bytes[start..stop], .. bytes[stop..]];
            default:
                return [.. bytes[..from], .. Word(pcg), .. bytes[from..]];
        }
    }

    private byte[] Word(PCG pcg) => tokens.Count > 0 && Below(pcg, 3) == 0 ? Encoding.UTF8.GetBytes(Any(pcg, tokens))
        : Any(pcg, Literals);

    // what stands between two signs of JSON, CSV or code
    private static (int Begin, int End) Value(byte[] bytes, int at)
    {
        var signs = "[]{},:;=()\n"u8;
        var begin = bytes.AsSpan(0, at).LastIndexOfAny(signs) + 1;
        var length = bytes.AsSpan(at).IndexOfAny(signs);
        return (begin, length < 0 ? bytes.Length : at + length);
    }

    private static byte[] Changed(byte[] bytes, int at, ReadOnlySpan<byte> by)
    {
        var changed = bytes.ToArray();
        by[..Math.Min(by.Length, changed.Length - at)].CopyTo(changed.AsSpan(at));
        return changed;
    }

    // short pieces more often than long ones
    private static (int From, int To) Range(PCG pcg, int length)
    {
        var from = Below(pcg, length + 1);
        var most = Below(pcg, 3) == 0 ? length - from : Math.Min(length - from, 16);
        return (from, from + Below(pcg, most + 1));
    }

    private static T Any<T>(PCG pcg, IReadOnlyList<T> items) => items[Below(pcg, items.Count)];

    private static int Below(PCG pcg, int count) => (int)pcg.Next((uint)count);
}
