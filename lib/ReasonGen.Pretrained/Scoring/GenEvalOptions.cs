namespace ReasonGen.Scoring;

/// <summary>Settings of GenEval's rules, with its defaults (evaluate_images.py, --options).</summary>
public sealed record GenEvalOptions
{
    /// <summary>GenEval's colours, in its order.</summary>
    public static IReadOnlyList<string> Colors { get; } = ["red", "orange", "yellow", "green", "blue", "purple", "pink",
        "brown", "black", "white"];

    /// <summary>GenEval's class names, COCO's 80 with three renamed, in the order of the detector.</summary>
    public static IReadOnlyList<string> CocoClasses { get; } =
        ("person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,"
        + "fire hydrant,stop sign,parking "
        + "meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,"
        + "frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis "
        + "racket,bottle,wine glass,cup,fork,knife,spoon,"
        + "bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted "
        + "plant,bed,dining table,toilet,tv,laptop,"
        + "computer mouse,tv remote,computer keyboard,cell "
        + "phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,"
        + "hair drier,toothbrush").Split(',');

    /// <summary>Scores must be above it. Default 0.3.</summary>
    public double Threshold { get; init; } = 0.3;

    /// <summary>The same where the task is "counting". Default 0.9.</summary>
    public double CountingThreshold { get; init; } = 0.9;

    /// <summary>Most boxes kept of a class; a negative number drops so many from the end. Default 16.</summary>
    public int MaxObjects { get; init; } = 16;

    /// <summary>Boxes that overlap a better one by as much are dropped; exactly 1 drops none. Default 1.</summary>
    public double MaxOverlap { get; init; } = 1;

    /// <summary>Share of both objects' sizes by which centres may differ without a relation. Default 0.1.</summary>
    public double PositionThreshold { get; init; } = 0.1;

    /// <summary>Background of what is outside an object when its colour is asked: "#999", or "original" for
    /// none.</summary>
    public string Background { get; init; } = "#999";

    /// <summary>Whether the object is cut out when its colour is asked.</summary>
    public bool Crop { get; init; } = true;

    /// <summary>All that was given, by name; names that no rule knows too.</summary>
    public IReadOnlyDictionary<string, string> Given { get; init; } = new Dictionary<string, string>();

    /// <summary>Settings that are not GenEval's own, each with GenEval's: "counting_threshold=0.1, where GenEval has
    /// 0.9"; empty where none is.</summary>
    public IReadOnlyList<string> Changed => [.. Texts.Zip(new GenEvalOptions().Texts, (own, plain) =>
        own == plain ? null : $"{own.Name}={own.Value}, where GenEval has {plain.Value}").OfType<string>()];

    /// <summary>Names of the settings that decide a verdict.</summary>
    internal static IEnumerable<string> Names => new GenEvalOptions().Texts.Select(setting => setting.Name);

    private (string Name, string Value)[] Texts =>
    [
        ("threshold", PythonNumber.Repr(Threshold)), ("counting_threshold", PythonNumber.Repr(CountingThreshold)),
        ("max_objects", FormattableString.Invariant($"{MaxObjects}")), ("max_overlap", PythonNumber.Repr(MaxOverlap)),
        ("position_threshold", PythonNumber.Repr(PositionThreshold)), ("bgcolor", Background),
        ("crop", Crop ? "1" : "0"),
    ];

    /// <summary>Reads name=value texts as the official command line does: the last of equal names counts, unknown ones
    /// are kept aside.</summary>
    /// <exception cref="OfficialStopException">ValueError: a text has no '=', or a value is no number.</exception>
    public static GenEvalOptions Parse(IEnumerable<string> texts)
    {
        var given = new Dictionary<string, string>();
        foreach (var text in texts)
        {
            var at = text.IndexOf('=');
            given[at >= 0 ? text[..at] : throw new OfficialStopException("ValueError",
                $"the option '{text}' has no '='; write name=value")] = text[(at + 1)..];
        }

        var plain = new GenEvalOptions();
        double Number(string name, double otherwise) => given.TryGetValue(name, out var text) ? PythonNumber.Float(text)
            : otherwise;
        return plain with
        {
            Threshold = Number("threshold", plain.Threshold),
                CountingThreshold = Number("counting_threshold", plain.CountingThreshold),
            MaxObjects = given.TryGetValue("max_objects", out var most)
                ? (int)System.Numerics.BigInteger.Max(System.Numerics.BigInteger.Min(
                PythonNumber.Int(most), int.MaxValue), -int.MaxValue) : plain.MaxObjects,
            MaxOverlap = Number("max_overlap", plain.MaxOverlap),
                PositionThreshold = Number("position_threshold", plain.PositionThreshold),
            Background = given.GetValueOrDefault("bgcolor", plain.Background),
                Crop = given.GetValueOrDefault("crop", "1") == "1", Given = given,
        };
    }
}
