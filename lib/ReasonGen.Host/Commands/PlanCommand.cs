using System.CommandLine;
using ReasonGen.Models;
using ReasonGen.Qwen;
using ReasonGen.Setups;
using Spectre.Console;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen plan: the memory of a training run, before it starts.</summary>
internal static class PlanCommand
{
    private const int MostRanks = 65536;

    private const string Help = """
        Prints what a training run will hold in GPU memory, and whether it fits one GPU. Nothing is loaded and no GPU is needed.

        Examples:
          reasongen plan --model janus-7b --stage grpo --judge 7b
          reasongen plan --model janus-7b --stage sft --lora 0
          reasongen plan --model janus-1b --stage sft --lora 16 --micro-batch 8 --no-checkpointing
          reasongen plan --model janus-7b --lora 0 --ranks 8
          reasongen plan --model janus-7b --json
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
        var rows = new Option<int?>("--rows") { Description = "Rollouts sampled together. Default: 16." };
        var plain =
            new Option<bool>("--no-checkpointing") { Description = "Keeps the whole graph for the backward pass." };
        var ranks = new Option<int>("--ranks")
        {
            Description = "GPUs that train together, one rank each; the plan is of one of them. Default: 1.",
            DefaultValueFactory = _ => 1,
        };
        var json = CommandLine.JsonOption();
        var command = new Command("plan", Help) { model, stage, lora, judge, micro, rows, plain, ranks, json };
        command.SetAction(parsed =>
        {
            var setup = TrainingSetup.Preset(parsed.GetValue(model)!);
            setup = parsed.GetValue(lora) switch
            {
                null => setup,
                >= 0 and var rank => setup.WithLora(rank),
                var rank => throw new UsageException($"--lora is {rank}; it must be at least 0"),
            };
            setup = parsed.GetValue(micro) is { } count ? setup.WithMicroBatch(count) : setup;
            setup = setup with
            {
                CheckpointActivations = !parsed.GetValue(plain),
                Rollout = setup.Rollout with { RowsAtATime = parsed.GetValue(rows) ?? setup.Rollout.RowsAtATime },
            };
            var (trained, judged) = (Stage(parsed.GetValue(stage)!), Judge(parsed.GetValue(judge)!));
            var size = parsed.GetValue(ranks) is >= 1 and <= MostRanks and var given ? given
                : throw new UsageException($"--ranks is {parsed.GetValue(ranks)}; it must be 1 to {MostRanks}");
            if (parsed.GetValue(json))
            {
                var plan = MemoryPlan.Of(setup, trained, judged, size);
                CommandLine.PrintJson(new
                {
                    model = setup.Name, stage = trained.ToString().ToLowerInvariant(), loraRank = setup.Lora?.Rank ?? 0,
                        ranks = size,
                        setup.CheckpointActivations,
                    rows = plan.Rows.Select(row => new
                    {
                        what = row.What, when = row.When.ToString().ToLowerInvariant(), row.GiB, why = row.Why,
                    }),
                    peakBytes = plan.PeakBytes,
                    fits = MemoryPlan.Gpus.ToDictionary(gpu => gpu.Name, gpu => plan.Fits(gpu.Bytes)),
                });
                return;
            }

            Print(setup, trained, judged, size);
        });
        return command;
    }

    private static void Print(TrainingSetup setup, TrainingStage stage, QwenConfig? judge, int ranks)
    {
        if (!Print(MemoryPlan.Of(setup, stage, judge, ranks)).Fits(MemoryPlan.Gpus[0].Bytes))
        {
            Advise(setup, stage, judge, ranks);
        }
    }

    /// <summary>Prints a plan as a table.</summary>
    internal static MemoryPlan Print(MemoryPlan plan)
    {
        var (setup, stage, ranks) = (plan.Setup, plan.Stage, plan.Ranks);
        var trained = setup.Lora is { } lora ? $"LoRA of rank {lora.Rank}" : "all weights";
        AnsiConsole.WriteLine($"{setup.Name}, {stage.ToString().ToLowerInvariant()}, {trained}, "
            + $"activations {(setup.CheckpointActivations ? "checkpointed" : "kept")}"
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

        AnsiConsole.Write(table);
        AnsiConsole.WriteLine($"The peak of {plan.PeakBytes / (1L << 30):0.0} GiB {plan.Verdict()}.");
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
            ("with --rows 8", setup with { Rollout = setup.Rollout with { RowsAtATime = 8 } }),
            ("with --lora 16", setup.WithLora(16)),
            ("with --lora 16 and checkpointed activations", setup.WithLora(16) with { CheckpointActivations = true }),
        ];
        var way = ways.FirstOrDefault(way => MemoryPlan.Of(way.Setup, stage, judge, ranks).Fits(bytes));
        AnsiConsole.WriteLine(way.How is null ? $"It would need more than one {name} GPU, or a judge elsewhere."
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
