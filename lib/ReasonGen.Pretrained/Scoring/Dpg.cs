// DPG-Bench's score (TencentQQGYLab/ELLA: compute_dpg_bench.py):
//   an image is cut into four crops of R×R, row by row, the first n are asked;  answer = 1 if it is exactly "yes", else
//   0;
//   then, in the file's order, a question whose parent is 0 by now becomes 0;  crop = mean over questions, image = mean
//   over crops;
//   DPG-Bench = 100 · mean over images.  Categories: means of the LAST crop's answers, before anything was zeroed, of
//   all images together;
//   L2 = the tuple before its first bracket, L1 = L2 before its first "-".
// Deviations: 1. R is the image's own half, unless told otherwise; a mismatch is refused (the script cuts silently, or
// asks about black).
//   2. Category scores are gathered by name; the script with several processes mixes them. 3. L1 lines are sorted; the
//   script's order is a set's.
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Tokenizers;

namespace ReasonGen.Scoring;

/// <summary>The score of one image.</summary>
/// <param name="File">Its file name.</param>
/// <param name="Crops">Score of each crop.</param>
/// <param name="Score">Their mean.</param>
/// <param name="Categories">Category and last crop's answer, 0 or 1, of each question.</param>
/// <param name="Failure">Why its questions after these count in no category; null where all do.</param>
public sealed record DpgImage(string File, IReadOnlyList<double> Crops, double Score,
    IReadOnlyList<(string Category, double Answer)> Categories, string? Failure = null);

/// <summary>One answer, for the detail file.</summary>
/// <param name="File">Image.</param>
/// <param name="Crop">Number of the crop, 0 top left, 1 top right, 2 bottom left, 3 bottom right.</param>
/// <param name="Question">What was asked.</param>
/// <param name="Text">What was answered.</param>
public sealed record DpgAnswer(string File, int Crop, string Question, string Text);

/// <summary>DPG-Bench's rules.</summary>
public static class Dpg
{
    /// <summary>The item of a file: its name before the FIRST dot.</summary>
    public static string ItemOf(string file) => file.Split('.')[0];

    /// <summary>How many of the four crops are asked: the slice [:n].</summary>
    public static int Crops(int images) => PythonNumber.SliceEnd(4, images);

    /// <summary>One crop of R×R; beyond the image it is filled with <paramref name="outside"/>.</summary>
    public static RgbImage Crop(RgbImage image, int crop, int resolution, (byte R, byte G, byte B) outside = default) =>
        GenEvalColors.Window(image, crop % 2 * resolution, crop / 2 * resolution, resolution, resolution, outside);

    /// <summary>The side of a crop that an image has; an image that is not made of so many equal crops has
    /// none.</summary>
    /// <param name="width">Pixels a row.</param>
    /// <param name="height">Rows.</param>
    /// <param name="images">Crops asked: 4 for a square of four images, 1 for a single one.</param>
    /// <exception cref="OfficialStopException">It is not square, or its side is odd.</exception>
    public static int Resolution(int width, int height, int images) => width == height
        && (images == 1 || width % 2 == 0) ? images == 1 ? width : width / 2
        : throw new OfficialStopException("none",
            $"an image of {width}x{height} pixels does not consist of "
                + $"{(images == 1 ? "one square" : "four squares")}");

