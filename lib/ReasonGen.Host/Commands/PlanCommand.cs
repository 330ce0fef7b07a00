using System.CommandLine;
using ReasonGen.Models;
using ReasonGen.Qwen;
using ReasonGen.Runs;
using ReasonGen.Setups;
using Spectre.Console;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen plan: the memory of a training run, before it starts.</summary>
internal static class PlanCommand
{
    private const int MostRanks = 65536;

    private static readonly int GrpoSteps = new RunControl().Steps; // as train's

    private const string Help = """
        Prints what a training run will hold in GPU memory, whether it fits one GPU, and how long it will take there by
        the figures of that GPU. Nothing is loaded and no GPU is needed.

        Examples:
          reasongen plan --model janus-7b --stage grpo --judge 7b
          reasongen plan --model janus-7b --stage sft --lora 0
          reasongen plan --model janus-1b --stage sft --lora 16 --micro-batch 8 --no-checkpointing
          reasongen plan --model janus-7b --lora 0 --ranks 8
          reasongen plan --model janus-7b --judge 7b --gpu h200 --steps 300 --price 3.5
          reasongen plan --model janus-1b --bandwidth 2.9 --tflops 620 --json
        """;

    internal static Command Create()
    {
        var model = new Option<string>("--model", "-m")
        {
            Description = "janus-1b or janus-7b.", Required = true,
        }.Suggesting("janus-1b", "janus-7b");
        var stage = new Option<string>("--stage")
        {
            Description = "sft or grpo.", DefaultValueFactory = _ => "grpo",
        }.Suggesting("sft", "grpo");
        var lora = new Option<int?>("--lora")
        {
            Description = "Rank of low-rank additions; 0 trains all weights. Default: 0 for janus-1b, 16 for janus-7b.",
        };
        var judge = new Option<string>("--judge")
        {
            Description = "Qwen2.5-VL on the same GPU: none, 3b or 7b.", DefaultValueFactory = _ => "none",
        }
            .Suggesting("none", "3b", "7b");
        var micro = new Option<int?>("--micro-batch")
        {
            Description = "Samples or rollouts of one forward pass. Default: 4 in sft, 2 in grpo.",
        };
        var rows = new Option<int?>("--rows")
        {
            Description = "Rollouts of grpo sampled together. Default, as of train: 128, 64 or 32, as many as the GPU "
                + "has room for, otherwise 16. Here it is the maker's size that counts, in train the driver's.",
        };
        var plain =
            new Option<bool>("--no-checkpointing") { Description = "Keeps the whole graph for the backward pass." };
        var ranks = new Option<int>("--ranks")
        {
            Description = "GPUs that train together, one rank each; the plan is of one of them, without time and "
                + "cost if there are several. Default: 1.",
            DefaultValueFactory = _ => 1,
        };
        var gpu = new Option<string>("--gpu")
        {
            Description = "Which GPU it shall fit, and whose figures the time is estimated by: "
                + $"{string.Join(", ", GpuSpeed.Known.Select(known => known.Name))}.",
            DefaultValueFactory = _ => GpuSpeed.Known[0].Name,
        }.Suggesting([.. GpuSpeed.Known.Select(known => known.Name)]);
        var bandwidth = new Option<double?>("--bandwidth")
        {
            Description = "TB/s of memory that sampling really reads, where you measured it.",
        };
        var flops = new Option<double?>("--tflops")
        {
            Description = "TFLOPS in bf16 that training really does, where you measured it.",
        };
        var steps = new Option<int?>("--steps")
        {
            Description = "Steps of the run. Default, as of train: "
                + $"{TrainingSetup.Janus7B.Sft.TotalSteps} in sft, {GrpoSteps} in grpo.",
        };
        var price = new Option<double?>("--price") { Description = "What an hour of the GPU costs." };
        var json = CommandLine.JsonOption();
        var command = new Command("plan", Help)
        {
            model, stage, lora, judge, micro, rows, plain, ranks, gpu, bandwidth, flops, steps, price, json,
        };
        command.SetAction(parsed =>
        {
            var setup = TrainingSetup.Preset(parsed.GetValue(model)!);
            setup = parsed.GetValue(lora) switch
            {
                null => setup,
                >= 0 and <= LoraConfig.MostRank and var rank => setup.WithLora(rank),
                var rank => throw new UsageException(
                    $"--lora is {rank}; it must be at least 0 and at most {LoraConfig.MostRank}"),
            };
            setup = parsed.GetValue(micro) is { } samples ? setup.WithMicroBatch(samples) : setup;
            setup = setup with { CheckpointActivations = !parsed.GetValue(plain) };
            var (trained, judged) = (Stage(parsed.GetValue(stage)!), Judge(parsed.GetValue(judge)!));
            if (trained == TrainingStage.Sft && parsed.GetValue(rows) is not null)
            {
                throw new UsageException("--rows is of rollouts, which sft has none of: leave it out, or plan --stage "
                    + "grpo");
            }

            var size = parsed.GetValue(ranks) is >= 1 and <= MostRanks and var given ? given
                : throw new UsageException($"--ranks is {parsed.GetValue(ranks)}; it must be 1 to {MostRanks}");
            var speed = Speed(parsed.GetValue(gpu)!, parsed.GetValue(bandwidth), parsed.GetValue(flops));
            var together = parsed.GetValue(rows);
            setup = together is { } some ? setup with { Rollout = setup.Rollout with { RowsAtATime = some } }
                : trained == TrainingStage.Grpo ? setup.WithRows(speed.Bytes, judged, size) : setup;
            var count = parsed.GetValue(steps) ?? (trained == TrainingStage.Sft ? setup.Sft.TotalSteps : GrpoSteps);
            if (count < 1 || parsed.GetValue(price) is not (null or > 0 and < 1e6))
            {
                throw new UsageException("--steps must be at least 1, and --price above 0");
            }

            // the estimate is of one GPU; what several lose to each other is not known
            var time = size == 1 ? RunEstimate.Of(setup, trained, judged, speed, count) : null;
            if (parsed.GetValue(json))
            {
                var plan = MemoryPlan.Of(setup, trained, judged, size);
                CommandLine.PrintJson(new
                {
                    model = setup.Name, stage = trained.ToString().ToLowerInvariant(), loraRank = setup.Lora?.Rank ?? 0,
                    ranks = size, setup.CheckpointActivations,
                    rowsAtATime = trained == TrainingStage.Grpo ? Together(setup) : (int?)null,
                    rows = plan.Rows.Select(row => new
                    {
                        what = row.What, when = row.When.ToString().ToLowerInvariant(), row.GiB, why = row.Why,
                    }),
                    peakBytes = plan.PeakBytes,
                    fits = MemoryPlan.Gpus.ToDictionary(gpu => gpu.Name, gpu => plan.Fits(gpu.Bytes)),
                    gpu = speed, fitsGpu = plan.Fits(speed.Bytes), tokensPerSecond = time?.TokensPerSecond,
                    stepSeconds = time?.StepSeconds, hours = time?.Hours, cost = parsed.GetValue(price) * time?.Hours,
                    refillSeconds = time?.RefillSeconds, hoursWithRefill = time?.HoursWithRefill,
                    costWithRefill = parsed.GetValue(price) * time?.HoursWithRefill,
                });
                return;
            }

            var fits = Print(setup, trained, judged, size).Fits(speed.Bytes);
            Terminal.Console().WriteLine(
                $"It {(fits ? "fits" : "does not fit")} one {speed.Name} ({speed.Bytes / 1e9:0} GB)."
                + (trained == TrainingStage.Sft || together is not null ? ""
                    : " Sampled together are as many rows as train takes with that much memory, of which a driver may "
                        + "tell more or less: --gpu names another GPU, --rows sets them.")
                + (fits || time is null ? "" : " What follows is for one with as much memory as it takes.")
                + (time is null ? " Time and cost are estimated for one GPU only: leave --ranks out for them." : ""));
            if (time is not null)
            {
                PrintTime(time, speed, parsed.GetValue(price));
            }
        });
        return command;
    }

