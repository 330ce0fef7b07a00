using System.Runtime.InteropServices;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks.Gpu;

/// <summary>
/// What an iteration of GRPO with the 7B shape, a LoRA and the 7B judge takes, as the driver counts it, beside what
/// the plan says.
/// </summary>
internal static class GpuMemory
{
    private const int Rollouts = 16;

    internal static unsafe void Run()
    {
        var setup = GpuModels.Setup("7b") with
        {
            Grpo = TrainingSetup.Janus7B.Grpo with
            {
                PromptsPerStep = 1, PromptsPerUpdate = 1, PromptsPerRound = 1, RolloutsPerPrompt = Rollouts,
                    MaxRounds = 1,
            },
        };
        var plan = MemoryPlan.Of(setup, TrainingStage.Grpo, GpuModels.Judge);
        using (zeros(1, device: GpuCheck.Target.Device))
        {
            GpuCheck.Wait(); // CUDA itself has come in
        }

        var before = Used();
        using var judge = GpuModels.NewJudge();
        using var model = GpuModels.Janus("7b");
        var policy = setup.Prepare(model);
        using var lora = policy as Lora;
        var tokenizer = new AnyTokenizer(model.VocabularySize, setup.PromptTokens - 1);
        var sampler = new PolicySampler(policy, tokenizer, PromptTemplate.JanusRl, setup.Rollout,
            GpuCheck.Target.Device);
        var collector = new RolloutCollector(sampler, new Asking(judge), _ =>
            new Prompt("anything", "", []), setup.Grpo);
        using var trainer = new GrpoTrainer(policy, collector, new NoEntropyTerm(), GpuModels.Special.BeginOfImage);
        var step = trainer.Step();
        GpuCheck.Wait();
        double gib = 1L << 30, used = (Used() - before) / gib, planned = plan.PeakBytes / gib;
        GpuCheck.Say(new
        {
            part = "memory", shape = "7b", judge = "7b", rollouts = Rollouts, groups = step.Groups, used_gib = used,
                plan_gib = planned,
            seconds = step.SamplingSeconds + step.RewardSeconds + step.TrainingSeconds,
        });
    }

    // of the whole card, as the driver counts it; NaN without one
    private static unsafe double Used()
    {
        if (!GpuCheck.IsCuda || !NativeLibrary.TryLoad("libcuda.so.1", out var driver))
        {
            return double.NaN;
        }

        nuint free = 0, total = 0;
        var ask = (delegate* unmanaged<nuint*, nuint*, int>)NativeLibrary.GetExport(driver, "cuMemGetInfo_v2");
        return ask(&free, &total) == 0 ? total - free : double.NaN;
    }

    // the verdict of random weights is worth nothing: it is asked for what it takes, and every other rollout counts as
    // right
    private sealed class Asking(Qwen.QwenVl judge) : IReward
    {
        public string Name => "every other";

        public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
        {
            using var free = no_grad();
            using var scope = NewDisposeScope();
            judge.Generate(GpuJudge.Input(Math.Min(8, requests.Count)), GpuCheck.Small ? 4 : 64, [], cancel: cancel);
            return [.. requests.Select((_, i) => (float)(i % 2))];
        }
    }
}
