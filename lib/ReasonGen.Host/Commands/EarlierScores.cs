using ReasonGen.Checkpoints;
using ReasonGen.Scoring;

namespace ReasonGen.Host.Commands;

/// <summary>Scores that stand where others are about to be written.</summary>
internal static class EarlierScores
{
    // score.json last: it says whose the others are
    private static readonly string[] Files = ["sheet.html", "summary.txt", "results.jsonl", "results.txt",
        "results_detail.txt", "analysis.txt", ScoreReport.FileName];

    /// <summary>Moves scores of another judge, benchmark or folder, or by other options or inputs, beside the folder.
    /// Nothing that stands there is overwritten; what an interrupted move left is moved to the same place.</summary>
    /// <param name="output">Folder of the scores.</param>
    /// <param name="report">What is about to be written into it.</param>
    /// <param name="notes">Told where earlier scores are now, or why what stands there is of no use.</param>
    /// <exception cref="UnusableFileException">They cannot be moved.</exception>
    internal static void SetAside(string output, ScoreReport report, ICollection<string> notes)
    {
        var earlier = SideFile.Texts(Path.Combine(output, ScoreReport.FileName), "whose scores stood here", notes);
        if (earlier("Judge") is not { } judge)
        {
            return;
        }

        // earlier versions kept fewer of these
        bool Same(string member, string? now) => now is null || earlier(member) is not { } then || then == now;
        var (benchmark, identity) = (earlier("Benchmark") ?? "", earlier("JudgeIdentity"));
        if (benchmark == report.Benchmark && judge == report.Judge && (earlier("Options") ?? "") == report.Options
            && Same(nameof(report.Inputs), report.Inputs) && Same(nameof(report.Folders), report.Folders)
            && (identity is null || identity == report.JudgeIdentity
                || earlier("JudgeFile") is { } path && path == report.JudgeFile))
        {
            return;
        }

        var name = benchmark == report.Benchmark ? judge : $"{benchmark}-{judge}";
        var stem = $"{Path.TrimEndingDirectorySeparator(output)}-" + string.Concat(name.Take(80)
            .Select(c => char.IsLetterOrDigit(c) || ".-_".Contains(c) ? c : '-'));
        var aside = stem;
        string[] files = [.. Files.Where(file => File.Exists(Path.Combine(output, file)))];
        for (var i = 2; files.Any(file => Path.Exists(Path.Combine(aside, file))); i++)
        {
            aside = $"{stem}-{i}";
        }

        try
        {
            Directory.CreateDirectory(aside);
            foreach (var file in files)
            {
                File.Move(Path.Combine(output, file), Path.Combine(aside, file));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(output, $"the scores by {judge} that stand there cannot be moved to "
                + $"{aside}: {e.Message.TrimEnd('.')}", "give another --out; what was answered is kept", e);
        }

        notes.Add($"the {benchmark} scores by {judge} that stood in {output} are now in {aside}");
    }
}