    private static GpuSpeed Speed(string name, double? bandwidth, double? flops)
    {
        var gpu = GpuSpeed.Known.FirstOrDefault(gpu => gpu.Name.Equals(name, StringComparison.OrdinalIgnoreCase))
            ?? throw new UsageException($"there are no figures of '{name}'; choose "
                + $"{string.Join(", ", GpuSpeed.Known.Select(known => known.Name))}, or give --bandwidth and --tflops");
        if (bandwidth is not (null or > 0 and < 1e3) || flops is not (null or > 0 and < 1e6))
        {
            throw new UsageException("--bandwidth is in TB/s and --tflops in TFLOPS; both are above 0");
        }

        // what was measured is reached wholly
        gpu = bandwidth is { } tera ? gpu with { Bandwidth = tera * 1e12, SamplingShare = 1 } : gpu;
        return flops is { } operations ? gpu with { Flops = operations * 1e12, TrainingShare = 1 } : gpu;
    }

    private static void PrintTime(RunEstimate time, GpuSpeed gpu, double? price)
    {
        var parts = string.Join(", ", time.Parts.Select(part => $"{part.What} {part.Seconds:0} s"));
        var sampled = time.TokensPerSecond > 0 ? $" {time.TokensPerSecond:#,0} tokens/s are sampled." : "";
        Terminal.Console().WriteLine($"On one {gpu.Name} ({gpu.Bandwidth / 1e12:0.##} TB/s of which sampling reaches "
            + $"{gpu.SamplingShare:0%}, {gpu.Flops / 1e12:0} TFLOPS of which training reaches "
            + $"{gpu.TrainingShare:0%}) a step takes some {time.StepSeconds:0} s: {parts}.{sampled} "
            + $"{time.Steps:#,0} steps: {Run(time.Hours)}"
            + (time.RefillSeconds == 0 ? "." : " with one round of rollouts a step, where the rewards of enough groups "
                + $"differ, and {Run(time.HoursWithRefill)} with a second one of {time.RefillSeconds:0} s, as the "
                + "reference expects of most steps.")
            + " An estimate by these figures, not a measurement.");
        string Run(double hours) =>
            $"{hours:0.0} hours" + (price is { } each ? $" ({hours * each:#,0.00} at {each} an hour)" : "");
    }

