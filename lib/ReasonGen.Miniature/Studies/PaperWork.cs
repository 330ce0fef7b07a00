using System.Diagnostics;
using ReasonGen.Checkpoints;
using ReasonGen.Files;

namespace ReasonGen.Studies;

/// <summary>
/// Makes the paper's study, item by item, in a folder a seed. What is finished is kept, what was interrupted goes on at
/// its last saved step, and several processes share the work: each takes the first item that is ready and that no other
/// is at.
/// </summary>
/// <param name="config">Lengths and sizes; the seed is each item's.</param>
/// <param name="folder">Holds a folder a seed.</param>
/// <param name="items">What to make, in this order, with all that it stands on.</param>
public sealed class PaperWork(StudyConfig config, string folder, IReadOnlyList<PaperItem> items)
{
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(3), Told = TimeSpan.FromMinutes(1);
    private const int MostTries = 3; // of an item: a machine that was full may not be so again
    private readonly Dictionary<string, string> failed = [];
    private readonly Dictionary<string, int> tries = [];

    /// <summary>What to make, in this order.</summary>
    public IReadOnlyList<PaperItem> Items => items;

    /// <summary>Lengths and sizes.</summary>
    public StudyConfig Config => config;

    /// <summary>Holds a folder a seed.</summary>
    public string Folder => folder;

    /// <summary>Ends the work after the step at hand, whose state is saved.</summary>
    public CancellationToken Cancel { get; init; }

    /// <summary>Processes that share the work, of which this is one. Default 1.</summary>
    public int Jobs { get; init; } = 1;

    /// <summary>Told in a line how far it is.</summary>
    public Action<string> Tell { get; init; } = _ => { };

    /// <summary>The command that makes an item again.</summary>
    public Func<PaperItem, string>? CommandOf { get; init; }

    /// <summary>Items that could not be made here, and why.</summary>
    public IReadOnlyDictionary<string, string> Failed => failed;

    /// <summary>The record of a finished item; null where it is not finished.</summary>
    /// <exception cref="UnusableFileException">It is damaged, or was made with other settings.</exception>
    public RunRecord? Recorded(PaperItem item) => StudyOf(item).Recorded(item);

    /// <summary>Makes all that is not there. An item that fails does not keep the others from being made.</summary>
    /// <exception cref="OperationCanceledException">It was asked to end; the same again goes on from there.</exception>
    /// <exception cref="UnusableFileException">A file is damaged, was made with other settings, or cannot be
    /// written.</exception>
    public void Run()
    {
        var done = new HashSet<string>();
        while (true)
        {
            done.UnionWith(items.Where(item => !done.Contains(item.Id) && Recorded(item) is not null)
                .Select(item => item.Id));
            bool Ready(PaperItem item) => !done.Contains(item.Id) && !failed.ContainsKey(item.Id)
                && item.Needs.All(stage => done.Contains(new PaperItem(item.Seed, stage).Id));
            if (items.Where(Ready).ToArray() is not { Length: > 0 } ready)
            {
                if (items.All(item => done.Contains(item.Id) || !CanCome(item)))
                {
                    Tidy();
                    return;
                }
            }
            else if (ready.Any(item => TryMake(item)))
            {
                continue;
            }

            Cancel.WaitHandle.WaitOne(Wait); // others are at what is ready
            Cancel.ThrowIfCancellationRequested();
        }
    }

    // whether it was not lost with one that failed
    private bool CanCome(PaperItem item) => !failed.ContainsKey(item.Id)
        && item.Needs.All(stage => CanCome(new PaperItem(item.Seed, stage)));

    private bool TryMake(PaperItem item)
    {
        using var claim = Claim(item);
        if (claim is null)
        {
            return false;
        }

        if (Recorded(item) is not null) // another process ended it meanwhile
        {
            return true;
        }

        try
        {
            Tell($"{item.Id}: begins");
            Make(item, StudyOf(item));
            Tell($"{item.Id}: done; {new PaperTimes(this).ToGo()}");
        }
        catch (Exception e) when (e is not (OperationCanceledException or UnusableFileException))
        {
            tries[item.Id] = tries.GetValueOrDefault(item.Id) + 1;
            if (tries[item.Id] == MostTries)
            {
                failed[item.Id] = e.Message;
            }

            Tell($"{item.Id}: failed: {e.Message.ReplaceLineEndings(" ")}");
        }

        return true;
    }

    // the claims of processes that were killed between the end of an item and their own tidying
    private void Tidy()
    {
        foreach (var item in items.Where(item => File.Exists(ClaimPath(item))))
        {
            try
            {
                Claim(item)?.Dispose();
            }
            catch (UnusableFileException)
            {
                // a folder that can only be read is read
            }
        }
    }

    private string ClaimPath(PaperItem item) => Path.Combine(folder, ".claims", item.Id.Replace('/', '-'));

    private ProcessLock? Claim(PaperItem item)
    {
        try
        {
            return ProcessLock.TryTake(ClaimPath(item));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(folder, $"nothing can be kept there: {e.Message.TrimEnd('.')}",
                "free space or choose an output folder that can be written", e);
        }
    }

    private static void Make(PaperItem item, Study study)
    {
        if (item.Run is { } run)
        {
            study.Run(run).Model.Dispose();
        }
        else
        {
            study.Make(item.Stage);
        }
    }

    private Study StudyOf(PaperItem item)
    {
        var (watch, told) = (Stopwatch.StartNew(), TimeSpan.Zero);
        return new(config with { Seed = item.Seed }, Path.Combine(folder, $"seed{item.Seed}"))
        {
            Cancellation = () => Cancel,
            CommandOf = CommandOf is null ? null
                : stage => CommandOf(items.FirstOrDefault(one => one.Seed == item.Seed && one.Stage == stage)
                    ?? new(item.Seed, stage)),
            OnStep = (record, total) =>
            {
                if (watch.Elapsed - told > Told)
                {
                    told = watch.Elapsed;
                    var shown = record.Columns
                        .Where(column =>
                            column is "loss" or "reward" or "detector" or "text_entropy" or "image_entropy")
                        .Select(column => FormattableString.Invariant($"{column} {record.Last(column):0.###}"));
                    Tell(FormattableString.Invariant($"seed{item.Seed}/{record.Name}: {record.Count} of {total}, ")
                        + FormattableString.Invariant(
                            $"{string.Join(", ", shown)}, {record.Seconds / record.Count:0.00}")
                        + " s a step");
                }
            },
        };
    }
}
