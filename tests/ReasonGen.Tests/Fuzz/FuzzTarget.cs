using System.Diagnostics;
using System.Globalization;
using CsCheck;
using ReasonGen.Checkpoints;
using ReasonGen.Host;

namespace ReasonGen.Tests.Fuzz;

/// <summary>A reader that is handed damaged inputs.</summary>
/// <param name="Name">What it reads.</param>
/// <param name="Seeds">Sound inputs.</param>
/// <param name="Open">Given a folder of its own, the reader: it takes one input, and may refuse it as
/// documented.</param>
internal sealed record FuzzTarget(string Name, Func<IReadOnlyList<byte[]>> Seeds, Func<string, Action<byte[]>> Open)
{
    /// <summary>Names that the format knows.</summary>
    internal IReadOnlyList<string> Tokens { get; init; } = [];

    /// <summary>Exceptions by which it refuses.</summary>
    internal IReadOnlyList<Type> Refusals { get; init; } = [typeof(UnusableFileException), typeof(UsageException)];

    /// <summary>Bytes that may be allocated whatever the input, and for each of its bytes.</summary>
    internal (long Always, long PerByte) Memory { get; init; } = (32 << 20, 1000);

    /// <summary>Inputs of a round, as a share of what most targets get: less where one takes long.</summary>
    internal double Share { get; init; } = 1;

    /// <summary>One that reads a file.</summary>
    internal static FuzzTarget OfFile(string name, string file, Func<IReadOnlyList<byte[]>> seeds,
        Action<string> read) => new(name, seeds, folder => input =>
    {
        var path = Path.Combine(folder, file);
        File.WriteAllBytes(path, input);
        read(path);
    });

    public override string ToString() => Name;
}

/// <summary>What came of a round.</summary>
internal sealed record FuzzResult(int Inputs, double Seconds, double Slowest, long MostBytes, int Refused,
    IReadOnlyDictionary<string, (int Count, string File)> Findings)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Inputs:N0} inputs in {Seconds:0} s, {Refused:N0} refused, slowest {Slowest * 1000:0} ms, "
        + $"most allocated {MostBytes / 1048576.0:0.0} MiB, process peak {Peak() / 1048576} MiB, "
        + $"{Findings.Count} findings")
        + string.Concat(Findings.Select(finding =>
            $"\n  {finding.Value.Count} x {finding.Key}\n    {finding.Value.File}"));

    private static long Peak()
    {
        using var own = Process.GetCurrentProcess();
        return own.PeakWorkingSet64;
    }
}

/// <summary>Hands one target one damaged input after the other. Input i of a seed is the same whenever and wherever it
/// is made.</summary>
internal static class FuzzRound
{
    private const double Patience = 5; // seconds that an input may take
    private static readonly TimeSpan Hang = TimeSpan.FromMinutes(5);

    /// <summary>A round.</summary>
    /// <param name="target">Who reads.</param>
    /// <param name="count">Inputs.</param>
    /// <param name="seed">What they are made from.</param>
    /// <param name="alone">Whether nothing else runs in this process, so that all that is allocated is the
    /// target's.</param>
    internal static FuzzResult Run(FuzzTarget target, int count, ulong seed, bool alone)
    {
        var folder = Directory.CreateTempSubdirectory("reasongen-fuzz").FullName;
        try
        {
            var round = new Round(target, folder, seed, alone);
            var worker = new Thread(() => round.Go(count), 16 << 20) { IsBackground = true };
            worker.Start();
            while (!worker.Join(1000))
            {
                if (round.Since is var since && Stopwatch.GetElapsedTime(since) > Hang)
                {
                    round.Find("takes for ever", round.Current);
                    return round.Result;
                }
            }

            return round.Result;
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    private sealed class Round(FuzzTarget target, string folder, ulong seed, bool alone)
    {
        private readonly Dictionary<string, (int Count, string File)> findings = [];
        private readonly Stopwatch watch = Stopwatch.StartNew();
        private int inputs, refused;
        private double slowest;
        private long most;

        internal byte[] Current { get; private set; } = [];

        internal long Since { get; private set; } = Stopwatch.GetTimestamp();

        internal FuzzResult Result => new(inputs, watch.Elapsed.TotalSeconds, slowest, most, refused, findings);

        internal void Go(int count)
        {
            var (reader, mutations) = (target.Open(folder), new Mutations(target.Seeds(), target.Tokens));
            for (uint i = 0; i < count; i++, inputs++)
            {
                Current = mutations.Generate(new PCG(i, seed), null, out _);
                Since = Stopwatch.GetTimestamp();
                if (Try(reader) > Patience && Try(reader) > Patience) // once may be the libraries being loaded
                {
                    Find($"takes longer than {Patience} s", Current);
                }
            }
        }

        private double Try(Action<byte[]> reader)
        {
            var (before, begun, worked) = (Allocated(), Stopwatch.GetTimestamp(), Environment.CpuUsage.TotalTime);
            try
            {
                reader(Current);
            }
            catch (Exception e) when (target.Refusals.Contains(e.GetType()))
            {
                refused++;
            }
            catch (Exception e)
            {
                var own = new StackTrace(e).GetFrames().Select(frame => frame.GetMethod()).FirstOrDefault(method =>
                    method?.DeclaringType?.Namespace?.StartsWith("ReasonGen") == true);
                var said = e.Message.Split('\n')[0];
                var where = $"{e.GetType().Name} in {own?.DeclaringType?.Name}.{own?.Name}";
                Find($"{where}: {said[..Math.Min(said.Length, 100)]}",
                    Current, where);
            }

            // what the process worked, where a busy machine made it wait
            var seconds = Math.Min(Stopwatch.GetElapsedTime(begun).TotalSeconds,
                (Environment.CpuUsage.TotalTime - worked).TotalSeconds);
            var bytes = Allocated() - before;
            (slowest, most) = (Math.Max(slowest, seconds), Math.Max(most, bytes));
            if (bytes > target.Memory.Always + target.Memory.PerByte * Current.Length)
            {
                Find("allocates too much", Current);
            }

            return seconds;
        }

        internal void Find(string what, byte[] input, string? kind = null)
        {
            kind ??= what;
            lock (findings)
            {
                var key = findings.Keys.FirstOrDefault(known => kinds[known] == kind);
                if (key is not null)
                {
                    findings[key] = (findings[key].Count + 1, findings[key].File);
                    return;
                }

                var kept = Directory.CreateDirectory(Path.Combine(Path.GetTempPath(), "reasongen-found")).FullName;
                var file = Path.Combine(kept, $"{target.Name}-{seed}-{findings.Count}.bin");
                File.WriteAllBytes(file, input);
                (findings[what], kinds[what]) = ((1, file), kind);
            }
        }

        private readonly Dictionary<string, string> kinds = [];

        private long Allocated() => alone ? GC.GetTotalAllocatedBytes() : GC.GetAllocatedBytesForCurrentThread();
    }
}
