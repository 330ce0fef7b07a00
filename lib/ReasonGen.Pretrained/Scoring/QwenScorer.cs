// Qwen2.5-VL as a scorer.
//   Questions: one user's turn, image then text;  P of the answer's first token over the whole vocabulary. The image is
//   read once for all its questions.
//   Boxes: asked for JSON, [{"bbox_2d": [x1, y1, x2, y2], "label": …}]; the model counts in the pixels of the RESIZED
//   image, which are scaled back.
//   Colours: a question about the object cut out, the likeliest of GenEval's ten colours.
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Qwen;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Scoring;

/// <summary>What a judge counts the corners of its boxes in.</summary>
public enum BoxUnit
{
    /// <summary>Pixels of the image as it was sent, as Qwen2.5-VL does.</summary>
    Pixels,

    /// <summary>Thousandths of the image's width and height, as Qwen3-VL does.</summary>
    Thousandths,
}

/// <summary>The wording of what is asked about objects, and how answers are read, for a local and a served model
/// alike.</summary>
public static class BoxQuestions
{
    /// <summary>What a judge without scores and masks lacks beside GenEval's detector.</summary>
    public static IReadOnlyList<string> Limits { get; } =
    [
        "its boxes have no scores: the thresholds 0.3 and 0.9, the limit of 16 and \"most confident first\" do nothing",
        "it gives no masks: colours are asked of the whole box, background included",
    ];

    private const double Rounding = 0.02, LongestShape = 190;

    // What begins a word and what stands for it in the plural.
    private static readonly (string One, string Many)[] Plurals =
    [
        ("", ""), ("", "s"), ("", "es"), ("y", "ies"), ("f", "ves"), ("fe", "ves"), ("man", "men"),
        ("person", "people"), ("child", "children"), ("mouse", "mice"), ("goose", "geese"), ("foot", "feet"),
        ("tooth", "teeth"),
    ];

    /// <summary>Names the wording and the reading of boxes: what was kept from another is asked again.</summary>
    internal static string Identity => $"{Boxes(["x"])} 2";

    /// <summary>Asks for boxes.</summary>
    public static string Boxes(IReadOnlyList<string> classes) =>
        $"Locate every {string.Join(" and every ", classes)} in the image. Give one box for each single object. "
        + "Answer with a JSON list alone: [{\"bbox_2d\": [x1, y1, x2, y2], \"label\": \"name\"}], or [] if there is "
        + "none.";

    /// <summary>Asks for a colour.</summary>
    public static JudgeQuestion Color(string className) =>
        new($"What is the main color of the {className}? Answer with one word: "
            + $"{string.Join(", ", GenEvalOptions.Colors)}.",
            [.. GenEvalOptions.Colors.SelectMany(color => (string[])[color, " " + color, Capital(color), " "
                + Capital(color)])]);

    /// <summary>The colour of a reply: the likeliest; null where none has a probability of 0.01.</summary>
    public static string? ColorOf(JudgeReply reply) => GenEvalOptions.Colors.Select((color, i) =>
        (color, Chance: reply.Probabilities.Skip(4 * i).Take(4).Sum()))
        .MaxBy(pair => pair.Chance) is { Chance: >= 0.01 } best ? best.color : null;

    /// <summary>Reads boxes out of an answer, in the pixels of the image that was asked about.</summary>
    /// <param name="answer">JSON, perhaps with words or a fence around it.</param>
    /// <param name="classes">Known names; boxes of others are dropped.</param>
    /// <param name="scaleX">Pixels of the image a pixel that the model saw, or whatever it counts in.</param>
    /// <param name="scaleY">The same for rows.</param>
    /// <exception cref="OfficialStopException">The answer holds no such list.</exception>
    public static IReadOnlyList<Detection> Read(string answer, IReadOnlyList<string> classes, double scaleX,
        double scaleY)
    {
        var (from, to) = (answer.IndexOf('['), answer.LastIndexOf(']'));
        try
        {
            var list = from >= 0 && to > from ? JArray.Parse(answer[from..(to + 1)])
                : throw new JsonException("it holds no list");
            return [.. list.Select(item => (Box: item["bbox_2d"] as JArray
                ?? throw new JsonException("an entry has no bbox_2d"), Label: ((string?)item["label"] ?? "").Trim()))
                .Select(item => (item.Box, Class: ClassOf(item.Label, classes)))
                .Where(item => item.Class is not null && item.Box.Count == 4).Select(item =>
                {
                    var v = item.Box.Select(x => (double)x).ToArray();
                    return new Detection(item.Class!, (float)(v[0] * scaleX), (float)(v[1] * scaleY),
                        (float)(v[2] * scaleX), (float)(v[3] * scaleY), 1);
                })];
        }
        catch (Exception e) when (e is JsonException or InvalidCastException or FormatException
            or InvalidOperationException or ArgumentException or OverflowException)
        {
            throw new OfficialStopException("none",
                $"the judge's boxes cannot be read ({e.Message.TrimEnd('.')}): {Short(answer)}");
        }
    }

