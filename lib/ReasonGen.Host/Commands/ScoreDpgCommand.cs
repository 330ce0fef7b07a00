using System.CommandLine;
using ReasonGen.Scoring;
using ReasonGen.Studies;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen score dpg.</summary>
internal static class ScoreDpgCommand
{
    private const double CropWork = 8.4e11, QuestionWork = 1.2e10; // mPLUG-large at 504 pixels, and a short answer

    private const string Help = """
        Scores a folder of DPG-Bench's squares by its question graph. Writes results.txt and results_detail.txt as the
        official script does, score.json and a contact sheet. The side of a crop is that of the image; an image of
        another shape is refused instead of being cut.

        Examples:
          reasongen score dpg dpg_result/ReasonGen-R1 --questions dpg_bench.csv --judge \
              qwen:Qwen2.5-VL-7B-Instruct --dry-run
          reasongen score dpg dpg_result/ReasonGen-R1 --questions dpg_bench.csv --judge \
              http://localhost:8000/v1 --judge-model Qwen/Qwen2.5-VL-7B-Instruct
          reasongen score dpg dpg_result/ReasonGen-R1 --questions dpg_bench.csv --judge official --weights judges
          reasongen score dpg images --questions dpg_bench.csv --judge file:results_detail.txt --judge-name official
        """;

    internal static Command Create()
    {
        var options = new ScoreOptions { Official = new(answers: true) };
        var questions = new Option<string>("--questions", "-q") { Description = "dpg_bench.csv.", Required = true };
        var images = new Option<int?>("--images-per-file") { Description =
            "4 for squares of four images, 1 for a single image a file. Default: what generation.json says, 4 without "
            + "it." };
        images.AcceptOnlyFromAmong("1", "4");
        var resolution = new Option<int?>("--resolution") { Description =
            "Side of one crop in pixels; an image that differs is refused. Default: each image's own." };
        var all = new Option<bool>("--all-rows") { Description =
            "Keeps the first row of the questions, which the official script loses; the score is then not "
            + "comparable." };
        var command = new Command("dpg", Help) { questions, images, resolution, all };
        options.AddTo(command);
        command.SetAction((parsed, cancel) => Task.FromResult(Run(options, parsed, parsed.GetValue(questions)!,
            parsed.GetValue(images), parsed.GetValue(resolution), parsed.GetValue(all), cancel)));
        return command;
    }

