using ReasonGen.Core;
using ReasonGen.Scoring;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <summary>What is known of arms: the study of the paper, with all its seeds, where it has every one that is asked
/// for; otherwise the single runs that ship or were trained here, as a study of one seed, with the errors of prompts
/// alone.</summary>
/// <param name="paper">The study; without arms where none is recorded or stages are trained here.</param>
/// <param name="study">Has the single runs.</param>
public sealed class PaperEvidence(PaperStudy paper, Study study)
{
    // arms by their names in the study; what is not here was never run alone
    private static readonly Dictionary<string, string> Stages = new()
    {
        ["base"] = "base", ["sft"] = "sft", ["adaptive"] = "rl-adaptive", ["none"] = "rl-none",
        ["penalty-0.02"] = "rl-fixed", ["without-sft"] = "rl-without-sft", ["large-judge"] = "rl-judge-large",
        ["small-judge"] = "rl-judge-small",
    };

    /// <summary>The study.</summary>
    public PaperStudy Paper => paper;

    /// <summary>Evidence of a study.</summary>
    /// <param name="study">Has the single runs, and tells whether stages are trained here.</param>
    /// <param name="folder">Of a study of the paper that was gathered; empty for the one that ships, which does not
    /// count where stages are trained here.</param>
    /// <exception cref="Checkpoints.UnusableFileException">A file is missing or damaged.</exception>
    public static PaperEvidence Of(Study study, string folder = "") => new(folder.Length > 0 ? PaperStudy.Load(folder)
        : study.Config.FromScratch ? PaperStudy.Empty : PaperStudy.Recorded(), study);

    /// <summary>These arms of the study, with the seeds that all of them have where there are any, or their single
    /// runs. An arm that was never run alone, such as "sft-long", may be missing in either.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">A single run is missing or damaged.</exception>
    public PaperStudy this[params ReadOnlySpan<string> arms]
    {
        get
        {
            string[] all = arms.ToArray(), alone = [.. all.Where(Stages.ContainsKey)];
            if (!paper.Has(alone))
            {
                return new(alone.ToDictionary(arm => arm, Single), []);
            }

            var (found, common) = (paper.Only(all), paper.Common(all));
            return common.Arms.Count == found.Arms.Count ? common : found;
        }
    }

    private PaperArm Single(string arm)
    {
        var runs = study.Records(Stages[arm]);
        var rewarded = runs.Where(run => run.Columns.Contains("reward")).ToArray();
        return new(arm, [.. runs.SelectMany(run => PaperFiles.Samplings.Select(sampling =>
            Cells(PaperFiles.ResultColumns, PaperFiles.Row(arm, run, sampling, Verdicts(run.Score(sampling))))))],
            [.. rewarded.SelectMany(run => PaperFiles.Points(arm, run))
                .Select(line => Cells(PaperFiles.PointColumns, line))],
            rewarded.Select(run => run.Count).DefaultIfEmpty().Max());
    }

    private static Dictionary<string, string> Cells(string[] columns, string line) =>
        columns.Zip(line.Split(',')).ToDictionary();

    // Of what ships it is known how many images were right and not which. In a random order their mean has its error,
    // and pairing gains nothing, as it is for independent samples.
    private static bool[] Verdicts(BenchmarkResult score)
    {
        var random = Seeds.Random(72, BitConverter.DoubleToInt64Bits(score.Mean));
        return score.Right?.ToArray() ?? [.. Prompts.Tasks.SelectMany(task =>
        {
            bool[] right = [.. Enumerable.Range(0, score.PromptsPerTask)
                .Select(i => i < Math.Round(score.Tasks[task] * score.PromptsPerTask))];
            random.Shuffle(right);
            return right;
        })];
    }
}
