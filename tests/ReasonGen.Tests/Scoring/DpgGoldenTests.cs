using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Scoring;
using TorchSharp;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>DPG-Bench's aggregation against the official script.</summary>
[Trait("Category", "Golden")]
public sealed class DpgGoldenTests
{
    [Fact]
    public void Runs_give_the_official_scores()
    {
        var runs = Golden.Json("dpg/expected")["runs"]!;
        Assert.All(runs, run =>
        {
            var questions = DpgQuestions.Parse(File.ReadAllText(Golden.Path("dpg/" + run["csv"])));
            var answers = run["answers"] is JObject own ? own : (JObject)runs[0]!["answers"]!;
            var (scores, failed, _) = Score(questions, run["images"]!.Select(file => (string)file!),
                (int)run["pic_num"]!,
                (item, crop, question) => (string)answers[item]![crop]![question.Id.ToString()]!);
            Assert.Equal(((JObject)run["dropped"]!).Properties().Select(p => p.Name),
                failed.Order(StringComparer.Ordinal));
            Assert.Equal((double)run["score"]!, scores.Score, 1e-9);
            Assert.All(((JObject)run["per_image"]!).Properties(), pair =>
            {
                var image = scores.Images.Single(image => image.File == pair.Name);
                Assert.Equal(pair.Value["crop_scores"]!.Select(v => (double)v), image.Crops);
                Assert.Equal((double)pair.Value["score"]!, image.Score, 1e-9);
                Assert.Equal(pair.Value["questions_used"]!.Select(v => (int)v), questions.Items[Dpg.ItemOf(pair.Name)]
                    .Select(q => q.Id));
                Assert.Equal(((JObject)pair.Value["last_crop_raw"]!).Properties().Select(p => (double)p.Value),
                    image.Categories.Select(c => c.Answer));
            });
            Same((JObject)run["l1"]!, scores.Level1);
            Same((JObject)run["l2"]!, scores.Level2);
            Assert.Equal(((JObject)run["counts_l2"]!).Properties().Select(p => (int)p.Value),
                scores.Level2.Select(row => row.Answers));
        });
    }

    [Fact]
    public void Edges_give_the_official_texts_scores_and_failures() => Assert.All(Golden.List("dpg/edge"), c =>
    {
        var csv = ((bool)c["bom"]! ? "\ufeff" : "") + (string)c["csv"]!;
        if (c["error"] is JObject error)
        {
            Assert.Equal((string)error["type"]!, Assert.Throws<OfficialStopException>(() => DpgQuestions.Parse(csv))
                .Kind);
            return;
        }

        var (argv, folder, failures) = (c["argv"]!.Select(a => (string)a!).ToList(), (string)c["image_arg"]!,
            c["failed"]!.Select(f => ((string)f!)).ToArray());
        int? Option(string name) => argv.IndexOf(name) is >= 0 and var at ? int.Parse(argv[at + 1]) : null;
        // the official script leaves its own result files among the images; this kit never does
        var own = failures.Select(f => f.Split(' ')[0]).Where(f => f.StartsWith("dpg-bench_"));
        string[] images = [.. c["files"]!.Select(f => (string)f!)],
            files = [.. images.Concat(((JObject)c["extra"]!).Properties().Select(p => p.Name)).Concat(own)
            .Order(StringComparer.Ordinal)];
        var (scores, failed, details) = Score(DpgQuestions.Parse(csv), files, Option("--pic-num") ?? 1,
            (item, crop, question) => (string?)c["answers"]![$"{Item(question.Text)}|{crop}|{question.Id}"] ?? "yes",
            file => images.Contains(file) && Option("--resolution") is not null);
        Assert.Equal(failures.Length, failed.Count);
        Assert.All(failures.Paired(failed), pair => Assert.StartsWith(pair.Second + " ", pair.First));
        Assert.Equal((string)c["score"]!, PythonNumber.Repr(scores.Score));
        Same((JObject)c["l1"]!, scores.Level1, text: true);
        Same((JObject)c["l2"]!, scores.Level2, text: true);
        if (c["result_lines"] is JArray lines)
        {
            Assert.Equal(lines.Select(line => (string)line!), scores.Lines(folder));
        }

        if (c["texts"] is JObject texts && c["res"]!.Type != JTokenType.Null && ((string)c["res"]!).EndsWith(".txt"))
        {
            var result = (string)c["res"]!;
            Assert.Equal((string)texts[result]!, string.Concat(scores.Lines(folder).Select(line => line + "\n"))
                + scores.Table(folder, result));
            Assert.Equal((string)texts.Properties().Single(p => p.Name != result).Value!,
                DpgScores.Detail(folder, details, Option("--resolution")!.Value));
            Assert.EndsWith(scores.Table(folder, result), (string)c["printed"]!);
        }
    });