    // no more than a round has
    private static int Together(TrainingSetup setup) =>
        Math.Min(setup.Rollout.RowsAtATime, setup.Grpo.PromptsPerRound * setup.Grpo.RolloutsPerPrompt);

    private static MemoryPlan Print(TrainingSetup setup, TrainingStage stage, QwenConfig? judge, int ranks)
    {
        var plan = Print(MemoryPlan.Of(setup, stage, judge, ranks));
        if (!plan.Fits(MemoryPlan.Gpus[0].Bytes))
        {
            Advise(setup, stage, judge, ranks);
        }

        return plan;
    }

    /// <summary>Prints a plan as a table.</summary>
    internal static MemoryPlan Print(MemoryPlan plan)
    {
        var (setup, stage, ranks) = (plan.Setup, plan.Stage, plan.Ranks);
        var trained = setup.Lora is { } lora
            ? $"LoRA of rank {lora.Rank} (alpha {lora.Alpha:0.###}, scale {lora.Alpha / lora.Rank:0.###})"
            : "all weights";
        Terminal.Console().WriteLine($"{setup.Name}, {stage.ToString().ToLowerInvariant()}, {trained}, "
            + $"activations {(setup.CheckpointActivations ? "checkpointed" : "kept")}"
            + (stage == TrainingStage.Sft ? ""
                : $", {Together(setup)} rows sampled together")
            + (ranks == 1 ? "" : $", on each of {ranks} GPUs"));
        var table = new Table().Border(TableBorder.Simple).AddColumn("").AddColumn("when")
            .AddColumn(new TableColumn("GiB").RightAligned())
            .AddColumn("");
        foreach (var row in plan.Rows)
        {
            table.AddRow(row.What, row.When.ToString().ToLowerInvariant(), $"{row.GiB:0.00}", Markup.Escape(row.Why));
        }

        foreach (var phase in Enum.GetValues<MemoryPhase>()
            .Where(phase => phase != MemoryPhase.Always && plan.Rows.Any(row => row.When == phase)))
        {
            table.AddRow("[bold]total[/]", phase.ToString().ToLowerInvariant(),
                $"[bold]{plan.Bytes(phase) / (1L << 30):0.00}[/]", "");
        }

        Terminal.Print(table);
        Terminal.Console().WriteLine($"The peak of {plan.PeakBytes / (1L << 30):0.0} GiB {plan.Verdict()}.");
        return plan;
    }

    // the first of a few changes, mildest first, after which it fits the smaller GPU
    private static void Advise(TrainingSetup setup, TrainingStage stage, QwenConfig? judge, int ranks)
    {
        var (name, bytes) = MemoryPlan.Gpus[0];
        (string How, TrainingSetup Setup)[] ways =
        [
            ("with checkpointed activations", setup with { CheckpointActivations = true }),
            ("with --micro-batch 1", setup.WithMicroBatch(1)),
            .. new[] { 64, 32, 16, 8 }.Where(rows => rows < setup.Rollout.RowsAtATime).Select(rows =>
                ($"with --rows {rows}", setup with { Rollout = setup.Rollout with { RowsAtATime = rows } })),
            ("with --lora 16", setup.WithLora(16)),
            ("with --lora 16 and checkpointed activations", setup.WithLora(16) with { CheckpointActivations = true }),
        ];
        var way = ways.FirstOrDefault(way => MemoryPlan.Of(way.Setup, stage, judge, ranks).Fits(bytes));
        Terminal.Console().WriteLine(way.How is null ? $"It would need more than one {name} GPU, or a judge elsewhere."
            : $"It would fit one {name} GPU {way.How}.");
    }

    private static TrainingStage Stage(string name) =>
        Enum.TryParse<TrainingStage>(name, ignoreCase: true, out var stage) && Enum.IsDefined(stage)
        && !char.IsDigit(name[0]) ? stage
        : throw new UsageException($"there is no stage '{name}' to plan; choose sft or grpo");

    private static QwenConfig? Judge(string name) => name.ToLowerInvariant() switch
    {
        "none" => null,
        "3b" => QwenConfig.Qwen3B,
        "7b" => QwenConfig.Qwen7B,
        _ => throw new UsageException($"there is no judge '{name}' to plan for; choose none, 3b or 7b"),
    };
}