    /// <summary>How many boxes reach further beyond their image than rounding takes them, 2 % of its side: those of a
    /// model that counts in another unit.</summary>
    /// <param name="boxes">In the image's pixels.</param>
    /// <param name="width">Of the image.</param>
    /// <param name="height">Of the image.</param>
    public static int Outside(IReadOnlyList<Detection> boxes, int width, int height)
    {
        static bool Within(float at, int side) => at >= -Rounding * side && at <= (1 + Rounding) * side;
        return boxes.Count(box => !(Within(box.X1, width) && Within(box.X2, width) && Within(box.Y1, height)
            && Within(box.Y2, height)));
    }

    /// <summary>The object alone, at least 56 pixels a side and no side more than 190 times the other, as far as the
    /// image reaches: the model takes no less than 28 pixels and no more than 200 times.</summary>
    internal static RgbImage Cut(RgbImage image, Detection box)
    {
        int left = Math.Clamp((int)box.X1, 0, image.Width - 1), top = Math.Clamp((int)box.Y1, 0, image.Height - 1);
        int right = Math.Clamp((int)Math.Ceiling(box.X2), left + 1, image.Width),
            bottom = Math.Clamp((int)Math.Ceiling(box.Y2), top + 1, image.Height);
        (left, right) = Widened(left, right, bottom - top, image.Width);
        (top, bottom) = Widened(top, bottom, right - left, image.Height);
        var crop = GenEvalColors.Window(image, left, top, right - left, bottom - top);
        var grow = Math.Max(1, Math.Max(56.0 / crop.Width, 56.0 / crop.Height));
        return grow == 1 ? crop : Resampling.Resize(crop, (int)Math.Ceiling(crop.Width * grow),
            (int)Math.Ceiling(crop.Height * grow));
    }

    private static (int From, int To) Widened(int from, int to, int other, int all)
    {
        var side = Math.Min(all, Math.Max(to - from, (int)Math.Ceiling(other / LongestShape)));
        from = Math.Clamp(from - (side - (to - from)) / 2, 0, all - side);
        return (from, from + side);
    }

    // The longest name that a label is or ends with: "two red dogs" are dogs. What COCO tells from an asked class is
    // none of it: a hot dog is no dog, and a dining table is a table, which COCO has not.
    private static string? ClassOf(string label, IReadOnlyList<string> classes)
    {
        const StringComparison Plain = StringComparison.OrdinalIgnoreCase;
        bool Said(string name) => Plurals.Where(p => name.EndsWith(p.One, Plain))
            .Select(p => name[..^p.One.Length] + p.Many)
            .Any(form => label.Equals(form, Plain) || label.EndsWith(" " + form, Plain));
        var (asked, own) = (classes.Where(Said).MaxBy(name => name.Length),
            GenEvalOptions.CocoClasses.Where(Said).MaxBy(name => name.Length));
        return own?.Length > asked?.Length
            && GenEvalOptions.CocoClasses.Contains(asked, StringComparer.OrdinalIgnoreCase) ? null : asked;
    }

    private static string Capital(string word) => char.ToUpperInvariant(word[0]) + word[1..];

    private static string Short(string text) => text.ReplaceLineEndings(" ") is { Length: > 120 } longer ? longer[..120]
        + "…" : text.ReplaceLineEndings(" ");
}

/// <summary>A Qwen2.5-VL from its folder, by questions and by boxes.</summary>
/// <param name="name">As it stands in labels.</param>
/// <param name="model">The model.</param>
/// <param name="tokenizer">Its tokenizer.</param>
/// <param name="processor">How it resizes images.</param>
public sealed class QwenScorer(string name, QwenVl model, ITokenizer tokenizer, QwenProcessor processor) : IVisionJudge
{
    /// <summary>Most tokens of a list of boxes. Default 1024.</summary>
    public int MaxBoxTokens { get; init; } = 1024;

