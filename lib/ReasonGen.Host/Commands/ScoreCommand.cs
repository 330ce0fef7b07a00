using System.CommandLine;
using System.Globalization;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using ReasonGen.World;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen score: how good images are, by the rules of the benchmarks.</summary>
internal static class ScoreCommand
{
    private const double Right = 0.5; // a share of a prompt that counts as all of it
    private const string OfTask = " (task)";

    private const string Help = """
        Scores images by the rules of GenEval, GenEval 2, DPG-Bench and T2I-CompBench, and compares scores. Every
        number has an interval, every verdict its reason, and the label says what may be compared with what.

        Examples:
          reasongen score geneval geneval_output_ReasonGen-R1 --judge official --weights judges
          reasongen score dpg dpg_result/ReasonGen-R1 --questions dpg_bench.csv --judge qwen:Qwen2.5-VL-7B-Instruct
          reasongen score compare base-scores/geneval r1-scores/geneval
          reasongen score agree r1-scores/geneval official/results.jsonl
        """;

    internal static Command Create() => new("score", Help)
    {
        ScoreGenEvalCommand.Create(), ScoreGenEval2Command.Create(), ScoreDpgCommand.Create(), ScoreT2iCommand.Create(),
        Compare(), Agree(), ScoreWeightsCommand.Create(),
    };

