using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Notebook;
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
        var seen = inside.Assembly.GetReferencedAssemblies().Select(name => name.Name!)
            .Where(name => name.StartsWith("ReasonGen"));
        Assert.Empty(seen.Except(allowed));
    }

    [Fact]
    public void Method_has_at_most_4500_lines_and_no_file_of_over_250()
    {
        var lines = Sources("lib/ReasonGen").ToDictionary(file => file, file => File.ReadLines(file).Count());
        Assert.InRange(lines.Values.Sum(), 1, 4500);
        Assert.DoesNotContain(lines, file => file.Value > 250);
    }

    [Theory]
    [InlineData("lib")]
    [InlineData("tests")]
    [InlineData("notebooks")]
    public void Lines_have_at_most_120_columns_but_in_raw_strings(string folder)
    {
        Assert.Empty(Sources(folder).SelectMany(TooWide));
    }

    // what stands between """ and """ is data, which has the width that it has
    private static IEnumerable<string> TooWide(string file)
    {
        var text = File.ReadAllText(file);
        if (text.Split('\n').All(line => line.Length <= 120))
        {
            return [];
        }

        var tree = CSharpSyntaxTree.ParseText(text, cancellationToken: TestContext.Current.CancellationToken);
        var raw = tree.GetRoot(TestContext.Current.CancellationToken).DescendantNodes()
            .Where(node => node is LiteralExpressionSyntax or InterpolatedStringExpressionSyntax)
            .Where(node => node.GetFirstToken().Text.TrimStart('$').StartsWith("\"\"\"", StringComparison.Ordinal))
            .Select(node => tree.GetLineSpan(node.Span, TestContext.Current.CancellationToken))
            .SelectMany(span => Enumerable.Range(span.StartLinePosition.Line,
                span.EndLinePosition.Line - span.StartLinePosition.Line + 1)).ToHashSet();
        return text.Split('\n').Index().Where(line => line.Item.Length > 120 && !raw.Contains(line.Index))
            .Select(line => $"{file}:{line.Index + 1}");
    }

    private static IEnumerable<string> Sources(string folder)
    {
        string[] built = [$"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}",
            $"{Path.DirectorySeparatorChar}bin{Path.DirectorySeparatorChar}"];
        return Directory.GetFiles(Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, folder), "*.cs",
            SearchOption.AllDirectories).Where(file => !built.Any(file.Contains));
    }
}