    /// <summary>Fewest pixels of an image; smaller ones are enlarged before they are asked about. Default
    /// 256².</summary>
    public int MinPixels { get; init; } = 256 * 256;

    public string Name => name;

    /// <summary>Tells models of one name apart, so that their answers are kept apart.</summary>
    public string Fingerprint { get; init; } = "";

    public string Identity =>
        $"{name} {Fingerprint} | {processor.MinPixels} {processor.MaxPixels} {MinPixels} | {BoxQuestions.Identity}"
        + $" | {model.Target.DType}";

    public bool Official => false;

    public IReadOnlyList<string> Limits => BoxQuestions.Limits;

    public IReadOnlyList<JudgeReply> Ask(RgbImage image, string file, IReadOnlyList<JudgeQuestion> questions,
        CancellationToken cancel)
    {
        if (questions.Count == 0)
        {
            return [];
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        var (beginning, _) = Beginning(image);
        var endings = questions.Select(question => Ids($"{question.Text}<|im_end|>\n<|im_start|>assistant\n"))
            .ToArray();
        var chances = nn.functional.softmax(model.NextLogits(beginning, endings, cancel: cancel), -1);
        var best = chances.argmax(-1).Values<long>();
        return [.. questions.Select((question, row) =>
        {
            var own = chances[row].Values<float>();
            var first = question.Forms.Select(form => tokenizer.Encode(form)[0]).ToArray();
            return new JudgeReply([.. first.Select(id => (double)own[id])], tokenizer.Decode([(int)best[row]]));
        })];
    }

    public IReadOnlyList<Detection> Detect(RgbImage image, string file, IReadOnlyList<string> classes,
        CancellationToken cancel)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var (beginning, grid) = Beginning(image);
        var ending = Ids($"{BoxQuestions.Boxes(classes)}<|im_end|>\n<|im_start|>assistant\n");
        var ids = cat([beginning.Ids, tensor(ending, device: beginning.Ids.device).unsqueeze(0)], 1);
        var (tokens, _) = model.Generate(beginning with { Ids = ids, Mask = ones_like(ids) }, MaxBoxTokens,
            cancel: cancel);
        var text = tokenizer.Decode([.. tokens.Values<long>().TakeWhile(id => !model.Config.EndTokens.Contains((int)id))
            .Select(id => (int)id)]);
        return BoxQuestions.Read(text, classes, image.Width / (double)(grid.Width * processor.PatchSize),
            image.Height / (double)(grid.Height * processor.PatchSize));
    }

    public IReadOnlyList<string?> Colors(RgbImage image, string file, IReadOnlyList<Detection> objects,
        string className,
        CancellationToken cancel) =>
        [.. objects.Select(o => BoxQuestions.ColorOf(Ask(BoxQuestions.Cut(image, o), file,
            [BoxQuestions.Color(className)], cancel)[0]))];

    private (QwenInput Input, PatchGrid Grid) Beginning(RgbImage image)
    {
        var grow = Math.Sqrt(MinPixels / ((double)image.Width * image.Height));
        var shown = grow <= 1 ? image : Resampling.Resize(image, (int)Math.Ceiling(image.Width * grow),
            (int)Math.Ceiling(image.Height * grow));
        var (patches, grids) = Patches(shown, image);
        var count = grids[0].Patches / (processor.MergeSize * processor.MergeSize);
        var turn = QwenChat.Render([new("user", new QwenPart.Image())], generate: false);
        var ids = Ids(turn[..turn.LastIndexOf("<|im_end|>", StringComparison.Ordinal)])
            .SelectMany(id => Enumerable.Repeat(id, id == model.Config.ImageToken ? count : 1)).ToArray();
        var row = tensor(ids, device: model.Target.Device).unsqueeze(0);
        return (new(row, ones_like(row), patches.to(model.Target.Device), grids), grids[0]);
    }

    private (Tensor Patches, PatchGrid[] Grids) Patches(RgbImage shown, RgbImage image)
    {
        try
        {
            return processor.Process([shown]);
        }
        catch (ArgumentException e) // of this image alone: the others are judged
        {
            throw new OfficialStopException("none",
                $"its {image.Width}x{image.Height} pixels cannot be shown to the judge: {e.Message}");
        }
    }

    private long[] Ids(string text) => [.. tokenizer.Encode(text).Select(id => (long)id)];
}