    private static Command Compare()
    {
        var (first, second, json) = (Side("first", "The base."), Side("second", "What is held against it."),
            CommandLine.JsonOption());
        var command = new Command("compare", """
            Compares two scored folders on the prompts that both have: paired, with an interval. Positive means that
            the second is better. Ends with 1 where a side lacks prompts, images or scores; a results.jsonl lacks the
            images that the other side has more of.

            Examples:
              reasongen score compare base-scores/geneval r1-scores/geneval
              reasongen score compare base/results.jsonl r1/results.jsonl --json
            """) { first, second, json };
        command.SetAction(parsed =>
        {
            var (a, b) = (ScoreReport.Read(parsed.GetValue(first)!), ScoreReport.Read(parsed.GetValue(second)!));
            Expect(parsed.GetValue(first)!, a.Benchmark, parsed.GetValue(second)!, b.Benchmark);
            var (all, prompts) = Intervals.Compare(a.Tasks, b.Tasks);
            if (prompts == 0)
            {
                throw new UsageException($"{parsed.GetValue(first)} and {parsed.GetValue(second)} have no prompt in "
                    + $"common: they are of different prompt sets.");
            }

            var only = a.Tasks.Sum(task => task.Prompts.Count) + b.Tasks.Sum(task => task.Prompts.Count) - 2 * prompts;
            var tasks = a.Tasks.Where(task => b.Tasks.Any(other => other.Task == task.Task))
                .Select(task => (task.Task, Intervals.Compare([task], b.Tasks).Difference)).ToArray();
            string[] labels = [a.Label, b.Label];
            var warning = a.IsResults || b.IsResults
                ? "A results.jsonl tells neither its detector nor its options: where they differ, the difference is "
                    + "theirs too."
                : JudgesDiffer(a, b) ? "The two were judged by different judges: the difference is theirs too."
                : a.Options != b.Options ? "The two were scored by different options: the difference is theirs too."
                : a.Inputs is not null && b.Inputs is not null && a.Inputs != b.Inputs
                ? $"The two were scored from different inputs ({a.Inputs}; {b.Inputs}): the difference is theirs too."
                : null;
            var sides = ((ScoreReport Report, ScoreReport Other, string Path)[])
                [(a, b, parsed.GetValue(first)!), (b, a, parsed.GetValue(second)!)];
            var fewer = sides.Select(side => (Side: side, Of: Fewer(side.Report, side.Other)))
                .Where(side => side.Of.Prompts > 0).ToLookup(side => side.Side.Report.IsResults, side =>
                    $"{side.Side.Path}: {side.Of.Prompts} of {prompts} prompts have fewer scores than on the other "
                    + $"side, {side.Of.Scores} in all.");
            string[] lacking = [.. sides.Where(side => !side.Report.Complete).Select(side =>
                $"{side.Path}: of {side.Report.Images.Count} images {side.Report.Unscored} were not scored, "
                + $"{side.Report.Missing} more are missing; no number counts them."), .. fewer[true]];
            string[] notes = [.. fewer[false]]; // --count may differ on purpose
            if (parsed.GetValue(json))
            {
                CommandLine.PrintJson(new { a.Benchmark, labels, prompts, unpaired = only, warning, lacking, notes,
                    difference = new { all.Value, all.Low, all.High },
                    apart = double.IsNaN(all.Low) ? null : (bool?)all.ExcludesZero,
                    tasks = tasks.ToDictionary(t => t.Task, t =>
                    new { t.Difference.Value, t.Difference.Low, t.Difference.High }) });
            }
            else
            {
                Console.WriteLine(Terminal.Plain($"{a.Label}\n{b.Label}\n"));
                foreach (var (name, difference) in tasks.Append(("overall", all)))
                {
                    Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                        $"{Terminal.Line(name),-24} {difference.Value * a.Scale,7:+0.00;-0.00;0.00}  "
                            + $"({difference.Ends(a.Scale, "+0.00;-0.00;0.00")})"
                            + $"{(difference.Low <= 0 && difference.High >= 0 ? "  no difference seen" : "")}"));
                }

                Console.WriteLine($"\nSecond minus first over {prompts} prompts; in brackets 95 %, by drawing the same "
                    + $"prompts for both.{(only > 0 ? $" {only} prompts that one side lacks are left out." : "")}"
                    + (warning is null ? "" : $"\n{warning}") + string.Concat(lacking.Concat(notes)
                        .Select(side => $"\n{side}")));
            }

            return only > 0 || lacking.Length > 0 ? CommandLine.Failed : CommandLine.Done;
        });
        return command;
    }

    // the identity of a file is its content, which differs as the images do; so do the parts of complex scores
    private static bool JudgesDiffer(ScoreReport a, ScoreReport b) => a.Judge != b.Judge ? a.Label != b.Label
        : a is { JudgeIdentity: { } one, JudgeFile: null } && b is { JudgeIdentity: { } other, JudgeFile: null }
            && one != other && a.Benchmark != "T2I-CompBench complex";

    // prompts of both of which the first has fewer scores, and how many in all
    private static (int Prompts, int Scores) Fewer(ScoreReport report, ScoreReport other)
    {
        int[] lacks = [.. report.Tasks.Join(other.Tasks, task => task.Task, task => task.Task, (own, others) =>
            own.Prompts.Join(others.Prompts, prompt => prompt.Prompt, prompt => prompt.Prompt, (one, two) =>
                two.Scores.Count - one.Scores.Count)).SelectMany(task => task).Where(lack => lack > 0)];
        return (lacks.Length, lacks.Sum());
    }

    private static Command Agree()
    {
        var (first, second, json) = (Side("first", "The judge in question."),
            Side("second", "What counts as the truth: another scored folder, a results.jsonl, or GenEval's "
                + "annotations_*.csv."), CommandLine.JsonOption());
        var metadata = new Option<string?>("--metadata") { Description =
            "GenEval's evaluation_metadata.jsonl; annotations need it." };
        var command = new Command("agree", """
            Tells how far two judges agree on the same images: accuracy, precision, recall and Cohen's kappa, by task.
            Images are matched by their place, which is folder and number in GenEval's layout, else the file's name;
            their prompts must be the same. A score counts as right from 0.5 on.

            Examples:
              reasongen score agree qwen-scores/geneval official/results.jsonl
              reasongen score agree sdv2-scores/geneval annotations_sdv2.csv --metadata evaluation_metadata.jsonl
            """) { first, second, metadata, json };
        command.SetAction(parsed =>
        {
            var (left, right) = (parsed.GetValue(first)!, parsed.GetValue(second)!);
            var people = right.EndsWith(".csv", StringComparison.Ordinal);
            CommandLine.RefuseIdle(parsed, right, (people, "GenEval's annotations_*.csv", [metadata]));
            var a = ScoreReport.Read(left);
            var notes = new List<string>();
            var b = people ? null : ScoreReport.Read(right);
            Expect(left, a.Benchmark, right, b?.Benchmark ?? "GenEval");
            var truth = b is null ? People(right, parsed.GetValue(metadata), notes) : Verdicts(b.Images);
            var matched = a.Images.Where(image => image.Score is not null && truth.ContainsKey(ImageName(image.Image)))
                .Select(image => (Image: image, Other: truth[ImageName(image.Image)])).ToArray();
            if (matched.Length == 0)
            {
                throw new UsageException($"{left} and {right} have no image in common.");
            }

            var strangers = matched.Where(pair => pair.Image.Prompt != pair.Other.Prompt).ToArray();
            if (strangers is [var (odd, other), ..])
            {
                throw new UsageException($"{left} and {right} are of different images: {strangers.Length} of "
                    + $"{matched.Length} at the same place have another prompt; {odd.Image} is of '{odd.Prompt}' in "
                    + $"the first, of '{other.Prompt}' in the second.");
            }

            var pairs = matched.Select(pair => (pair.Image.Task, pair.Image.Prompt, First: pair.Image.Score >= Right,
                Truth: pair.Other.Right)).ToArray();
            var rows = pairs.GroupBy(pair => pair.Task).Append(new Whole(pairs))
                .Select(task => (Task: task.Key, Agreement: Agreement.Of([.. task.Select(p =>
                (p.Prompt, p.First, p.Truth))]))).ToArray();
            if (parsed.GetValue(json))
            {
                CommandLine.PrintJson(new { a.Label, truth = right, images = pairs.Length, threshold = Right,
                    notes,
                    tasks = rows.Index().ToDictionary(row => row.Index < rows.Length - 1 ? Apart(row.Item.Task)
                        : row.Item.Task, row => row.Item.Agreement) });
                return CommandLine.Done;
            }

            Console.WriteLine(Terminal.Plain($"{a.Label}\nheld against {right}, {pairs.Length} images in common of "
                + $"{a.Images.Count} and {truth.Count}, by their place and prompt"));
            Console.WriteLine(FormattableString.Invariant($"A score counts as right from {Right} on.\n"));
            Console.WriteLine($"{"",-18} {"images",6} {"accuracy",24} {"precision",9} {"recall",6} {"kappa",22}");
            foreach (var (task, x) in rows)
            {
                static string Of(double value) => double.IsNaN(value) ? "–"
                    : value.ToString("0.00", CultureInfo.InvariantCulture);
                Console.WriteLine($"{Terminal.Line(task),-18} {x.Images,6} "
                    + $"{$"{Of(x.Accuracy.Value)} ({Of(x.Accuracy.Low)} to {Of(x.Accuracy.High)})",24} "
                    + $"{Of(x.Precision),9} {Of(x.Recall),6} "
                    + $"{$"{Of(x.Kappa.Value)} ({Of(x.Kappa.Low)} to {Of(x.Kappa.High)})",22}");
            }

            foreach (var note in notes)
            {
                Console.WriteLine(Terminal.Plain(note));
            }

            return CommandLine.Done;
        });
        return command;
    }

    // "all" is the whole: a task of that name is "all (task)"
    private static string Apart(string task) => task.Replace(OfTask, "") == Whole.Name ? task + OfTask : task;

    private static Argument<string> Side(string name, string description) => new(name) { Description = description };

    private static void Expect(string first, string one, string second, string other)
    {
        if (one != other)
        {
            throw new UsageException($"{first} holds scores of {one}, {second} of {other}; these cannot be compared.");
        }
    }

    private static Dictionary<string, (string Prompt, bool Right)> Verdicts(IEnumerable<ImageScore> images) =>
        images.Where(image => image.Score is not null).GroupBy(image => ImageName(image.Image))
        .ToDictionary(group => group.Key, group => (group.First().Prompt, group.First().Score >= Right));

    // 00220/samples/0002.png and people's 220_2 are one
    private static string ImageName(string image) => image.Replace('\\', '/')
        .Split('/') is [.., { Length: > 0 } prompt, "samples", var file]
        && PythonNumber.LeadingDigits(prompt) == prompt.Length && PythonNumber.LeadingDigits(file) is > 0 and var digits
        ? $"{PythonNumber.Int(prompt)}_{PythonNumber.Int(file[..digits])}" : image;

    private static Dictionary<string, (string Prompt, bool Right)> People(string path, string? metadata,
        List<string> notes)
    {
        var read = GenEvalAnnotations.Read(path, GenEvalAnnotations.ReadMetadata(metadata
            ?? throw new UsageException("annotations need --metadata evaluation_metadata.jsonl, which says what each "
                + "caption asks for.")));
        if (read.Skipped.Count > 0)
        {
            notes.Add($"{read.Skipped.Count} images have a caption that is no prompt of {metadata} and are left out: "
                + $"{string.Join(", ", read.Skipped.Take(5))}");
        }

        var (agree, all) = (read.Images.Sum(image => image.Pairs.Agree), read.Images.Sum(image => image.Pairs.All));
        notes.Add(string.Create(CultureInfo.InvariantCulture,
            $"People among themselves: {100.0 * agree / Math.Max(1, all):0.0} % of pairs agree; "
                + $"{read.Images.Count(image => image.Unanimous)} of {read.Images.Count} images are unanimous."));
        return read.Images.ToDictionary(image => image.Image, image => (image.Prompt, image.Majority));
    }

    private sealed class Whole((string Task, string Prompt, bool First, bool Truth)[] pairs) : IGrouping<string,
        (string Task, string Prompt, bool First, bool Truth)>
    {
        internal const string Name = "all";

        public string Key => Name;

        public IEnumerator<(string Task, string Prompt, bool First, bool Truth)> GetEnumerator() => pairs.AsEnumerable()
            .GetEnumerator();

        System.Collections.IEnumerator System.Collections.IEnumerable.GetEnumerator() => GetEnumerator();
    }
}
