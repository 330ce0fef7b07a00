using System.Globalization;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Fuzz;

/// <summary>
/// Whatever is handed to a reader, it reads it or refuses it by the exception it documents: soon, in memory bounded by
/// the input's size, and without
/// the end of the process. The tests try a few inputs of each kind; REASONGEN_FUZZ=2000000 tries so many in all,
/// REASONGEN_FUZZ_TARGETS=parquet,report of those alone, REASONGEN_FUZZ_SEED others.
/// </summary>
[Collection("kernel")]
public sealed class FuzzTests(ITestOutputHelper report)
{
    private const int Few = 60;

    private static readonly FuzzTarget[] All = [.. CheckpointTargets.All, .. SettingTargets.All, .. DataTargets.All,
        .. ScoringTargets.All, .. HostTargets.All, .. TrainingTargets.All];

    private static readonly string[]? Chosen = 
        Environment.GetEnvironmentVariable("REASONGEN_FUZZ_TARGETS") is { Length: > 0 } names
        ? names.Split(',') : null;

    private static readonly FuzzTarget[] Tried = [.. All.Where(target => Chosen?.Contains(target.Name) != false)];

    public static TheoryData<string> Targets => [.. Tried.Select(target => target.Name)];

    [Theory]
    [MemberData(nameof(Targets))]
    public void Damaged_input_is_read_or_refused(string name)
    {
        var target = Tried.Single(target => target.Name == name);
        var many = Number("REASONGEN_FUZZ");
        var count = many is null ? Few * target.Share : many.Value * target.Share / Tried.Sum(target => target.Share);
        var result = FuzzRound.Run(target, (int)Math.Ceiling(count), Number("REASONGEN_FUZZ_SEED") ?? 1,
            alone: many is not null);
        report.WriteLine($"{name}: {result}");
        if (Environment.GetEnvironmentVariable("REASONGEN_FUZZ_REPORT") is { Length: > 0 } file)
        {
            File.AppendAllText(file, $"{name}: {result}\n");
        }

        Assert.True(result.Findings.Count == 0, $"{name}: {result}");
    }

    private static ulong? Number(string variable) =>
        ulong.TryParse(Environment.GetEnvironmentVariable(variable), CultureInfo.InvariantCulture, out var number)
            ? number : null;
}
