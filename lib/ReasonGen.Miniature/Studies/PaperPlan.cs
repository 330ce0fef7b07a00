namespace ReasonGen.Studies;

/// <summary>A stage or run of one seed.</summary>
/// <param name="Seed">Of everything that is drawn.</param>
/// <param name="Stage">Names its record.</param>
/// <param name="Run">What it is, where it is no foundation or judge.</param>
public sealed record PaperItem(long Seed, string Stage, StudyRun? Run = null)
{
    /// <summary>Names it on a command line: "seed2/none".</summary>
    public string Id => $"seed{Seed}/{Stage}";

    /// <summary>Stages of the same seed that must be there before.</summary>
    public IReadOnlyList<string> Needs
    {
        get
        {
            var (stage, copies) = NearEqualCodes.Read(Stage);
            copies = Run?.CodeCopies ?? copies;
            string before = NearEqualCodes.Name("base", copies), tuned = NearEqualCodes.Name("sft", copies);
            return stage switch
            {
                _ when Run is { LongSft: true } or { WithoutSft: true } => ["tokenizer", before],
                _ when Run is { Judge: { } judge } => ["tokenizer", before, tuned, judge],
                _ when Run is not null || Study.Judges.Contains(Stage) => ["tokenizer", before, tuned],
                "sft" => ["tokenizer", before],
                "base" => ["tokenizer"],
                _ => [],
            };
        }
    }
}

/// <summary>The table of the paper's study: which runs there are, and in which order they are made, so that a study
/// that is stopped early still says something.</summary>
public static class PaperPlan
{
    /// <summary>Training seeds of a point of the maps, at most.</summary>
    public const int SeedsOfMaps = 3;

    private const double Fixed = 0.02;
    private static readonly double[] Flips = [0.1, 0.2, 0.05], ManyFlips = [0.3, 0.5, 0.4];

    /// <summary>The paper's arms and what lies around them.</summary>
    public static IReadOnlyList<StudyRun> Arms { get; } =
    [
        new("adaptive", StudyPart.Arms), Coefficient(0, StudyPart.Arms), Coefficient(Fixed, StudyPart.Arms),
        new("without-sft", StudyPart.Arms) { WithoutSft = true },
        new("sft-long", StudyPart.Arms) { LongSft = true },
        Coefficient(-Fixed, StudyPart.Arms), Coefficient(0.3, StudyPart.Arms), Coefficient(0.1, StudyPart.Arms),
        new("large-judge", StudyPart.Arms) { Judge = Study.Judges[0] },
        new("small-judge", StudyPart.Arms) { Judge = Study.Judges[1] },
    ];

    /// <summary>Entropy arms under a judge that errs; without errors and at the usual rate they are among the
    /// arms.</summary>
    public static IReadOnlyList<StudyRun> Noise { get; } =
    [
        .. Flips[..2].SelectMany(flips => Noisy(flips, 1, StudyPart.Noise)),
        .. new[] { 0, 0.1, 0.2 }.SelectMany(flips => Noisy(flips, 2, StudyPart.Noise)),
        .. Entropies(StudyPart.Noise).Skip(1).Select(run => run with
        {
            Name = run.Name + "-large-judge", Judge = Study.Judges[0],
        }),
        new("large-judge-as-noise", StudyPart.Noise) { Judge = Study.Judges[0], JudgeAsNoise = true },
        new("small-judge-as-noise", StudyPart.Noise) { Judge = Study.Judges[1], JudgeAsNoise = true },
        .. Noisy(Flips[2], 1, StudyPart.Noise), .. Noisy(Flips[2], 2, StudyPart.Noise),
    ];

    /// <summary>More fixed coefficients, and other targets of the adaptive loss.</summary>
    public static IReadOnlyList<StudyRun> Map { get; } =
    [
        Coefficient(-0.005, StudyPart.Map), Coefficient(0.005, StudyPart.Map), Coefficient(0.05, StudyPart.Map),
        .. new[] { (0.25, 0.75), (0.25, 2.5), (0.1, 1.5), (0.5, 1.5), (0.1, 0.75), (0.5, 2.5) }.Select(target =>
            new StudyRun(FormattableString.Invariant($"adaptive-{target.Item1}-{target.Item2}"), StudyPart.Map)
            {
                TextTarget = target.Item1, ImageTarget = target.Item2,
            }),
    ];

