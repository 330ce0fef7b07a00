using ReasonGen.Models;
using ReasonGen.Native;
using ReasonGen.Optimization;
using ReasonGen.Qwen;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Studies;

public sealed class MemoryPlanTests
{
    [Theory]
    [InlineData("janus-1b", 1_652_656_128L, 4_214_784L + 37_767_168, 6_295_552L)]
    [InlineData("janus-7b", 6_910_365_696L, 16_818_176L + 83_906_560, 20_979_712L)]
    public void Weights_and_optimizer_are_counted_exactly(string name, long language, long drawing, long aligner)
    {
        // counts of the published models: vision tower, image tokenizer and image embedding are the same in both
        // the tower's pooling, at most
        const long tower = 303_688_704, tokenizer = 71_883_403, embedding = 131_072, unread = 13_000_000;
        var plan = MemoryPlan.Of(TrainingSetup.Preset(name).WithLora(0), TrainingStage.Sft);
        double Bytes(string what, MemoryPhase when) =>
            plan.Rows.Single(row => row.What == what && row.When == when).Bytes;
        long trained = language + drawing + embedding, all = trained + aligner + tower + tokenizer;
        Assert.InRange(Bytes("weights", MemoryPhase.Always), 2.0 * all, 2.0 * (all + unread));
        Assert.Equal(4.0 * trained, Bytes("fp32 masters", MemoryPhase.Always));
        Assert.Equal(8.0 * trained, Bytes("AdamW moments", MemoryPhase.Always));
        Assert.Equal(4.0 * trained, Bytes("gradients", MemoryPhase.Training)); // summed in fp32
    }

    [Fact]
    public void What_fits_a_gpu_follows_from_the_choices()
    {
        var (one, seven) = (TrainingSetup.Janus1B, TrainingSetup.Janus7B);
        bool Fits(TrainingSetup setup, TrainingStage stage, double bytes, QwenConfig? judge = null) =>
            MemoryPlan.Of(setup, stage, judge).Fits(bytes);
        Assert.True(Fits(one, TrainingStage.Sft, 80e9) && Fits(one, TrainingStage.Grpo, 80e9, QwenConfig.Qwen7B));
        Assert.True(Fits(seven, TrainingStage.Sft, 80e9) && Fits(seven, TrainingStage.Grpo, 80e9, QwenConfig.Qwen7B));
        Assert.False(Fits(seven.WithLora(0), TrainingStage.Sft, 80e9));
        Assert.True(Fits(seven.WithLora(0), TrainingStage.Sft, 141e9));
        Assert.False(Fits(seven.WithMicroBatch(16) with { CheckpointActivations = false }, TrainingStage.Sft, 80e9));
        Assert.False(Fits(seven with { Rollout = seven.Rollout with { RowsAtATime = 256 } }, TrainingStage.Grpo, 80e9));
        var table = MemoryPlan.Of(seven, TrainingStage.Grpo, QwenConfig.Qwen7B).Table().ToArray();
        Assert.Equal("peak", table[^1][0]);
        Assert.Contains("fits one 80 GB GPU", (string)table[^1][3]!);
    }

    [Fact]
    public void The_reference_of_a_KL_term_is_counted_and_takes_the_room_of_rows()
    {
        var (plain, held) = (TrainingSetup.Janus7B,
            TrainingSetup.Janus7B with { Grpo = TrainingSetup.Janus7B.Grpo with { KlWeight = 0.01 } });
        var plan = MemoryPlan.Of(held, TrainingStage.Grpo);
        var reference = Assert.Single(plan.Rows, row => row.What == "reference");
        Assert.InRange(reference.GiB, 13.5, 14.5);
        Assert.Equal(reference.Bytes, plan.PeakBytes - MemoryPlan.Of(plain, TrainingStage.Grpo).PeakBytes, 1.0);
        Assert.DoesNotContain(MemoryPlan.Of(held, TrainingStage.Sft).Rows, row => row.What == "reference");
        Assert.True(held.WithRows(80e9, QwenConfig.Qwen7B).Rollout.RowsAtATime
            < plain.WithRows(80e9, QwenConfig.Qwen7B).Rollout.RowsAtATime);
    }

