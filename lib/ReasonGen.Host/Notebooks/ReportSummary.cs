using System.Globalization;
using System.Runtime.InteropServices;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Native;
using ReasonGen.Notebook;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using ReasonGen.World;
using static ReasonGen.Notebook.Html;

namespace ReasonGen.Host.Notebooks;

/// <summary>First section of the report: the story in three numbers, the paper's table beside ours, and all it takes to
/// make the page again.</summary>
internal static class ReportSummary
{
    internal const string Command = "dotnet run -c Release --project lib/ReasonGen.Host --";

    private const string Lede = "<p class=\"lede\">An image generator that draws token by token learns to "
        + "<em>write</em> what it will draw, and then to draw what it wrote. These notebooks retell the paper with a "
        + "miniature of the same architecture in a small drawn world, where every image can be judged exactly.</p>";

    private const string Reading = "The paper measures GenEval, the miniature its own six tasks of the same kinds, so "
        + "directions can be compared and sizes cannot. Numbers marked <em>recalled</em> were not verified. Brackets "
        + "hold 95 %; a claim is seen where all of them lie on its side of 0, and <em>not told apart</em> where they "
        + "hold 0. Scores are of temperature 1; where lower ones say otherwise, the row says so. Entropy and reward "
        + "are means of the first, the middle and the last fifth of a run; behind each part of such a claim stands by "
        + "how much it holds.";

    /// <summary>How the run of a notebook ended, in a word.</summary>
    internal static string State(NotebookOutcome outcome) => outcome switch
    {
        { Reached: false } => "not run",
        { FailedCell: > 0 and var cell } => $"failed in cell {cell}",
        { FailedCell: not null } => "failed",
        { Ok: false } => "incomplete",
        _ => "well",
    };

    internal static string Of(ReportContent content)
    {
        var study = new Study(Config(content.Parameters));
        var evidence = Evidence(study, content.Parameters.GetValueOrDefault("paper", ""), out var damaged);
        return "<section id=\"summary\" aria-labelledby=\"summary--title\"><p class=\"eyebrow\">arXiv 2505.24875, in "
            + "C#</p><h1 id=\"summary--title\">ReasonGen\u2011R1, step by step</h1>"
            + $"{Lede}{damaged}{Story(evidence)}{Claims(evidence, content)}{Origin(content, study)}"
            + $"{Runs(study, evidence.Paper)}{Notebooks(content)}</section>";
    }

    private static PaperEvidence Evidence(Study study, string folder, out string damaged)
    {
        damaged = "";
        try
        {
            return PaperEvidence.Of(study, folder);
        }
        catch (UnusableFileException e)
        {
            damaged = $"<p class=\"no\">{Escape(e.Message)}</p>";
            return new(PaperStudy.Empty, study);
        }
    }

    private static StudyConfig Config(IReadOnlyDictionary<string, string> parameters)
    {
        try
        {
            return StudyConfig.Preset(parameters.GetValueOrDefault("preset", "quick"), Seed(parameters) ?? 1);
        }
        catch (ArgumentException) // a notebook of another kit may have a parameter of that name
        {
            return StudyConfig.Quick;
        }
    }

