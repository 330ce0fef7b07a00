using System.Diagnostics;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>
/// The peak memory of one fine-tuning step at the size of Janus-Pro-1B, random weights, beside what <see cref="MemoryPlan"/> says. With "full" all
/// weights are trained, in bf16 without masters; else a LoRA.
/// </summary>
internal static class MemoryBenchmark
{
    private const int Prompt = 12, Response = 52, Codes = 128; // short: every token takes 10 GFLOP

    internal static int Run(string[] arguments)
    {
        using var child = Process.Start(new ProcessStartInfo(Environment.ProcessPath!, ["memory-1b-step", .. arguments]) { UseShellExecute = false })!;
        child.WaitForExit();
        return child.ExitCode;
    }

    internal static int Step(string[] arguments)
    {
        var full = arguments.Contains("full");
        var setup = TrainingSetup.Janus1B.WithLora(full ? 0 : 16).WithMicroBatch(1) with { SequenceTokens = Prompt + Response + Codes + 4, Model = JanusConfig.Pro1B with { ImageTokens = Codes } };
        setup = setup with { Sft = setup.Sft with { KeepMasters = !full } };
        var plan = MemoryPlan.Of(setup, TrainingStage.Sft);
        using (var scope = NewDisposeScope())
        {
            rand(64, 64).to(ScalarType.BFloat16).requires_grad_().matmul(rand(64, 64).to(ScalarType.BFloat16)).sum().backward(); // libraries come in
        }

        var before = Process.GetCurrentProcess().WorkingSet64;
        using var model = FilledJanus.Make(setup.Model, setup.DType);
        var policy = setup.Prepare(model);
        using var lora = policy as Lora;
        using var trainer = new SftTrainer(policy, _ => Batch(), 100016, setup.Sft);
        Console.WriteLine($"{(full ? "all weights" : "LoRA of rank 16")}: {Peak(before):0.000} GiB before the step; plan {plan.Bytes(MemoryPhase.Always) / (1L << 30):0.000}");
        var step = trainer.Step();
        double measured = Peak(before), planned = plan.PeakBytes / (1L << 30);
        Console.WriteLine($"  {step.Tokens} tokens, loss {step.Loss:0.000}, {step.Seconds:0.0} s; {before / 1e6:0} MB before the model");
        Console.WriteLine($"  peak {measured:0.000} GiB, plan {planned:0.000} GiB: plan / peak = {planned / measured:0.000}; beyond the weights {measured - plan.Rows[0].GiB:0.000}, plan {planned - plan.Rows[0].GiB:0.000}");
        return Math.Abs(planned / measured - 1) <= 0.1 ? 0 : 1;
    }

    private static double Peak(long before)
    {
        using var self = Process.GetCurrentProcess();
        return (self.PeakWorkingSet64 - before) / (double)(1L << 30);
    }

    private static SftBatch Batch()
    {
        var random = Seeds.Random(1);
        int[] Text(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(100000))];
        var codes = Enumerable.Range(0, Codes).Select(_ => (long)random.Next(JanusConfig.Pro1B.ImageTokenizer.CodebookSize)).ToArray();
        return SftBatch.Build([new SftSample(Text(Prompt), Text(Response), codes)], new SpecialTokens(100000, 100001, 100002, 100016, 100593, 100594));
    }
}