    [Fact]
    public void Judges_are_counted_each_in_its_type_and_answer_in_turn()
    {
        var (setup, three, seven) = (TrainingSetup.Janus7B, QwenConfig.Qwen3B, QwenConfig.Qwen7B);
        MemoryPlan Of(params PlannedJudge[] judges) => MemoryPlan.Of(setup, TrainingStage.Grpo, judges);
        double Bytes(MemoryPlan plan, string what) => plan.Rows.Single(row => row.What == what).Bytes;
        var small = PlannedJudge.Of("small", three, ScalarType.Float32, images: 4, maxTokens: 200);
        var (large, all) = (PlannedJudge.Of("large", seven, ScalarType.BFloat16), Of(small, PlannedJudge.Of("large",
            seven, ScalarType.BFloat16), PlannedJudge.Of("hps", 3e9)));
        Assert.Equal(2 * Bytes(Of(PlannedJudge.Of("s", three, ScalarType.BFloat16)), "s"), Bytes(all, "small"), 1.0);
        double Cache(int? images, int? tokens) =>
            Bytes(Of(PlannedJudge.Of("s", three, ScalarType.BFloat16, images, tokens)), "s's KV cache");
        Assert.Equal(32.0 / 4 * (800 + 1024) / (800 + 200), Cache(null, null) / Cache(4, 200), 1e-9);
        Assert.Equal((3e9, MemoryPhase.Always), (Bytes(all, "hps"), all.Rows.Single(row => row.What == "hps").When));
        Assert.Contains(all.Rows, row => row.What == "large's KV cache");
        Assert.DoesNotContain(all.Rows, row => row.What == "small's KV cache"); // it needs less, at another time
        Assert.Equal(Of(large).Bytes(MemoryPhase.Judging) + Bytes(all, "small") + 3e9,
            all.Bytes(MemoryPhase.Judging), 1.0);
        Assert.True(setup.WithRows(80e9, [large, small]).Rollout.RowsAtATime
            <= setup.WithRows(80e9, [large]).Rollout.RowsAtATime);
    }

    [Fact]
    public void A_lora_is_as_large_as_its_plan_says()
    {
        NativeRuntime.EnsureLoaded();
        using var model = TinyJanus.Build();
        var setup = TrainingSetup.Janus1B.WithLora(3) with { Model = TinyJanus.Config, DType = ScalarType.Float32 };
        using var lora = (Lora)setup.Prepare(model);
        var plan = MemoryPlan.Of(setup, TrainingStage.Sft);
        Assert.True(model.CheckpointActivations);
        Assert.Equal(4.0 * lora.TrainableParameters().Sum(p => p.Parameter.numel()),
            plan.Rows.Single(row => row is { What: "gradients", When: MemoryPhase.Update }).Bytes);
        Assert.Equal(1e-4, setup.Sft.LearningRate, 1e-12);
        Assert.Equal(1e-5, setup.WithLora(0).Sft.LearningRate, 1e-12);
    }

    [Theory]
    [InlineData(24e9, 1, 20)]
    [InlineData(80e9, 32, 64)]
    [InlineData(141e9, 64, 64)]
    public void Rows_follow_from_the_memory_of_the_gpu(double bytes, int least, int most)
    {
        Assert.InRange(MemoryPlan.DrawingRows(JanusConfig.Pro7B, 2, 1100, true, bytes), least, most);
        var setup = TrainingSetup.Janus7B.WithRows(bytes, QwenConfig.Qwen7B);
        Assert.Equal(bytes < 80e9 ? 16 : setup.Rollout.RowsAtATime, setup.Rollout.RowsAtATime);
        Assert.True(bytes < 80e9 || MemoryPlan.Of(setup, TrainingStage.Grpo, QwenConfig.Qwen7B).Fits(bytes));
        Assert.Same(setup, setup.WithRows(null));
        var round = setup.Grpo.PromptsPerRound * setup.Grpo.RolloutsPerPrompt;
        Assert.True(setup.WithRows(bytes, ranks: round / 32).Rollout.RowsAtATime <= 32); // none idle
    }