    // 1e3 is a whole number to the notebooks, too
    private static long? Seed(IReadOnlyDictionary<string, string> parameters) =>
        parameters.TryGetValue("seed", out var text)
        && decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var seed)
        && seed is >= long.MinValue and <= long.MaxValue ? (long)seed : null;

    private static string Story(PaperEvidence evidence)
    {
        try
        {
            (string Arm, string Name, string What)[] arms =
            [
                ("base", "Base", "draws at once"), ("sft", "SFT", "writes a plan, then draws"),
                ("adaptive", "RL", "is rewarded when the image is right"),
            ];
            var found = evidence["base", "sft", "adaptive"];
            static string Percent(double share) => Decimals.Of(100 * share, 1);
            var tiles = string.Concat(arms.Select(arm => (arm.Name, arm.What, Score: found[arm.Arm].Score()))
                .Select(tile => $"<li><b>{Percent(tile.Score.Value)} %</b>"
                    + $"<span>{Percent(tile.Score.Low)} to {Percent(tile.Score.High)}</span><p>"
                    + $"<strong>{tile.Name}</strong> {tile.What}</p></li>"));
            return $"<ul class=\"tiles\" aria-label=\"Share of right images\">{tiles}</ul><p class=\"note\">Share of "
                + "right images over the benchmark's six tasks at temperature 1, with 95 % over "
                + (found.Basis() is var basis && basis.Contains("seeds") ? $"prompts and training seeds: {basis}"
                    : $"sampled prompts and images: {basis}") + ".</p>";
        }
        catch (UnusableFileException)
        {
            return ""; // the table below says so
        }
    }

    private static string Claims(PaperEvidence evidence, ReportContent content)
    {
        var ids = content.Outcomes.Zip(content.Ids).GroupBy(pair => pair.First.Name).ToDictionary(group => group.Key,
            group => group.First().Second);
        var claims = PaperClaims.Of(evidence);
        var rows = claims.Select(claim => new[]
        {
            Escape(claim.Place),
            ids.TryGetValue(claim.Notebook, out var id) ? $"<a href=\"#{id}\">{Escape(claim.Claim)}</a>"
                : Escape(claim.Claim),
            Escape(claim.Paper) + (claim.Recalled ? " <em class=\"note\">recalled</em>" : ""), Escape(claim.Ours),
            claim.Difference?.Text(signed: true).Replace(" [", "<br>[") ?? "", // so narrow that all columns are seen
            claim.Outcome == ClaimOutcome.NotMeasured ? claim.Seen
                : $"<span class=\"{claim.Seen.Replace(' ', '-')}\">{claim.Seen}</span><br>"
                    + $"<span class=\"note\">{claim.Rests}</span>",
        });
        var study = claims.Any(claim => claim.Rests.EndsWith("seeds"));
        var single = claims.Any(claim => claim.Rests == PaperClaims.SingleRun);
        return "<h2 id=\"summary--paper\">The paper beside the miniature</h2>"
            + Table(["paper", "claim", "paper says", "ours", "#difference, T 1", "seen here"], rows, wide: true)
            + $"<p class=\"note\">{Reading}"
            + (study ? " Over seeds they cover training seeds and prompts, paired by both." : "")
            + (single ? " Of a single run they cover prompts and images alone, and say nothing of another seed; where "
                + "it has none, its value counts." : "") + "</p>";
    }

    private static string Origin(ReportContent content, Study study)
    {
        var outcomes = content.Outcomes;
        var others = string.Concat(content.Parameters.Where(pair => pair.Key switch
        {
            "preset" => pair.Value != study.Config.Name, // known to the notebook alone
            "seed" => Seed(content.Parameters) != study.Config.Seed,
            _ => true,
        })
            .Select(pair => $", {pair.Key} = {pair.Value}"));
        (string Name, string Value)[] facts =
        [
            ("Settings", $"preset {study.Config.Name}, seed {study.Config.Seed}{others}: "
                + (study.Config.FromScratch ? "every stage trained here"
                    : "long stages read from the recorded runs below, short live runs in each notebook")),
            ("Code", $"version {Version}, revision {RunRecord.CurrentCommit}"),
            ("Machine",
                $"{RuntimeInformation.OSDescription}, {RuntimeInformation.OSArchitecture}, "
                + $"{Environment.ProcessorCount} processors,"
                + $" {GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 1073741824.0:0} GiB"),
            ("Libraries",
                $"{RuntimeInformation.FrameworkDescription}, TorchSharp "
                + $"{typeof(TorchSharp.torch).Assembly.GetName().Version!.ToString(3)}, computing on {Target()}"),
            ("Made", $"{DateTime.UtcNow:yyyy-MM-dd HH:mm} UTC, in "
                + $"{Number(content.Took.TotalMinutes, "0.0")} minutes, with at most "
                + Number(outcomes.Select(outcome => outcome.PeakBytes).DefaultIfEmpty().Max() / 1073741824.0, "0.0")
                + " GiB"),
        ];
        return "<h2 id=\"summary--origin\">How this page was made</h2>"
            + Table([], facts.Select(fact => new[] { $"<b>{fact.Name}</b>", Escape(fact.Value) }))
            + $"<p>In a clone of the repository, this makes it "
            + $"again:</p><pre><code>{Escape(content.Command)}</code></pre>";
    }

    private static string Runs(Study study, PaperStudy paper)
    {
        try
        {
            var runs = Study.Foundations.Concat(Study.Arms).Concat(Study.JudgeArms).Select(study.Record).ToArray();
            static string Score(RunRecord run, string temperature) =>
                run.Results[temperature] is null ? "" : Decimals.Of(run.Score(temperature).Mean, 3);
            var machine = runs.Select(run => run.Machine).Distinct().ToArray();
            return $"<h2 id=\"summary--runs\">Recorded runs</h2><p>Mean share of right "
                + $"images, {Number(runs.Sum(run => run.Seconds) / 60, "0")} minutes of training of the runs in this "
                + $"table, on {Escape(string.Join("; ", machine))}.{Of(paper)}</p>"
                + Table(["run", "#seed", "#steps", "#minutes", "#T 1", "#T 0.5", "#greedy", "revision"],
                    runs.Select(run => new[]
                {
                    Escape(run.Name), run.Seed.ToString(), run.Count.ToString(), Number(run.Seconds / 60, "0.0"),
                    Score(run, "t1"), Score(run, "t0.5"), Score(run, "greedy"),
                    $"<code>{Escape(run.Commit[..Math.Min(10, run.Commit.Length)])}</code>",
                }));
        }
        catch (UnusableFileException e)
        {
            return $"<p class=\"no\">{Escape(e.Message)}</p>";
        }
    }

    private static string Of(PaperStudy paper)
    {
        var hours = paper.Runs.Sum(run => run["seconds"] is JValue { Value: double taken } ? taken : 0) / 3600;
        var steps = paper.Only([.. PaperPlan.Arms.Select(run => run.Name)]).RlSteps();
        return paper.OfSingleRuns ? "" : $" The study of the paper has {paper.Runs.Count} runs of its own, of "
            + $"{paper.Arms.Count} arms, made in {Number(hours, "0.0")} hours of training in all from revision "
            + $"{Escape(string.Join(", ", paper.Commits.Select(id => id[..Math.Min(10, id.Length)])))} on "
            + $"{Escape(string.Join("; ", paper.Machines))}."
            + (steps.Length == 0 ? "" : $" Its arms have {steps} RL steps: hold them against each other, and not "
                + "against single runs with another number of steps.");
    }

    private static string Notebooks(ReportContent content) =>
        "<h2 id=\"summary--notebooks\">Notebooks</h2>" + Table(["notebook", "#seconds", "#MiB", "ended"],
        content.Outcomes.Select((outcome, i) => new[]
        {
            $"<a href=\"#{content.Ids[i]}\">{Escape(outcome.Title)}</a>", Number(outcome.Seconds, "0.0"),
            Number(outcome.PeakBytes / 1048576.0, "0"),
            outcome.Ok ? State(outcome) : $"<span class=\"no\">{State(outcome)}</span>",
        }));

    // a column whose name starts with # holds numbers; a wide table becomes cards on a narrow screen
    private static string Table(string[] columns, IEnumerable<string[]> rows, bool wide = false)
    {
        string Name(int i) => columns[i].TrimStart('#');
        string Class(int i) => i < columns.Length && columns[i].StartsWith('#') ? " class=\"number\"" : "";
        string Cell(string cell, int i) => !wide ? $"<td{Class(i)}>{cell}</td>"
            : $"<td{Class(i)} data-label=\"{Name(i)}\">{(cell.Length > 0 ? $"<span>{cell}</span>" : "")}</td>";
        var head = string.Concat(columns.Select((_, i) => $"<th scope=\"col\"{Class(i)}>{Name(i)}</th>"));
        var body = string.Concat(rows.Select(row => $"<tr>{string.Concat(row.Select(Cell))}</tr>"));
        return $"<div class=\"scroll\"><table class=\"{(wide ? "cards" : columns.Length == 0 ? "facts" : "plain")}\">"
            + $"{(columns.Length == 0 ? "" : $"<thead><tr>{head}</tr></thead>")}<tbody>{body}</tbody></table></div>";
    }

    private static string Version => typeof(ReportSummary).Assembly.GetName().Version!.ToString(3);

    private static string Target()
    {
        try
        {
            NativeRuntime.EnsureLoaded();
            return ComputeTarget.Default.ToString();
        }
        catch (PlatformNotSupportedException)
        {
            return "nothing: libtorch does not load here";
        }
    }

    private static string Number(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
}
