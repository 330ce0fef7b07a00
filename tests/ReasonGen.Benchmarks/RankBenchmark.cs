using System.Diagnostics;
using System.Globalization;
using ReasonGen.Grpo;
using ReasonGen.Ranks;
using ReasonGen.Rollouts;
using ReasonGen.Core;
using ReasonGen.Studies;
using ReasonGen.World;
using static ReasonGen.Benchmarks.Timing;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>
/// Two ranks of one thread each beside one process of one thread: a step of GRPO at the miniature, and the sum of a 7B
/// LoRA's gradients through the host. In turn, so that other work on the machine meets both alike.
/// </summary>
internal static class RankBenchmark
{
    private const int Rounds = 3, Warm = 5, Steps = 12; // the first ones while the JIT compiler is at work
    private const long LoraOf7B = 37_000_000;

    internal static int Run()
    {
        var (one, two, sums) = (new List<double>(), new List<double>(), new List<double>());
        for (var round = 0; round < Rounds; round++)
        {
            double[] alone = Numbers(1, "rank-step"), both = Numbers(2, "rank-step");
            one.Add(alone[0]);
            two.Add(both[0]);
            sums.Add(Numbers(2, "rank-sum")[0]);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"round {round + 1}: a step by one rank "
                + $"{Parts(alone)}, by two {Parts(both)}; sum of {LoraOf7B / 1e6:0} million {sums[^1]:0.000} s"));
        }

        var ratio = Median(two.Zip(one, (both, alone) => both / alone));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"two ranks over one, median of rounds: {ratio:0.00} (target 0.6); sum: {Median(sums):0.000} s (target "
            + $"0.25)"));
        return ratio <= 0.6 && Median(sums) <= 0.25 ? 0 : 1;
    }

    private static string Parts(double[] step) => string.Create(CultureInfo.InvariantCulture,
        $"{step[0]:0.00} s (sampling {step[1]:0.00}, rewards {step[2]:0.00}, training {step[3]:0.00})");

    /// <summary>A step of GRPO; rank 0 prints the medians of its seconds and of its parts.</summary>
    internal static int Step()
    {
        var ranks = RankGroup.Start();
        set_num_threads(1);
        var study = new Study(StudyConfig.Quick);
        using var model = study.Load("sft");
        var config = study.GrpoSettings with { MicroBatchRollouts = 32, MaxRounds = 1 }; // two micro-batches an update
        using var end = new SharedCancellation(ranks, default);
        IRolloutSource policy = study.Policy(model);
        policy = ranks.Size == 1 ? policy : new SharedRollouts((PolicySampler)policy, ranks, end, CPU);
        var collector = new RolloutCollector(policy, new SharedReward(new DetectorReward(), ranks, end),
            i => Prompts.Draw(Seeds.Random(1, 22, i)), config);
        using var trainer = new GrpoTrainer(model, collector, new RankOrderEntropy(Study.Entropy("adaptive"), ranks),
            study.Tokenizer.Special.BeginOfImage, ranks: ranks);
        var steps = trainer.Steps(Warm + Steps).Skip(Warm).ToArray();
        Tell(ranks, Median(steps.Select(step => step.Seconds)), Median(steps.Select(step => step.SamplingSeconds)),
            Median(steps.Select(step => step.RewardSeconds)), Median(steps.Select(step => step.TrainingSeconds)));
        return 0;
    }

    /// <summary>A sum over the ranks.</summary>
    internal static int Sum()
    {
        var ranks = RankGroup.Start();
        using var data = ones(LoraOf7B);
        var seconds = Enumerable.Range(0, 8).Select(_ =>
        {
            ranks.Gather([], "ready");
            var watch = Stopwatch.StartNew();
            ranks.Sum(data, "sum of gradients");
            return watch.Elapsed.TotalSeconds;
        }).Skip(1).ToArray();
        Tell(ranks, Median(seconds));
        return 0;
    }

    private static void Tell(IRankGroup ranks, params double[] numbers)
    {
        if (ranks.Rank == 0)
        {
            Console.WriteLine(
                $"numbers {string.Join(' ', numbers.Select(n => n.ToString("R", CultureInfo.InvariantCulture)))}");
        }

        RankGroup.End(ranks);
    }

    private static double[] Numbers(int ranks, string verb)
    {
        string[] self = Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet"
            ? [Environment.ProcessPath!, typeof(Self).Assembly.Location] : [Environment.ProcessPath!];
        string[] command = [.. ranks == 1 ? [] : new[] { "mpirun", "-n", $"{ranks}", "--bind-to", "none" }, .. self,
            verb];
        var start = new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true };
        foreach (var name in new[] { "OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMP_NUM_THREADS" })
        {
            start.Environment[name] = "1";
        }

        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        var line = output.Split('\n').FirstOrDefault(line => line.StartsWith("numbers "))
            ?? throw new InvalidOperationException(
                $"{string.Join(' ', command)} ended with {process.ExitCode}: {output}");
        return [.. line.Split(' ').Skip(1).Select(text => double.Parse(text, CultureInfo.InvariantCulture))];
    }
}
