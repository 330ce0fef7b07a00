// T2I-CompBench's positions (Karine-Huang/T2I-CompBench: 2D_spatial_eval.py, 3D_spatial_eval.py). d = centre₂ −
// centre₁, in pixels of the detector's own
// scale (about 480 on the long side), IoU without +1:
//   next to, near, on side of: 1 if |dx| < 150 or |dy| < 150, else 150 / max(|dx|, |dy|)
//   right dx < 0, left dx > 0, bottom dy < 0, top dy > 0, where that axis is the longer: 1 if IoU < 0.1, else 0.1 / IoU
//   in front of: nearer on the mean depth of both boxes, behind and hidden: farther;  times 1 if IoU > ½, IoU / ½ if 0
//   < IoU < ½, 0 at ½ and at 0
//   score = ¼ s₁ + ¼ s₂ + ½ position;  in 2D below ½ it is 0
// Kept: the depth map is cut with its axes exchanged, as [x₁:x₂, y₁:y₂]; an empty cut has no mean and gives 0.
namespace ReasonGen.Scoring;

/// <summary>Depth of every pixel; larger is nearer.</summary>
/// <param name="Rows">Length of the first axis.</param>
/// <param name="Columns">Length of the second.</param>
/// <param name="Values">Row by row.</param>
public sealed record DepthMap(int Rows, int Columns, float[] Values);

/// <summary>Scores of spatial prompts.</summary>
public static class T2iSpatial
{
    private const double LeastOverlap = 0.1, Near = 150, DepthOverlap = 0.5;
    private static readonly string[] Words2D = ["on side of", "next to", "near", "on the left of", "on the right of",
        "on the bottom of", "on the top of", "on top of"];
    private static readonly string[] Words3D = ["in front of", "behind", "hidden"];
    private static readonly HashSet<string> People = ["girl", "boy", "man", "woman"];

    /// <summary>How the official detector calls a noun of a prompt: a man is a person.</summary>
    public static string LabelOf(string noun) => People.Contains(noun) ? "person" : noun;

    /// <summary>The first phrase of the vocabulary that a prompt holds; null for none.</summary>
    public static string? Phrase(string prompt, bool depth = false) => (depth ? Words3D : Words2D)
        .FirstOrDefault(prompt.Contains);

    /// <summary>How well the first box stands to the second as the phrase says, 0 to 1.</summary>
    /// <exception cref="OfficialStopException">ZeroDivisionError: neither box has an area.</exception>
    public static double Position(string? phrase, Detection a, Detection b, DepthMap? depth = null)
    {
        double dx = ((double)b.X1 + b.X2 - a.X1 - a.X2) / 2, dy = ((double)b.Y1 + b.Y2 - a.Y1 - a.Y2) / 2,
            overlap = Overlap(a, b);
        double Along(double along, double across) => along > 0 && along > Math.Abs(across) ? overlap < LeastOverlap ? 1
            : LeastOverlap / overlap : 0;
        return phrase switch
        {
            "next to" or "on side of" or "near" => Math.Abs(dx) < Near || Math.Abs(dy) < Near ? 1
                : Near / Math.Max(Math.Abs(dx), Math.Abs(dy)),
            "on the right of" => Along(-dx, dy),
            "on the left of" => Along(dx, dy),
            "on the bottom of" => Along(-dy, dx),
            "on the top of" => Along(dy, dx),
            "in front of" => InDepth(1),
            "behind" or "hidden" => InDepth(-1),
            _ => 0,
        };

        double InDepth(int sign)
        {
            if (depth is null)
            {
                throw new ArgumentException($"'{phrase}' needs a depth map", nameof(depth));
            }

            var right = sign * (MeanDepth(depth, a) - MeanDepth(depth, b)) > 0; // false where a mean is not a number
            return !right || overlap is 0 or DepthOverlap ? 0 : overlap > DepthOverlap ? 1 : overlap / DepthOverlap;
        }
    }