    [Fact]
    public void A_run_takes_longer_on_a_slower_gpu_and_with_more_to_do()
    {
        var (setup, h100) = (TrainingSetup.Janus7B, GpuSpeed.Known[0]);
        RunEstimate Of(GpuSpeed gpu, TrainingSetup? other = null, QwenConfig? judge = null) =>
            RunEstimate.Of(other ?? setup, TrainingStage.Grpo, judge, gpu, 10);
        var usual = Of(h100);
        Assert.Equal(usual.StepSeconds * 10 / 3600, usual.Hours, 1e-9);
        Assert.True(Of(h100 with { Bandwidth = h100.Bandwidth / 2 }).StepSeconds > usual.StepSeconds);
        Assert.True(Of(h100, judge: QwenConfig.Qwen7B).StepSeconds > usual.StepSeconds);
        Assert.True(Of(h100, setup.WithLora(0)).StepSeconds > usual.StepSeconds);
        Assert.True(Of(h100, setup.WithRows(141e9)).TokensPerSecond > 2 * usual.TokensPerSecond);
        var sft = RunEstimate.Of(setup, TrainingStage.Sft, null, h100, 1);
        Assert.Equal((0, 0), (sft.TokensPerSecond, sft.RefillSeconds));
    }

    [Theory]
    [InlineData(32, 8, true, 1)] // of the paper: a refill has up to as many prompts as a round
    [InlineData(256, 8, true, 0.5)] // 32 groups may lack, for which 128 prompts are tried
    [InlineData(32, 1, true, 0)]
    [InlineData(32, 8, false, 0)]
    public void A_second_round_of_rollouts_is_told_apart(int promptsPerRound, int maxRounds, bool filters, double share)
    {
        var setup = TrainingSetup.Janus7B;
        var estimate = RunEstimate.Of(setup with
        {
            Grpo = setup.Grpo with
            {
                PromptsPerRound = promptsPerRound, MaxRounds = maxRounds, FilterGroups = filters,
            },
        }, TrainingStage.Grpo, QwenConfig.Qwen7B, GpuSpeed.Known[0], 10);
        var round = estimate.Parts.Where(part => part.What is "sampling" or "judging").Sum(part => part.Seconds);
        Assert.Equal(share * round, estimate.RefillSeconds, 1e-6 * round);
        Assert.Equal((estimate.StepSeconds + estimate.RefillSeconds) * 10 / 3600, estimate.HoursWithRefill, 1e-9);
    }

    [Theory]
    [InlineData(32, 0)]
    [InlineData(16, 0.5)]
    [InlineData(8, 0.75)]
    public void Old_log_probs_of_the_first_update_take_no_time(int promptsPerUpdate, double share)
    {
        var setup = TrainingSetup.Janus7B;
        var parts = RunEstimate.Of(setup with { Grpo = setup.Grpo with { PromptsPerUpdate = promptsPerUpdate } },
            TrainingStage.Grpo, null, GpuSpeed.Known[0], 10).Parts;
        double Seconds(string what) => parts.Single(part => part.What == what).Seconds;
        // a token: 2 P beside the 6 P of a LoRA with activation checkpoints
        Assert.Equal(share * 2 / 6, Seconds("old log-probs") / Seconds("training"), 1e-9);
    }

    [Fact]
    public void A_rank_beyond_every_layer_is_named()
    {
        var setup = TrainingSetup.Janus7B.WithLora(1_500_000_000);
        Assert.Equal(3e9, setup.Lora!.Alpha);
        Assert.Contains("Rank is 1500000000; it must be at least 1 and at most 65536",
            Assert.Throws<ArgumentException>(() => MemoryPlan.Of(setup, TrainingStage.Sft)).Message);
    }

    [Fact]
    public void Bad_plans_are_named()
    {
        Assert.Contains("choose janus-1b or janus-7b",
            Assert.Throws<ArgumentException>(() => TrainingSetup.Preset("janus-70b")).Message);
        Assert.Contains("has no judge", Assert.Throws<ArgumentException>(() =>
            MemoryPlan.Of(TrainingSetup.Janus1B, TrainingStage.Sft, QwenConfig.Qwen3B)).Message);
        Assert.Contains("MaxTextTokens is 2147483647; it must be at least 0 and at most 1048576",
            Assert.Throws<ArgumentException>(() => MemoryPlan.Of(TrainingSetup.Janus1B with
            {
                Rollout = RolloutConfig.Paper with { MaxTextTokens = int.MaxValue },
            }, TrainingStage.Grpo)).Message);
        Assert.Contains("MicroBatchSamples is 0", Assert.Throws<ArgumentException>(() =>
            MemoryPlan.Of(TrainingSetup.Janus1B.WithMicroBatch(0), TrainingStage.Sft)).Message);
    }
}
