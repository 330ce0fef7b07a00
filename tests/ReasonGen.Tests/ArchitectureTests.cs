using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Qwen;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests;

/// <summary>The house of lib/README.md: which assembly may see which, and that the method stays small.</summary>
public sealed class ArchitectureTests
{
    private static readonly string[] Floors =
        ["ReasonGen.Foundation", "ReasonGen", "ReasonGen.Pretrained", "ReasonGen.Miniature", "ReasonGen.Notebook"];

    public static TheoryData<Type, string[]> Rooms { get; } = new()
    {
        { typeof(UnusableFileException), Floors[..0] },
        { typeof(GrpoTrainer), Floors[..1] },
        { typeof(QwenVl), Floors[..2] },
        { typeof(Study), Floors[..3] },
        { typeof(ReasonGen.Judges.JudgeFiles), Floors[..3] },
        { typeof(Lab), Floors[..4] },
    };

    [Theory]
    [MemberData(nameof(Rooms))]
    public void Assembly_sees_only_those_below_it(Type inside, string[] allowed)
    {
        var seen = inside.Assembly.GetReferencedAssemblies().Select(name => name.Name!).Where(name => name.StartsWith("ReasonGen"));
        Assert.Empty(seen.Except(allowed));
    }

    [Fact]
    public void Method_has_at_most_4500_lines_and_no_file_of_over_250()
    {
        var folder = Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "lib", "ReasonGen");
        var lines = Directory.GetFiles(folder, "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}"))
            .ToDictionary(file => Path.GetRelativePath(folder, file), file => File.ReadLines(file).Count());
        Assert.InRange(lines.Values.Sum(), 1, 4500);
        Assert.DoesNotContain(lines, file => file.Value > 250);
    }
}