    /// <summary>Score of an image for a prompt about two places in the plane.</summary>
    /// <param name="prompt">Prompt.</param>
    /// <param name="nouns">Its nouns in order; the first and the last are looked for.</param>
    /// <param name="detections">Boxes in the detector's order and scale; the first of a label counts.</param>
    public static double Score2D(string prompt, IReadOnlyList<string> nouns, IReadOnlyList<Detection> detections)
    {
        var (one, other) = Objects(prompt, nouns);
        var (a, b) = (detections.FirstOrDefault(d => d.Class == one), detections.FirstOrDefault(d => d.Class == other));
        var score = Score(a, b, Phrase(prompt), null);
        return score < 0.5 ? 0 : score;
    }

    /// <summary>Score of an image for a prompt about depth.</summary>
    /// <param name="prompt">Prompt.</param>
    /// <param name="nouns">Its nouns in order.</param>
    /// <param name="detections">Boxes in the detector's order; a label that contains a noun matches, and the last match
    /// before both are found counts.</param>
    /// <param name="depth">Depth, scaled like the boxes.</param>
    public static double Score3D(string prompt, IReadOnlyList<string> nouns, IReadOnlyList<Detection> detections,
        DepthMap depth)
    {
        var (one, other) = Objects(prompt, nouns);
        var joined = string.Join(' ',
            detections.Select(d => d.Class)); // a noun may even span two labels, as in the reference
        var (hasOne, hasOther) = (joined.Contains(one), joined.Contains(other));
        Detection? a = null, b = null;
        foreach (var detection in detections)
        {
            a = detection.Class.Contains(one) && (hasOther || a is null) ? detection : a;
            b = detection.Class.Contains(other) && (hasOne || b is null) ? detection : b;
            if (a is not null && b is not null)
            {
                break;
            }
        }

        return Score(a, b, Phrase(prompt, depth: true), depth);
    }

    /// <summary>Intersection over union, in pixels.</summary>
    /// <exception cref="OfficialStopException">ZeroDivisionError: neither box has an area.</exception>
    public static double Overlap(Detection a, Detection b)
    {
        static double Area(Detection d) => ((double)d.X2 - d.X1) * ((double)d.Y2 - d.Y1);
        var both = Math.Max(0, (double)Math.Min(a.X2, b.X2) - Math.Max(a.X1, b.X1)) * Math.Max(0,
            (double)Math.Min(a.Y2, b.Y2) - Math.Max(a.Y1, b.Y1));
        var union = Area(a) + Area(b) - both;
        return union == 0 ? throw new OfficialStopException("ZeroDivisionError",
            $"the boxes of {a.Class} and {b.Class} have no area") : both / union;
    }

    private static double Score(Detection? a, Detection? b, string? phrase, DepthMap? depth) =>
        0.25 * (a?.Score ?? 0) + 0.25 * (b?.Score ?? 0) + (a is null || b is null ? 0
            : Position(phrase, a, b, depth) / 2);

    private static (string One, string Other) Objects(string prompt, IReadOnlyList<string> nouns)
    {
        return nouns.Count > 0 ? (LabelOf(nouns[0]), LabelOf(nouns[^1]))
            : throw new OfficialStopException("IndexError", $"no noun of the prompt '{prompt}' is known");
    }

    private static double MeanDepth(DepthMap depth, Detection box)
    {
        // Python's slice: negative ends count from the far side
        static int End(float value, int length) => (int)value is var at && at < 0 ? Math.Max(0, length + at)
            : Math.Min(at, length);
        var (sum, count) = (0.0, 0);
        for (var row = End(box.X1, depth.Rows); row < End(box.X2, depth.Rows); row++)
        {
            for (var column = End(box.Y1, depth.Columns); column < End(box.Y2, depth.Columns); column++)
            {
                sum += depth.Values[row * depth.Columns + column];
                count++;
            }
        }

        return count == 0 ? double.NaN : sum / count;
    }
}
