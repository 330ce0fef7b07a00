using System.Globalization;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Grpo;
using ReasonGen.World;
using ReasonGen.Rollouts;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>
/// How long a study takes: seconds a step of each kind of item, from the finished items of its folder, or where there
/// is none yet from a calibration of half a minute, which is kept beside them.
/// </summary>
public sealed class PaperTimes
{
    private const string FileName = "times.json", Rollout = "rollout", Rl = "rl", Sft = "sft";
    private const int TrialSteps = 4;
    private const double ShareOfCodes = 0.1; // of a step, what the 320 codes take
    private readonly PaperWork work;
    private readonly Dictionary<string, double> seconds = [];
    private readonly List<PaperItem> open = [];

    /// <param name="work">Whose items are to be made.</param>
    /// <exception cref="UnusableFileException">A finished item is damaged, or was made with other
    /// settings.</exception>
    public PaperTimes(PaperWork work)
    {
        this.work = work;
        var found = new List<(string Kind, double Seconds)>();
        foreach (var item in work.Items)
        {
            if (work.Recorded(item) is not { } record)
            {
                open.Add(item);
                continue;
            }

            found.Add((Kind(item), record.Seconds / record.Count));
            if (record.Results["measured_seconds"] is JValue { Value: double measured }
                && NearEqualCodes.Read(item.Stage).Stage != "base")
            {
                found.Add((Rollout, measured / Study.RolloutsMeasured(work.Config)));
            }
        }

        foreach (var (kind, value) in Calibrated().Concat(found.GroupBy(one => one.Kind)
            .Select(kind => (kind.Key, kind.TakeLast(8).Average(one => one.Seconds)))))
        {
            seconds[kind] = value;
        }
    }

    /// <summary>Items that are not finished.</summary>
    public IReadOnlyList<PaperItem> Open => open;

    /// <summary>Whether a time is known for each kind of item that is to be made.</summary>
    public bool Known => open.All(item => double.IsFinite(OfStep(item))) && seconds.ContainsKey(Rollout);

    /// <summary>Takes the times of a few steps on an untrained model, and keeps them.</summary>
    public void Calibrate()
    {
        var study = new Study(work.Config, work.Folder);
        using var model = study.Untrained();
        using (var trainer = study.SftTrainer(model, Sft))
        {
            seconds[Sft] = Enumerable.Range(0, TrialSteps).Select(_ => trainer.Step().Seconds).Min();
        }

        var config = study.GrpoSettings;
        // an untrained policy is never right: a reward that differs without
        var reward = new LambdaReward("calibration", request => request.Image.Rgb.Sum(value => value) % 2);
        var collector = new RolloutCollector(study.Policy(model), reward,
            i => Prompts.Draw(Core.Seeds.Random(1, 22, i)), config);
        using (var trainer = new GrpoTrainer(model, collector, new FixedEntropyTerm(0.01),
            study.Tokenizer.Special.BeginOfImage))
        {
            var step = trainer.Steps(TrialSteps - 1).MinBy(one => one.Seconds)!;
            var rollouts = Math.Max(step.Rounds, 1.0) * config.PromptsPerRound * config.RolloutsPerPrompt;
            seconds[Rl] = step.Seconds * 1.1; // and the look at entropies
            seconds[Rollout] = (step.SamplingSeconds + step.RewardSeconds) / rollouts;
        }

        // of the others as many times an SFT step as in the recorded runs: by products of matrices
        (seconds["tokenizer"], seconds["base"]) = (0.9 * seconds[Sft], seconds[Sft]);
        (seconds[Study.Judges[0]], seconds[Study.Judges[1]]) = (2 * seconds[Sft], 0.5 * seconds[Sft]);
        foreach (var judge in Study.Judges)
        {
            seconds[$"{Rl}-{judge}"] = seconds[Rl] + (judge == Study.Judges[0] ? 4 : 1) * seconds[Sft];
        }

        AtomicFile.Write(Path.Combine(work.Folder, FileName), new JObject
        {
            ["threads"] = get_num_threads(), ["seconds"] = JObject.FromObject(seconds),
        }.ToString(Formatting.Indented) + "\n");
    }

    /// <summary>Seconds that an item takes.</summary>
    public double Of(PaperItem item)
    {
        var config = work.Config;
        var steps = item switch
        {
            { Run: { } run } => run.Steps(config), _ => NearEqualCodes.Read(item.Stage).Stage switch
            {
                "tokenizer" => config.TokenizerSteps, "base" => config.BaseSteps, "sft" => config.SftSteps,
                _ => config.JudgeSteps,
            },
        };
        var drawn = item.Stage == "tokenizer" ? 0 : Study.Judges.Contains(item.Stage)
            ? config.JudgeImages + 2 * config.JudgeTestImages : Study.RolloutsMeasured(config);
        return steps * OfStep(item) + drawn * seconds.GetValueOrDefault(Rollout, double.NaN);
    }

    /// <summary>How much is done, and how long the rest takes, in words.</summary>
    public string ToGo() => Text($"{work.Items.Count - open.Count} of {work.Items.Count} done")
        + (open.Count == 0 ? "" : Known ? Text($", about {Clock(open.Sum(Of) / work.Jobs)} to go") : "");

    /// <summary>A time for people: "4.7 h", "12 min" or "40 s".</summary>
    public static string Clock(double seconds) => seconds >= 3600 ? Text($"{seconds / 3600:0.0} h")
        : seconds >= 100 ? Text($"{seconds / 60:0} min") : Text($"{seconds:0} s");

    // with more codes, where none such was made yet: longer by what their head and table have more to do
    private double OfStep(PaperItem item) => seconds.TryGetValue(Kind(item), out var own) ? own
        : seconds.GetValueOrDefault(PlainKind(item), double.NaN) * (1 + ShareOfCodes * (Copies(item) - 1));

    private static string Kind(PaperItem item) => NearEqualCodes.Name(PlainKind(item), Copies(item));

    private static int Copies(PaperItem item) => item.Run?.CodeCopies ?? NearEqualCodes.Read(item.Stage).Copies;

    private static string PlainKind(PaperItem item) => item switch
    {
        { Run.LongSft: true } => Sft, { Run.Judge: { } judge, Run.JudgeAsNoise: false } => $"{Rl}-{judge}",
        { Run: not null } => Rl, _ => NearEqualCodes.Read(item.Stage).Stage,
    };

    private IEnumerable<(string Kind, double Seconds)> Calibrated()
    {
        var path = Path.Combine(work.Folder, FileName);
        try
        {
            return File.Exists(path) && JObject.Parse(File.ReadAllText(path)) is var kept
                && (int?)kept["threads"] == get_num_threads() && kept["seconds"] is JObject known
                ? [.. known.Properties().Select(one => (one.Name, (double)one.Value))] : [];
        }
        catch (Exception e) when (e is JsonException or FormatException or ArgumentException or IOException)
        {
            return []; // it is taken anew
        }
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
