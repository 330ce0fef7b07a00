using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.Grpo;
using ReasonGen.Sft;
using ReasonGen.WorldData;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <content>What lies in a study's folder: whether it is whole, and of this study; whose turn it is to add to
/// it.</content>
public sealed partial class Study
{
    // what ships was made with the seed 1 and, of some arms, another bound on empty steps, which none of them met
    private static readonly string[] WhereItMayDiffer = ["Seed was", "MaxEmptySteps was"];

    private readonly HashSet<string> taken = []; // stages that another study made

    /// <summary>The record of a finished stage; see <see cref="TrainsOnDemand"/>.</summary>
    /// <exception cref="UnusableFileException">It is not there, damaged, cut short, or of another stage, seed or
    /// configuration.</exception>
    public RunRecord Record(string stage)
    {
        if (TrainsOnDemand && !IsThere(stage))
        {
            Make(stage);
        }

        var record = ReadRecord(Path.Combine(Folder, "runs"), stage);
        if (taken.Contains(stage))
        {
            return record;
        }

        string[] different =
        [
            .. Config.FromScratch && record.Seed != Config.Seed
                ? new[] { $"its seed was {record.Seed} and is {Config.Seed}" } : [],
            .. SettingsDifference.OfCommon(record.Settings, SettingsOf(stage))
                .Where(what => Config.FromScratch || !WhereItMayDiffer.Any(what.Contains)),
        ];
        return different.Length == 0 ? record
            : throw new UnusableFileException(RecordPath(stage),
                $"stage '{stage}' was made with other settings: {string.Join("; ", different)}",
            "choose another output folder, repeat those settings, or take what other studies made with --start");
    }

    /// <summary>The record that ships of an arm made once more, with another seed, from the same fine-tuned
    /// model.</summary>
    /// <exception cref="UnusableFileException">It is not there, damaged, cut short, or of another arm or
    /// seed.</exception>
    public static RunRecord RecordOfSeed(string arm, long seed)
    {
        var folder = Path.Combine(DataFolder(), "runs", $"seed{seed}");
        var record = ReadRecord(folder, arm);
        return record.Seed == seed ? record
            : throw new UnusableFileException(Path.Combine(folder, arm + ".json"),
                $"its seed is {record.Seed}, not {seed}", Restore);
    }

    /// <summary>The record of a finished stage, then those that ship of the same stage made with other seeds.</summary>
    /// <exception cref="UnusableFileException">One is missing, damaged, or of another stage, seed or
    /// configuration.</exception>
    public IReadOnlyList<RunRecord> Records(string stage) =>
        Config.FromScratch || !JudgeArms.Contains(stage) ? [Record(stage)]
        : [Record(stage), RecordOfSeed(stage, 2)];

    /// <summary>Takes over from another study what the stages to be made stand on: tokenizer, base, SFT and judges, up
    /// to the first of them that is to be made.</summary>
    /// <param name="from">The other study's folder.</param>
    /// <param name="toBeMade">Stages that will be made; none for all arms.</param>
    /// <returns>Judges that the folder does not hold; they will be trained where they are wanted.</returns>
    /// <exception cref="ArgumentException">There is no such folder, or nothing could be taken.</exception>
    /// <exception cref="UnusableFileException">What would be taken is missing, damaged or of another model, or other
    /// weights are here already.</exception>
    public IReadOnlyList<string> CopyFoundations(string from, IReadOnlyList<string> toBeMade)
    {
        if (!Directory.Exists(Path.Combine(from, "checkpoints")))
        {
            throw new ArgumentException(
                $"'{from}' holds no finished stages; give a folder with checkpoints and runs in it, such as data",
                nameof(from));
        }

        string[] wanted = [.. Foundations.Concat(Judges).TakeWhile(stage => !toBeMade.Contains(stage))];
        if (wanted.Length == 0)
        {
            throw new ArgumentException(
                "nothing would be taken from the folder to start with: every stage stands on the tokenizer, which is "
                + "to be made", nameof(toBeMade));
        }

        var other = new Study(Config with { FromScratch = true }, from);
        string[] there = [.. wanted.Where(other.IsThere)], missing = [.. wanted.Except(there)];
        if (missing.FirstOrDefault(stage =>
            toBeMade.Count == 0 ? Foundations.Contains(stage) : toBeMade.SelectMany(Needs).Contains(stage)) is { } lost)
        {
            throw new UnusableFileException(from,
                $"it does not hold the stage '{lost}' ({string.Join(", ", FilesOf(lost))}), which what is to be made "
                + $"stands on",
                "give a folder with it, or name it among the stages to be made");
        }

        foreach (var stage in there)
        {
            other.CheckWhole(stage);
            foreach (var file in FilesOf(stage))
            {
                Take(Path.Combine(from, file), Path.Combine(Folder, file));
            }

            taken.Add(stage);
        }

        return missing;
    }