    private static IEnumerable<StudyRun> Uninformed =>
        ManyFlips.SelectMany(flips => Noisy(flips, 1, StudyPart.Figure6));

    /// <summary>What might make entropy explode: judges that carry little information first. Copies of codes stand on
    /// foundations of their own, which take longer than the run.</summary>
    public static IReadOnlyList<StudyRun> Figure6 { get; } =
    [
        .. Uninformed, None("few-tokens") with { Tasks = ["single_object", "colors"] },
        None("8-updates") with { UpdatesFactor = 4 },
        None("8-updates-clip-1") with { UpdatesFactor = 4, ClipRange = 1 },
        None("long") with { StepsFactor = 5 },
        None("codes-4") with { CodeCopies = 4 },
        .. ManyFlips.SelectMany(flips => Noisy(flips, 2, StudyPart.Figure6)),
    ];

    /// <summary>All items, the most valuable first.</summary>
    /// <param name="seeds">Training seeds of the arms, at least 1; of a point of the maps there are at most
    /// <see cref="SeedsOfMaps"/>, and of most tries to make entropy explode there is the first alone.</param>
    /// <param name="parts">Parts to make; none for all.</param>
    /// <param name="first">The first of the seeds, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There would be no seed.</exception>
    public static IReadOnlyList<PaperItem> Items(int seeds, IReadOnlyCollection<StudyPart>? parts = null, int first = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(seeds, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(first, 1);
        var few = Math.Min(seeds, SeedsOfMaps);
        (IReadOnlyList<StudyRun> Runs, int Skipped, int Seeds)[] order =
        [
            (Arms, 0, seeds), (Noise, 0, few), (Figure6, 0, 1), (Map, 0, few), ([.. Uninformed], 1, few),
        ];
        var items = order.SelectMany(part => Enumerable.Range(first, part.Seeds).Skip(part.Skipped)
            .SelectMany(seed => part.Runs.Where(run => parts is null or { Count: 0 } || parts.Contains(run.Part))
                .Select(run => new PaperItem(seed, run.Name, run))));
        return WithNeeds(items);
    }

    /// <summary>An item by its <see cref="PaperItem.Id"/>, of any seed up to a greatest one; null where there is none
    /// of that name.</summary>
    /// <param name="id">"seed2/none".</param>
    /// <param name="greatest">Of the seeds.</param>
    public static PaperItem? Find(string id, int greatest) =>
        id.Split('/') is [var folder, var stage] && folder.StartsWith("seed")
        && int.TryParse(folder["seed".Length..], out var seed) && seed >= 1 && seed <= greatest
        && Items(1, first: seed).FirstOrDefault(item => item.Stage == stage) is { } found && found.Id == id
            ? found : null;

    /// <summary>Items and what they stand on, each once and before what needs it.</summary>
    public static IReadOnlyList<PaperItem> WithNeeds(IEnumerable<PaperItem> items) =>
        [.. items.SelectMany(item => item.Needs.Select(stage => new PaperItem(item.Seed, stage)).Append(item))
            .DistinctBy(item => item.Id)];

    private static StudyRun None(string how) => new($"none-{how}", StudyPart.Figure6) { Alpha = 0 };

    private static StudyRun Coefficient(double alpha, StudyPart part) =>
        new(alpha == 0 ? "none" : FormattableString.Invariant($"{(alpha > 0 ? "penalty" : "bonus")}-{Math.Abs(alpha)}"),
            part)
        {
            Alpha = alpha,
        };

    private static StudyRun[] Entropies(StudyPart part) =>
        [new("adaptive", part), Coefficient(0, part), Coefficient(Fixed, part)];

    private static IEnumerable<StudyRun> Noisy(double flips, double rate, StudyPart part) =>
        Entropies(part).Select(run => run with
        {
            Name = FormattableString.Invariant($"{run.Name}-flips-{flips:0.##}{(rate == 1 ? "" : $"-rate-{rate}")}"),
            Flips = flips, RateFactor = rate,
        });
}
