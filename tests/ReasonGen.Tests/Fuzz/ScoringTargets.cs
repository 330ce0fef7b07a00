using System.Text;
using System.Text.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Judging;
using ReasonGen.Scoring;

namespace ReasonGen.Tests.Fuzz;

/// <summary>Files of the official benchmarks, of detectors and judges, and what a served judge says.</summary>
internal static class ScoringTargets
{
    private static readonly string[] Classes = ["dog", "bench", "potted plant"];

    internal static FuzzTarget[] All { get; } =
    [
        FuzzTarget.OfFile("geneval-results", "results.jsonl", () => [Seeds.Lines("geneval/results.jsonl", 4),
            Seeds.Lines("geneval/results_few.jsonl", 4)], path =>
        {
            var results = GenEvalResults.Read(path);
            _ = (results.Text(), results.Summary(out var _), results.Overall, results.Unscored);
            var report = ScoreReport.Read(path);
            _ = (report.Text(), report.Overall);
        }) with { Share = 0.5 },
        FuzzTarget.OfFile("score", "score.json", () => [Score()], path =>
        {
            var report = ScoreReport.Read(path);
            _ = (report.Text(), report.Summary());
        }) with { Share = 0.5 },
        FuzzTarget.OfFile("detections", "detections.jsonl", () => [Seeds.Lines("geneval/results_few.jsonl", 4),
            Seeds.Utf8(
            """{"filename": "00000/samples/0000.png", "width": 384, "height": 384, "prompt": "p", "detections": """
            + """[{"class": "dog", "box": [1, 2, 30, 40], "score": 0.9, "color": "red"}], "detector": "d"}""")],
            path =>
            {
                var file = DetectionFile.Read(path);
                _ = file.UnknownClasses(Classes);
                Refused(() => file.Of("00000/samples/0000.png", 384, 384, "p"));
            }) with { Tokens = ["\"details\":\"{}\"", "\"details\":\"{\\\"dog\\\":[[1,2,3,4,0.5]]}\"", "NaN"] },
        FuzzTarget.OfFile("answers", "answers.jsonl", () =>
            [Seeds.Written("""{"image": "a.png", "crop": 1, "question": "Is it?", "answer": "yes", "p_yes": 0.7}""",
                """{"image": "b.png", "question": "q", "answer": "no"}""")],
            path => _ = AnswerFile.Read(path)),
        FuzzTarget.OfFile("dpg-questions", "dpg.csv", () => [Seeds.Lines("dpg/questions.csv", 12),
            Seeds.Lines("dpg/questions_no_dummy.csv", 12)], path =>
        {
            _ = DpgQuestions.Read(path);
            _ = DpgQuestions.Read(path, skipFirst: false);
        }) with { Tokens = ["\"\"", "\"a,b\"", "1,2", "nan"] },
        FuzzTarget.OfFile("annotations", "annotations.csv", () =>
            [Seeds.Lines("geneval/annotations/annotations_clip.csv", 6)], Annotations),
        FuzzTarget.OfFile("geneval-metadata", "metadata.jsonl", () => [Seeds.Lines("geneval/metadata.jsonl", 4)],
            path => _ = GenEvalAnnotations.ReadMetadata(path)),
        new("geneval-folder", () => [Seeds.Lines("geneval/metadata.jsonl", 1)], Folder),
        FuzzTarget.OfFile("geneval2", "geneval2.jsonl", () =>
            [Seeds.Written("""{"prompt": "a tractor", "atom_count": 2, "skills": ["count", "object"], "vqa_list": """
                + """[["How many kites?", "three"], ["Is it red?", "Yes"]]}""")],
            path => _ = GenEval2.Read(path)),
        FuzzTarget.OfFile("nouns", "nouns.jsonl", () =>
            [Seeds.Written("""{"prompt": "a dog and a cat", "nouns": ["dog", "cat"], "chunks": ["a dog", "a cat"]}""")],
            path => _ = PromptNouns.Read(path).Of("a dog and a cat")),
        new("served-answers", () => [Seeds.Utf8("```json\n[{\"bbox_2d\": [1, 2, 30, 40], \"label\": \"dog\"}]\n```"),
            Seeds.Utf8(new ServedReply("Yes", [("Yes", -0.1), (" no", -2)]).Join()), Seeds.Utf8("thus \\boxed{{1}}")],
            folder => input =>
        {
            var text = Encoding.UTF8.GetString(input);
            _ = BoxedAnswer.Score(text);
            _ = ServedReply.Split(text).Of(["Yes", "yes", " Yes", " yes"]);
            _ = BoxQuestions.Read(text, Classes, 1.5, 2);
        }) { Refusals = [typeof(OfficialStopException)] },
        new("python-texts", () => [Seeds.Utf8("-1_000.5e-3"), Seeds.Utf8(" ٣٤"), Seeds.Utf8("[1, 2]"),
            Seeds.Utf8("{\"a\": [1.0, null]}")], folder => input =>
        {
            var text = Encoding.UTF8.GetString(input);
            Refused(() => CsvTable.Parse(text));
            _ = PythonNumber.LeadingDigits(text);
            Refused(() => PythonNumber.Float(text));
            Refused(() => PythonNumber.Int(text));
            Refused(() => PythonJson.Dumps(PythonJson.Parse(text)));
        }) { Refusals = [] },
    ];

    private static void Refused<T>(Func<T> read)
    {
        try
        {
            _ = read();
        }
        catch (OfficialStopException)
        {
        }
    }

    private static byte[] Score()
    {
        using var folder = new Host.TestFolder();
        new ScoreReport { Benchmark = "GenEval", Label = "l", Judge = "j", Images = [new("single_object", "a dog",
            "a.png", 1, ""), new("counting", "two dogs", "b.png", null, "x")] }.Write(folder.Path);
        return File.ReadAllBytes(Directory.GetFiles(folder.Path).Single());
    }

    private static void Annotations(string path)
    {
        var metadata = new Dictionary<string,
            JsonElement> { ["a photo of a bench"] = PythonJson.Parse(
                """{"tag": "single_object", "include": [{"class": "bench", "count": 1}]}""") };
        _ = GenEvalAnnotations.Read(path, metadata).Images.Count(image => image.Pairs.Agree > 0);
    }

    private static Action<byte[]> Folder(string folder)
    {
        var samples = Directory.CreateDirectory(Path.Combine(folder, "00000", "samples")).FullName;
        File.WriteAllBytes(Path.Combine(samples, "0000.png"), [1]);
        return input =>
        {
            File.WriteAllBytes(Path.Combine(folder, "00000", "metadata.jsonl"), input);
            foreach (var image in GenEvalFolder.Open(folder).Images)
            {
                var options = new GenEvalOptions();
                _ = (image.Tag, image.Prompt);
                Refused(() => GenEval.Evaluate(image.Metadata, GenEval.Keep([new("dog", 0, 0, 9, 9, 0.9f)], image.Tag,
                    options), (objects, _) => [.. objects.Select(_ => "red")], options));
            }
        };
    }
}