    private static void Take(string source, string target)
    {
        try
        {
            var bytes = File.ReadAllBytes(source);
            if (!File.Exists(target))
            {
                AtomicFile.Write(target, bytes);
            }
            else if (!File.ReadAllBytes(target).AsSpan().SequenceEqual(bytes))
            {
                throw new UnusableFileException(target,
                    $"it is there already, and differs from {source}, which was to be taken",
                    "choose another output folder");
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(target, $"it could not be copied from {source}: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written", e);
        }
    }

    // Stages that a stage stands on.
    private static IEnumerable<string> Needs(string stage) => stage switch
    {
        "tokenizer" => [],
        "base" => ["tokenizer"],
        "sft" or "rl-without-sft" => ["tokenizer", "base"],
        _ when JudgeArms.Contains(stage) => [.. Foundations, stage["rl-".Length..]],
        _ => Foundations,
    };

    private bool IsThere(string stage) =>
        !Config.FromScratch || FilesOf(stage).All(file => File.Exists(Path.Combine(Folder, file)));

    // What a process left behind that was killed between the end of a stage and its own tidying.
    private void Tidy(string stage)
    {
        var partial = Path.Combine(Folder, "partial");
        try
        {
            if (Config.FromScratch && Directory.Exists(partial)
                && Directory.GetFiles(partial, $"*{stage}.*")
                    .Any(file => Path.GetFileName(file).TrimStart('.').StartsWith(stage + ".")))
            {
                using var turn = ProcessLock.TryTake(LockPath(stage));
                if (turn is not null)
                {
                    RemovePartial(stage);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // a folder that can only be read is read
        }
    }

    // Record and weights of a stage, without taking anything into memory that is kept.
    private void CheckWhole(string stage)
    {
        _ = ReadRecord(Path.Combine(Folder, "runs"), stage);
        using var scope = NewDisposeScope();
        using var model = Judges.Contains(stage) ? null : Untrained();
        using var judge = Judges.Contains(stage) ? NewJudge(stage).Model : null;
        LoadWeights(stage,
            judge is not null ? JudgeWeights(judge)
                : stage == "tokenizer" ? TokenizerWeights(model!) : Weights(model!));
    }

    private void LoadWeights(string stage, IReadOnlyDictionary<string, Tensor> targets)
    {
        var path = CheckpointPath(stage);
        if (SafetensorsHeader.Read(path).Metadata.TryGetValue("stage", out var own) && own != stage)
        {
            throw new UnusableFileException(path, $"it holds the weights of stage '{own}'", Restore);
        }

        Safetensors.LoadInto(targets, path);
    }

    private static RunRecord ReadRecord(string folder, string stage)
    {
        var record = RunRecord.Load(folder, stage);
        UnusableFileException Wrong(string ending, string what) =>
            new(Path.Combine(folder, stage + ending), what, Restore);
        if (record.Name != stage)
        {
            throw Wrong(".json", $"it is the record of '{record.Name}'");
        }

        if (ColumnsOf(stage).Except(record.Columns).ToArray() is { Length: > 0 } absent)
        {
            throw Wrong(".csv", $"it lacks the columns {string.Join(", ", absent)}");
        }

        if (StepsOf(record.Settings) is { } steps && steps != record.Count)
        {
            throw Wrong(".csv", $"it holds {record.Count} steps of a run of {steps}");
        }

        foreach (var column in record.Columns)
        {
            foreach (var (row, value) in record[column].Index())
            {
                if (!double.IsFinite(value) || (column == "step" && value != row))
                {
                    throw Wrong(".csv",
                        $"line {row + 2}: '{column}' is {value}, where there should "
                        + $"be {(column == "step" ? $"{row}" : "a number")}");
                }
            }
        }

        return MeasuresOf(stage)
            .FirstOrDefault(path => record.Results.SelectToken(path) is not JValue { Value: double or long })
            is { } unmeasured
            ? throw Wrong(".json", $"its results lack '{unmeasured}'") : record;
    }

    private static string[] ColumnsOf(string stage) => NearEqualCodes.Read(stage).Stage switch
    {
        "tokenizer" => ["step", "loss", "squared_error", "codes_in_use", "perplexity", "seconds"],
        "base" or "sft" or "sft-long" =>
            ["step", "loss", "text_loss", "image_loss", "gradient_norm", "learning_rate", "tokens", "seconds"],
        _ when Judges.Contains(stage) => ["step", "loss", "token_accuracy", "gradient_norm", "seconds"],
        _ => ["step", "reward", "text_entropy", "image_entropy", "text_alpha", "image_alpha", "gradient_norm",
            "seconds",
            .. JudgeArms.Contains(stage) ? new[] { "judged", "detector", "fooled" } : []],
    };

    private static string[] MeasuresOf(string stage) => stage switch
    {
        "tokenizer" => ["round_trip_textured", "round_trip_plain"],
        _ when Judges.Contains(stage) => ["base.accuracy", "sft.accuracy"],
        _ => [.. new[] { "t1", "['t0.5']",
            "greedy" }.SelectMany(heat => new[] { $"{heat}.mean", $"{heat}.standard_error" })],
    };

    // Where a record's settings keep the length of the run.
    private static long? StepsOf(JObject settings) =>
        new[] { "steps", "TotalSteps", "sft.TotalSteps", "training.TotalSteps" }
        .Select(path => settings.SelectToken(path)).OfType<JValue>().Select(value => value.Value as long?)
        .FirstOrDefault(steps => steps is not null);

    // The settings with which this study makes a stage, as they are recorded.
    private JObject SettingsOf(string stage) => NearEqualCodes.Read(stage).Stage switch
    {
        "tokenizer" => JObject.FromObject(TokenizerSettings),
        _ when runs.TryGetValue(stage, out var run) => SettingsOf(run),
        "base" => SettingsOfSft(Config.BaseSteps, CopiesOf(stage)),
        "sft" => SettingsOfSft(Config.SftSteps, CopiesOf(stage)),
        _ when Judges.Contains(stage) => new()
        {
            ["training"] = JObject.FromObject(JudgeSettings(Config.JudgeSteps)),
            ["model"] = JObject.FromObject(JudgeModel(stage)), ["images"] = Config.JudgeImages,
        },
        _ => new()
        {
            ["grpo"] = JObject.FromObject(GrpoOf(stage)), ["entropy"] = stage,
            ["steps"] = JudgeArms.Contains(stage) ? Config.JudgeRlSteps : Config.RlSteps,
        },
    };

    private static JObject SettingsOfSft(int steps, int codeCopies)
    {
        var settings = new JObject
        {
            ["sft"] = JObject.FromObject(SftConfig.Mini(steps)),
            ["data"] = JObject.FromObject(new WorldBatchConfig()),
        };
        return NearEqualCodes.AddTo(settings, codeCopies);
    }

    private VqTrainerConfig TokenizerSettings =>
        new() { TotalSteps = Config.TokenizerSteps, Seed = Seeds.Mix(Config.Seed, 2) };

    private static JudgeTrainerConfig JudgeSettings(int totalSteps) => new() { TotalSteps = totalSteps };

    // a policy that fools its judge every time is a result, not a mistake: the run goes on to its end
    private GrpoConfig GrpoOf(string arm) =>
        JudgeArms.Contains(arm) ? GrpoSettings with { MaxEmptySteps = Config.JudgeRlSteps + 1 } : GrpoSettings;

    // The rows of an interrupted stage, if it was begun as it would be now.
    private RunRecord PartialRecord(string stage, RunRecord now)
    {
        var folder = Path.Combine(Folder, "partial");
        var before = RunRecord.Load(folder, stage, BeginAnew(stage));
        string[] different =
        [
            .. before.Seed != now.Seed ? new[] { $"its seed was {before.Seed} and is {now.Seed}" } : [],
            .. HowMade(before) != HowMade(now) ? new[] { $"it was begun with '{before.Command}'" } : [],
            .. SettingsDifference.OfCommon(before.Settings, now.Settings),
        ];
        return different.Length == 0 ? before
            : throw new UnusableFileException(Path.Combine(folder, stage + ".json"),
                $"the interrupted stage '{stage}' was begun with other settings: {string.Join("; ", different)}",
                $"repeat those settings, choose another output folder, or {BeginAnew(stage)}");
    }

    // seed and threads; the folder to start from may be named in many ways
    private static string HowMade(RunRecord record) => record.Command.Split(StartOption)[0].TrimEnd();

    private string BeginAnew(string stage) =>
        $"delete {Path.Combine(Folder, "partial", stage)}.* to begin the stage anew";

    // One process at a time makes a stage; before it begins, it is certain that what is made can be kept.
    private ProcessLock Turn(string stage)
    {
        string[] folders = [.. new[] { "partial", "checkpoints", "runs" }.Select(name => Path.Combine(Folder, name))];
        try
        {
            foreach (var folder in folders)
            {
                using var tried = new AtomicFiles(folder);
                tried.Write("tried", _ => { });
                AtomicFiles.Sweep(folder);
            }

            var turn = ProcessLock.TryTake(LockPath(stage));
            return turn
                ?? throw new UnusableFileException(Folder, $"another process is making the stage '{stage}' there",
                    "let it end, or choose another output folder");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(Folder, $"nothing can be kept there: {e.Message.TrimEnd('.')}",
                "free space or choose an output folder that can be written", e);
        }
    }

    private void RemovePartial(string stage)
    {
        var partial = Path.Combine(Folder, "partial");
        foreach (var leftover in new[] { StatePath(stage), Path.Combine(partial, stage + ".csv"),
            Path.Combine(partial, stage + ".json") })
        {
            File.Delete(leftover);
        }
    }

    private string LockPath(string stage) => Path.Combine(Folder, "partial", $".{stage}.lock");

    private string RecordPath(string stage) => Path.Combine(Folder, "runs", stage + ".json");

    private const string Restore =
        "restore the file from the repository, or make the stage again with 'reasongen study' in another folder";
}