    private static int Run(ScoreOptions options, ParseResult parsed, string file, int? given, int? resolution,
        bool all, CancellationToken cancel)
    {
        var run = new ScoreRun(options, parsed, "dpg", cancel);
        var perFile = PerFile(run, given);
        var questions = DpgQuestions.Read(file, skipFirst: !all);
        var inputs = $"{(perFile == 1 ? "1 image" : $"{perFile} images")} a file, {ScoreRun.Input("questions", file)}";
        run.Notes.AddRange(questions.Notes);
        var folder = Directory.Exists(Path.Combine(run.Folder, "generated_images"))
            ? Path.Combine(run.Folder, "generated_images") : run.Folder;
        var known = new List<(string File, IReadOnlyList<DpgQuestion> Questions)>();
        var strangers = new List<string>();
        foreach (var name in run.ImageFiles(folder).Select(path => Path.GetFileName(path)))
        {
            // an item id with a dot is found here, though not by the official script
            var id = questions.Items.ContainsKey(Dpg.ItemOf(name)) ? Dpg.ItemOf(name)
                : Path.GetFileNameWithoutExtension(name);
            if (questions.Items.TryGetValue(id, out var own))
            {
                known.Add((name, own));
            }
            else
            {
                strangers.Add(name);
            }
        }

        if (known.Count == 0)
        {
            throw new UsageException($"none of the {strangers.Count} images of {folder} is named like an item of "
                + $"{file}, such as {questions.Items.Keys.First()}.png; the first is {strangers[0]}. "
                + "Images and questions are of different prompt sets.");
        }

        run.Problems.AddRange(strangers.Select(name => $"{name} is no item of {file}"));
        var absent = questions.Items.Keys.Except(known.Select(image => Path.GetFileNameWithoutExtension(image.File)))
            .Except(known.Select(image => Dpg.ItemOf(image.File))).ToArray();
        run.Problems.AddRange(absent.Select(item => $"the item {item} has no image"));
        if (!run.Announce("DPG-Bench", known.Count, known.Sum(image => (long)image.Questions.Count * perFile),
            (long)known.Count * perFile, perFile * (CropWork + QuestionWork * known.Average(image =>
            image.Questions.Count)), JudgeTask.Answers))
        {
            return CommandLine.Done;
        }

        var source = ScoreJudges.Answers(options, parsed, run);
        var scored = new Dictionary<string, DpgImage>();
        var details = new Dictionary<string, (List<DpgAnswer> Said, int Side)>();
        var scores = new Dictionary<string, ImageScore>();
        try
        {
            run.Each(known, image => image.File, source is JudgeAnswers, image =>
            {
                var said = new List<DpgAnswer>();
                try
                {
                    var read = run.Read(Path.Combine(folder, image.File), image.File, upright: false);
                    var own = Dpg.Resolution(read.Pixels.Width, read.Pixels.Height, perFile);
                    if (resolution is { } wanted && wanted != own)
                    {
                        throw new OfficialStopException("none",
                            $"its crops have {own}x{own} pixels, not {wanted}x{wanted}; the official script would "
                                + $"{(wanted > own ? "ask about black" : "cut it")} without a word");
                    }

                    var crops = Enumerable.Range(0, perFile)
                        .Select(crop => Dpg.Crop(read.Pixels, crop, own, read.Outside)).ToArray();
                    if (!ScoreRun.IsBlack(read.Pixels))
                    {
                        run.Problems.AddRange(crops.Index().Where(crop => ScoreRun.IsBlack(crop.Item))
                            .Select(crop => $"crop {crop.Index + 1} of {image.File} is black all over; it is scored as "
                                + "it is"));
                    }

                    var answers = crops.Select((crop, i) => source.Ask(image.File, i, () => crop,
                        [.. image.Questions.Select(question => question.Text)], cancel)).ToArray();
                    var score = Dpg.Score(image.File, image.Questions, perFile, (crop, question) =>
                    {
                        var answer = answers[crop][image.Questions.Index().First(q => q.Item == question).Index]
                            ?? throw new OfficialStopException("none",
                                $"{source.WhyNone(image.File, crop, question.Text)} question {question.Id} about its "
                                    + $"crop {crop + 1}: {question.Text}");
                        said.Add(new(image.File, crop, question.Text, answer.Text));
                        return answer.Text;
                    });
                    (scored[image.File], details[image.File]) = (score, (said, own));
                    scores[image.File] = new("DPG-Bench", Dpg.ItemOf(image.File), image.File, score.Score,
                        string.Join('\n', said.Where(answer => answer.Text != "yes")
                            .Select(answer => $"crop {answer.Crop + 1}: {answer.Question} {answer.Text}")));
                    if (score.Failure is { } failure)
                    {
                        run.Problems.Add($"{image.File}: {failure}");
                    }
                }
                catch (OfficialStopException stop)
                {
                    scores[image.File] = new("DPG-Bench", Dpg.ItemOf(image.File), image.File, null, stop.Cause);
                    run.Problems.Add($"{image.File} was not scored: "
                        + stop.Cause.TrimEnd('.')
                        + (stop.Kind == "none" ? "" : $" (the official script drops it: {stop.Kind})"));
                }
            });
        }
        catch (OperationCanceledException)
        {
            return run.Interrupted();
        }

        var dpg = new DpgScores([.. known.Where(image => scored.ContainsKey(image.File))
            .Select(image => scored[image.File])]);
        if (dpg.Images.Count == 0)
        {
            throw ScoreRun.NoneScored(known.Count, scores[known[0].File].Reason);
        }

        var answersOf = dpg.Images.SelectMany(image => image.Categories.Select(category =>
            (image.File, category.Category, category.Answer))).ToArray();
        IEnumerable<ImageScore> Level(Func<string, string> name) =>
            answersOf.Select(a => new ImageScore(name(a.Category), Dpg.ItemOf(a.File), a.File, a.Answer, ""))
            .OrderBy(c => c.Task, StringComparer.Ordinal);
        var judge = source.Judge;
        var itself = parsed.GetValue(options.Judge) == "official";
        if (!itself && !judge.Official && source is JudgeAnswers)
        {
            run.Notes.Add("a probability is compared with one half here, where the official script compares the word "
                + "\"yes\"");
        }

        var rules = all ? "the first row of the questions" : "";
        var report = new ScoreReport
        {
            Benchmark = "DPG-Bench", Options = rules, Inputs = inputs, Judge = judge.Name,
            Label = ScoreLabel.Of("DPG-Bench", "answers", judge, run.TrainingReward())
                + (all ? $"; with {rules}" : ""),
            Limits = itself ? judge.Limits : [],
            Images = [.. known.Select(image => scores[image.File])], Missing = absent.Length,
            Categories = [.. Level(category => category.Split('-')[0].Trim()), .. Level(category => category)
                .Where(c => c.Task.Contains('-'))],
        };
        var results = Path.Combine(run.Output, "results.txt");
        return run.Finish(report, judge, folder, new()
        {
            ["results.txt"] = string.Concat(dpg.Lines(folder).Select(line => line + "\n")) + dpg.Table(folder, results),
            ["results_detail.txt"] = string.Concat(dpg.Images.Select(image =>
                DpgScores.Detail(folder, details[image.File].Said, details[image.File].Side))),
        });
    }

    // quarters of a single image would be asked about, or crops across the images of a larger square
    private static int PerFile(ScoreRun run, int? given)
    {
        var made = run.Made("how many images a file holds", "count");
        if (made is not (null or 1 or 4))
        {
            throw new UsageException($"{run.Folder} was drawn with --count {made}; DPG-Bench asks about squares of "
                + "four images, or about single ones. Draw it again with --count 4, or 1.");
        }

        return made is null || given is null || given == made ? made ?? given ?? 4
            : throw new UsageException($"--images-per-file is {given}, but {run.Folder} was drawn with --count {made}. "
                + "Leave the option out.");
    }
}