    [Fact]
    public void Crops_hold_the_official_pixels()
    {
        var tensors = Golden.Tensors("dpg/crops");
        Assert.All(Golden.List("dpg/crops"), c =>
        {
            var image = ScoredImage.Read(Golden.Path("dpg/" + c["file"]), upright: false);
            GenEvalGoldenTests.Same(tensors[(string)c["name"]!],
                Dpg.Crop(image.Pixels, (int)c["crop"]!, (int)c["resolution"]!, image.Outside), (string)c["name"]!);
        });
    }

    [Fact]
    public void Several_processes_take_the_official_slices_and_give_the_table_of_one()
    {
        Assert.All(Golden.List("dpg/rank_slices"), c => Assert.All(c["slices"]!.Some().Index(), slice =>
            Assert.Equal((int)slice.Item[0]!..(int)slice.Item[1]!,
                Dpg.Slice((int)c["files"]!, (int)c["processes"]!, slice.Index))));
        var file = Golden.Json("dpg/processes");
        var questions = DpgQuestions.Parse((string)file["csv"]!);
        var files = file["files"]!.Select(f => (string)f!).ToArray();
        var single = file["runs"]!.First(run => !(bool)run["mixed"]!);
        Assert.All(file["runs"]!, run =>
        {
            var processes = (int)run["processes"]!;
            var parts = Enumerable.Range(0, processes).Select(rank => files[Dpg.Slice(files.Length, processes, rank)])
                .ToArray();
            Assert.Equal(run["slices"]!.Select(s => s.Select(f => (string)f!)), parts);
            var scores = new DpgScores([.. parts.SelectMany(part => Score(questions, part, 4,
                (item, crop, question) => (string?)file["answers"]![$"{item}|{crop}|{question.Id}"] ?? "yes")
                    .Scores.Images)]);
            Assert.Equal((double)run["score"]!, scores.Score, 1e-9);
            Assert.Equal(run["result_lines"]!.Select(line => (string)line!).Order(StringComparer.Ordinal),
                scores.Lines("pics").Order(StringComparer.Ordinal));
            // where the script mixes its categories, the table is still the true one
            Same((JObject)((bool)run["mixed"]! ? single : run)["l1"]!, scores.Level1);
            Same((JObject)((bool)run["mixed"]! ? single : run)["l2"]!, scores.Level2);
        });
    }

    private static string Item(string question) => Regex.Match(question, @"^Question \S+ of (.*)\?$",
        RegexOptions.Singleline).Groups[1].Value;

    private static (DpgScores Scores, List<string> Failed, List<DpgAnswer> Details) Score(DpgQuestions questions,
        IEnumerable<string> files, int perFile,
        Func<string, int, DpgQuestion, string> answer, Func<string, bool>? isImage = null)
    {
        var (images, failed, details) = (new List<DpgImage>(), new List<string>(), new List<DpgAnswer>());
        foreach (var file in files)
        {
            try
            {
                var item = Dpg.ItemOf(file);
                if (!questions.Items.TryGetValue(item, out var own) || !(isImage?.Invoke(file) ?? true))
                {
                    failed.Add(file);
                    continue;
                }

                images.Add(Dpg.Score(file, own, Dpg.Crops(perFile), (crop, question) =>
                {
                    details.Add(new(file, crop, question.Text, answer(item, crop, question)));
                    return details[^1].Text;
                }));
                if (images[^1].Failure is not null)
                {
                    failed.Add(file);
                }
            }
            catch (OfficialStopException)
            {
                failed.Add(file);
            }
        }

        return (new(images), failed, details);
    }

    private static void Same(JObject expected, IReadOnlyList<(string Name, double Score, int Answers)> actual,
        bool text = false)
    {
        Assert.Equal(expected.Properties().Select(p => p.Name).Order(StringComparer.Ordinal),
            actual.Select(row => row.Name));
        Assert.All(actual, row =>
        {
            if (text)
            {
                Assert.Equal((string)expected[row.Name]!, PythonNumber.Repr(row.Score));
            }

            Assert.Equal((double)expected[row.Name]!, row.Score, 1e-9);
        });
    }
}