    /// <summary>Scores one image.</summary>
    /// <param name="file">Its file name.</param>
    /// <param name="questions">What is asked about it.</param>
    /// <param name="crops">Crops asked, 0 to 4.</param>
    /// <param name="answer">The answer to a question about a crop.</param>
    /// <exception cref="OfficialStopException">A parent is unknown, or no crop is asked.</exception>
    public static DpgImage Score(string file, IReadOnlyList<DpgQuestion> questions, int crops, Func<int, DpgQuestion,
        string> answer)
    {
        var scores = new List<double>();
        double[] raw = [];
        for (var crop = 0; crop < crops; crop++)
        {
            raw = [.. questions.Select(question => answer(crop, question) == "yes" ? 1.0 : 0)];
            var now = raw.ToArray();
            for (var i = 0; i < questions.Count; i++)
            {
                foreach (var parent in questions[i].Parents.Where(parent => parent != 0))
                {
                    var at = questions.Index().FirstOrDefault(q => q.Item.Id == parent, (-1, null!)).Index;
                    if (at < 0)
                    {
                        throw new OfficialStopException("KeyError",
                            $"question {questions[i].Id} depends on question {parent}, which the item does not have");
                    }

                    if (now[at] == 0)
                    {
                        now[i] = 0;
                        break;
                    }
                }
            }

            scores.Add(now.Aggregate(0.0, (sum, value) => sum + value) / now.Length);
        }

        if (scores.Count == 0)
        {
            throw new OfficialStopException("ZeroDivisionError", "none of its crops is asked");
        }

        var known = questions.TakeWhile(question => question.Category is not null).Count();
        return new(file, scores, scores.Aggregate(0.0, (sum, value) => sum + value) / scores.Count,
            [.. questions.Take(known).Select((question, i) => (question.Category!, raw[i]))],
            known == questions.Count ? null
                : $"question {questions[known].Id} has no tuple: it and those after it count in no category");
    }

    /// <summary>The files of one of several processes, round(rank · n / p) to round((rank + 1) · n / p), halves to
    /// even.</summary>
    public static Range Slice(int files, int processes, int rank)
    {
        var share = files / (double)processes;
        return (int)Math.Round(rank * share)..(int)Math.Round((rank + 1) * share);
    }
}

/// <summary>The scores of a folder of images.</summary>
/// <param name="Images">Images that were scored, in order.</param>
public sealed record DpgScores(IReadOnlyList<DpgImage> Images)
{
    /// <summary>100 · mean over images; NaN without any.</summary>
    public double Score => PythonNumber.Mean(Images.Select(image => image.Score)) * 100;

    /// <summary>Categories in full, sorted by name.</summary>
    public IReadOnlyList<(string Name, double Score, int Answers)> Level2 => Group(category => category);

    /// <summary>Categories before their dash, sorted by name.</summary>
    public IReadOnlyList<(string Name, double Score, int Answers)> Level1 =>
        Group(category => ReasonGen.Tokenizers.PythonText.Strip(category.Split('-')[0]));

    /// <summary>The lines that the official script writes about images.</summary>
    public IEnumerable<string> Lines(string folder) => Images.Select(image =>
        $"{folder.TrimEnd('/')}/{image.File}, "
            + $"{string.Join(", ", image.Crops.Append(image.Score).Select(PythonNumber.Repr))}");

    /// <summary>The table that the official script prints and writes.</summary>
    /// <param name="folder">The folder as given; a slash at its end leaves the model without a name, as there.</param>
    /// <param name="resultPath">Where the result file lies.</param>
    public string Table(string folder, string resultPath)
    {
        static string Block(IReadOnlyList<(string Name, double Score, int Answers)> rows) =>
            string.Concat(rows.Select(row => $"\t{row.Name}: {PythonNumber.Repr(row.Score)}\n"));
        return $"Model: {folder[(folder.LastIndexOf('/') + 1)..]}\nL1 category scores:\n{Block(Level1)}L2 category "
            + $"scores:\n{Block(Level2)}"
            + $"Image path: {folder}\nSave results to: {resultPath}\nDPG-Bench score: {PythonNumber.Repr(Score)}\n";
    }

    /// <summary>The lines of the detail file.</summary>
    public static string Detail(string folder, IEnumerable<DpgAnswer> answers, int resolution) =>
        string.Concat(answers.Select(answer =>
        $"{folder.TrimEnd('/')}/{answer.File}, ({answer.Crop % 2 * resolution}, {answer.Crop / 2 * resolution}, "
            + $"{(answer.Crop % 2 + 1) * resolution}, "
        + $"{(answer.Crop / 2 + 1) * resolution}), {answer.Question}, {answer.Text}\n"));

    private IReadOnlyList<(string Name, double Score, int Answers)> Group(Func<string, string> name) =>
        [.. Images.SelectMany(image => image.Categories).GroupBy(pair => name(pair.Category))
            .OrderBy(group => group.Key, StringComparer.Ordinal)
            .Select(group => (group.Key, PythonNumber.Mean(group.Select(pair => pair.Answer)) * 100, group.Count()))];
}
