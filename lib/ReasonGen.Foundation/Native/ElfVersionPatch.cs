using System.Buffers.Binary;
using System.Text;

namespace ReasonGen.Native;

/// <summary>
/// Lets a shared library that was linked against GCC 13's libstdc++ load on an older one, by editing its dynamic symbol
/// table in memory.
/// </summary>
/// <remarks>
/// GCC 13 moved the start of iostreams into <c>std::ios_base_library_init()</c>, versioned GLIBCXX_3.4.32. It is the
/// only symbol of that version which TorchSharp's native library needs; every older libstdc++ has its predecessor, the
/// constructor
/// <c>std::ios_base::Init::Init()</c>, versioned GLIBCXX_3.4, which ignores its argument. The patch points the
/// reference there: the needed version, the version index of the one undefined symbol, and its name. Undefined symbols
/// are in no hash table, so nothing else of the file changes, and the result also loads where libstdc++ is new.
/// </remarks>
public static class ElfVersionPatch
{
    public const string NewSymbol = "_ZSt21ios_base_library_initv";
    private const string OldSymbol = "_ZNSt8ios_base4InitC1Ev";
    private const string NewVersion = "GLIBCXX_3.4.32";
    private const string OldVersion = "GLIBCXX_3.4";
    private const uint DynamicSymbols = 11, VersionNeeds = 0x6ffffffe, VersionIndices = 0x6fffffff;

    private readonly record struct Section(uint Type, int Offset, int Size, int Link);

    /// <summary>Patches the bytes of a 64-bit little-endian ELF file in place.</summary>
    /// <returns>False where the file does not need <see cref="NewSymbol"/>, and so is left as it is.</returns>
    /// <exception cref="InvalidDataException">The file is no such ELF file, or lacks a table the patch
    /// needs.</exception>
    public static bool Apply(byte[] file)
    {
        try
        {
            return ApplyTo(file);
        }
        catch (Exception e) when (e is ArgumentOutOfRangeException or IndexOutOfRangeException or OverflowException)
        {
            throw new InvalidDataException("the ELF tables point outside the file; it is damaged", e);
        }
    }

    private static bool ApplyTo(byte[] file)
    {
        if (file.Length < 64
            || !file.AsSpan(0, 6).SequenceEqual((ReadOnlySpan<byte>)[0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1]))
        {
            throw new InvalidDataException("not a 64-bit little-endian ELF file");
        }

        var sections = ReadSections(file);
        var symbols = Find(sections, DynamicSymbols, "dynamic symbols");
        var strings = sections[symbols.Link];
        var symbol = FindSymbol(file, symbols, strings);
        if (symbol < 0)
        {
            return false;
        }

        var needs = Find(sections, VersionNeeds, "needed versions");
        var indices = Find(sections, VersionIndices, "version indices");
        var (newer, older) = FindVersions(file, needs, sections[needs.Link]);

        // vernaux: hash u32, flags u16, index u16, name u32, next u32; the index stays its own
        file.AsSpan(older, 6).CopyTo(file.AsSpan(newer));
        file.AsSpan(older + 8, 4).CopyTo(file.AsSpan(newer + 8));
        file.AsSpan(older + 6, 2).CopyTo(file.AsSpan(indices.Offset + 2 * symbol));
        var name = file.AsSpan(strings.Offset + (int)U32(file, symbols.Offset + 24 * symbol), NewSymbol.Length);
        name.Clear();
        Encoding.ASCII.GetBytes(OldSymbol, name);
        return true;
    }

    private static Section[] ReadSections(byte[] file)
    {
        var table = checked((int)U64(file, 0x28));
        int entrySize = U16(file, 0x3a), count = U16(file, 0x3c);
        return Enumerable.Range(0, count).Select(i => table + i * entrySize).Select(at => new Section(
            U32(file, at + 4), checked((int)U64(file, at + 0x18)), checked((int)U64(file, at + 0x20)),
            (int)U32(file, at + 0x28))).ToArray();
    }

    private static Section Find(Section[] sections, uint type, string what)
    {
        var found = Array.FindIndex(sections, s => s.Type == type);
        return found >= 0 ? sections[found] : throw new InvalidDataException($"the ELF file has no table of {what}");
    }

    private static int FindSymbol(byte[] file, Section symbols, Section strings)
    {
        for (var i = 0; i < symbols.Size / 24; i++)
        {
            if (Text(file, strings, U32(file, symbols.Offset + 24 * i)) == NewSymbol)
            {
                return i;
            }
        }

        return -1;
    }

    private static (int Newer, int Older) FindVersions(byte[] file, Section needs, Section strings)
    {
        int need = needs.Offset, newer = -1, older = -1;
        while (true)
        {
            if (Text(file, strings, U32(file, need + 4)) == "libstdc++.so.6")
            {
                var version = need + (int)U32(file, need + 8);
                for (var i = 0; i < U16(file, need + 2); i++, version += (int)U32(file, version + 12))
                {
                    var name = Text(file, strings, U32(file, version + 8));
                    newer = name == NewVersion ? version : newer;
                    older = name == OldVersion ? version : older;
                }
            }

            var next = (int)U32(file, need + 12);
            if (next == 0)
            {
                break;
            }

            need += next;
        }

        return newer >= 0 && older >= 0 ? (newer, older)
            : throw new InvalidDataException(
                $"the ELF file does not need both {NewVersion} and {OldVersion} of libstdc++");
    }

    private static string Text(byte[] file, Section strings, uint offset)
    {
        var bytes = file.AsSpan(strings.Offset, strings.Size)[(int)offset..];
        return Encoding.ASCII.GetString(bytes[..bytes.IndexOf((byte)0)]);
    }

    private static ushort U16(byte[] file, int at) => BinaryPrimitives.ReadUInt16LittleEndian(file.AsSpan(at));

    private static uint U32(byte[] file, int at) => BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at));

    private static ulong U64(byte[] file, int at) => BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(at));
}
