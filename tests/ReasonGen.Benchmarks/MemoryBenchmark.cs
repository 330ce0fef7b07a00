using System.Diagnostics;
using System.Runtime.InteropServices;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>
/// The peak memory of one fine-tuning step at the size of Janus-Pro-1B, random weights, beside what
/// <see cref="MemoryPlan"/> says. With "full" all weights are trained, in bf16 without masters; else a LoRA.
/// </summary>
internal static partial class MemoryBenchmark
{
    private const int Prompt = 24, Response = 200;

    internal static int Run(string[] arguments)
    {
        using var child = Self.Start(["memory-1b-step", .. arguments]);
        child.WaitForExit();
        return child.ExitCode;
    }

    internal static int Step(string[] arguments)
    {
        var full = arguments.Contains("full");
        var setup = TrainingSetup.Janus1B.WithLora(full ? 0 : 16).WithMicroBatch(1);
        setup = setup with
        {
            SequenceTokens = Prompt + Response + setup.Model.ImageTokens + 4,
            Sft = setup.Sft with { KeepMasters = !full },
        };
        var plan = MemoryPlan.Of(setup, TrainingStage.Sft);
        var tiny = TinyJanus.Config with
        {
            Language = TinyJanus.Config.Language with { VocabularySize = 102400, Width = 8 }, Vision = null,
        };
        Train(setup with { Model = tiny }, () => { }); // libraries come in
        GC.Collect();
        _ = malloc_trim(0);
        var before = Process.GetCurrentProcess().WorkingSet64;
        var always = plan.Bytes(MemoryPhase.Always) / (1L << 30);
        Train(setup,
            () => Console.WriteLine(
                $"{(full ? "all weights" : "a LoRA")}: {Peak(before):0.000} GiB before the step, plan {always:0.000}"));
        double measured = Peak(before), planned = plan.PeakBytes / (1L << 30), weights = plan.Rows[0].GiB;
        Console.WriteLine(
            $"  peak {measured:0.000} GiB, plan {planned:0.000} GiB, plan / peak {planned / measured:0.000}; "
            + $"beyond the weights {measured - weights:0.000}, plan {planned - weights:0.000}");
        return Math.Abs(planned / measured - 1) <= 0.1 ? 0 : 1;
    }

    private static void Train(TrainingSetup setup, Action ready)
    {
        using var model = FilledJanus.Make(setup.Model, setup.DType);
        var policy = setup.Prepare(model);
        using var lora = policy as Lora;
        using var trainer = new SftTrainer(policy, _ => Batch(setup.Model), 100016, setup.Sft);
        ready();
        var step = trainer.Step();
        Console.WriteLine($"  {step.Tokens} tokens, loss {step.Loss:0.000}, {step.Seconds:0.0} s");
    }

    private static double Peak(long before)
    {
        using var self = Process.GetCurrentProcess();
        return (self.PeakWorkingSet64 - before) / (double)(1L << 30);
    }

    private static SftBatch Batch(JanusConfig model)
    {
        var random = Seeds.Random(1);
        int[] Text(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(100000))];
        var codes = Enumerable.Range(0, model.ImageTokens)
            .Select(_ => (long)random.Next(model.ImageTokenizer.CodebookSize)).ToArray();
        return SftBatch.Build([new SftSample(Text(Prompt), Text(Response), codes)],
            new SpecialTokens(100000, 100001, 100002, 100016, 100593, 100594));
    }

    [LibraryImport("libc")]
    private static partial int malloc_trim(nint keep);
}
