using System.CommandLine;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Notebook;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.Studies;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen score geneval2.</summary>
internal static class ScoreGenEval2Command
{
    private const string Help = """
        Scores a folder in GenEval's layout by GenEval 2's rule (Soft-TIFA): the probability of each expected answer
        as the first word.

        Examples:
          reasongen generate --model ReasonGen-R1 --prompts geneval2_data.jsonl --count 1 --out geneval2_output
          reasongen score geneval2 geneval2_output --prompts geneval2_data.jsonl --judge qwen:Qwen2.5-VL-7B-Instruct
        """;

    internal static Command Create()
    {
        var options = new ScoreOptions();
        var prompts = new Option<string>("--prompts") { Description = "geneval2_data.jsonl.", Required = true };
        var command = new Command("geneval2", Help) { prompts };
        options.AddTo(command);
        command.SetAction((parsed, cancel) => Task.FromResult(Run(options, parsed, parsed.GetValue(prompts)!,
            cancel)));
        return command;
    }

    private static int Run(ScoreOptions options, ParseResult parsed, string file, CancellationToken cancel)
    {
        var run = new ScoreRun(options, parsed, "geneval2", cancel);
        var lines = GenEval2.Read(file);
        var inputs = ScoreRun.Input("prompts", file);
        var wanted = lines.DistinctBy(prompt => prompt.Prompt).ToDictionary(prompt => prompt.Prompt);
        if (wanted.Count < lines.Count)
        {
            run.Notes.Add($"{lines.Count - wanted.Count} lines of {file} repeat another; each prompt counts once");
        }

        var images = new List<(GenEval2Prompt Prompt, string Path)>();
        foreach (var prompt in Directory.GetDirectories(run.Folder)
            .Where(path => PythonNumber.IsDigits(Path.GetFileName(path))).Order(StringComparer.Ordinal))
        {
            try
            {
                var metadata = PlainJson.Parse(TextFile.Read(Path.Combine(prompt, "metadata.jsonl"))) as JObject;
                var text = (metadata?["prompt"] as JValue)?.Value as string
                    ?? throw new IOException("metadata.jsonl has no text \"prompt\"");
                if (!wanted.TryGetValue(text, out var known))
                {
                    run.Problems.Add($"{prompt}: '{text}' is no prompt of {file}");
                    continue;
                }

                images.AddRange(Directory.GetFiles(Path.Combine(prompt, "samples"), "*.png")
                    .Order(StringComparer.Ordinal).Select(path => (known, path)));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or UnusableFileException
                or Newtonsoft.Json.JsonException)
            {
                run.Problems.Add($"{prompt}: {e.Message.TrimEnd('.')}");
            }
        }

        if (images.Count == 0)
        {
            throw new UsageException($"no image of {run.Folder} is of a prompt of {file}: "
                + (run.Problems.Count > 0 ? run.Problems[0]
                    : "the folder has no 00000/metadata.jsonl and 00000/samples") + ". "
                + "Fill it with 'reasongen generate --prompts geneval2_data.jsonl --count 1'.");
        }

        var counts = images.CountBy(image => image.Prompt.Prompt).ToDictionary();
        var most = run.Made("how many images a prompt has", "count") ?? counts.Values.Max();
        var fewer = wanted.Keys.Select(text => (Text: text, Has: counts.GetValueOrDefault(text)))
            .Where(prompt => prompt.Has < most).ToArray();
        run.Problems.AddRange(fewer.Select(prompt => $"the prompt '{prompt.Text}' has "
            + (prompt.Has == 0 ? "no image" : $"{prompt.Has} of {most} images")));
        var source = parsed.GetValue(options.Judge)!;
        if (source == "world" || source.StartsWith("file:"))
        {
            throw new UsageException("GenEval 2 needs the probability of words: give --judge qwen:FOLDER or the "
                + "address of an endpoint.");
        }

        if (!run.Announce("GenEval 2", images.Count, images.Sum(image => (long)image.Prompt.Questions.Count),
            look: JudgeTask.Answers))
        {
            return CommandLine.Done;
        }

        var judge = ScoreJudges.Questions(source, options, parsed, run, needsProbabilities: true);
        var served = ChatEndpoint.IsAddress(source);
        if (served)
        {
            run.Notes.Add("of a served judge the 20 likeliest first tokens are known; all others count as 0");
        }

        List<ImageScore> scores = [], skills = [];
        List<GenEval2Score> all = [];
        try
        {
            run.Each(images, image => image.Path, shared: true, image =>
            {
                var name = ScoreGenEvalCommand.Relative(run.Folder, image.Path.Replace('\\', '/'));
                try
                {
                    var questions = image.Prompt.Questions.Select(q =>
                        new JudgeQuestion(GenEval2.Ask(q.Question), served ? GenEval2.ServedForms(q.Question, q.Answer)
                        : GenEval2.Forms(q.Question, q.Answer))).ToArray();
                    var replies = judge.Ask(run.Read(image.Path, name, upright: true).Pixels, name, questions, cancel);
                    var score = new GenEval2Score(image.Prompt,
                        [.. replies.Select(reply => reply.Probabilities.Sum())]);
                    all.Add(score);
                    var weak = string.Join('\n', image.Prompt.Questions.Zip(score.Probabilities)
                        .Where(q => q.Second < 0.5)
                        .Select(q => $"{q.First.Question} {q.First.Answer}: {q.Second:0.00}"));
                    scores.Add(new("Soft-TIFA GM", image.Prompt.Prompt, name, score.Geometric, weak));
                    skills.Add(new("Soft-TIFA AM", image.Prompt.Prompt, name, score.Arithmetic, ""));
                    skills.AddRange(image.Prompt.Questions.Zip(score.Probabilities)
                        .Select(q => new ImageScore(q.First.Skill, image.Prompt.Prompt, name, q.Second, "")));
                    skills.Add(new($"{image.Prompt.Atoms} atoms, GM", image.Prompt.Prompt, name, score.Geometric, ""));
                }
                catch (OfficialStopException stop)
                {
                    scores.Add(new("Soft-TIFA GM", image.Prompt.Prompt, name, null, stop.Cause));
                    run.Problems.Add($"{name} was not scored: {stop.Cause.TrimEnd('.')}");
                }
            });
        }
        catch (OperationCanceledException)
        {
            return run.Interrupted();
        }

        if (all.Count == 0)
        {
            throw ScoreRun.NoneScored(images.Count, scores[0].Reason);
        }

        var report = new ScoreReport
        {
            Benchmark = "GenEval 2", Inputs = inputs,
                Label = $"{ScoreLabel.Of("GenEval 2", "answers", judge, run.TrainingReward())} (their judge is "
                    + $"{GenEval2.PublishedJudge})", Judge = judge.Name,
            Images = scores, Categories = [.. skills.OrderBy(skill => skill.Task.EndsWith("GM") ? 1 : 0)],
                Missing = fewer.Sum(prompt => most - prompt.Has),
        };
        return run.Finish(report, judge, run.Folder, new() { ["analysis.txt"] = GenEval2.AnalysisText(all) });
    }
}
