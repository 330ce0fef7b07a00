// Speed and memory, for comparing within one run:  dotnet run -c Release --project tests/ReasonGen.Benchmarks [-- WHAT]
//   (nothing)             the miniature's hot paths; sft: training alone
//   memory-1b [full]      one training step at the size of Janus-Pro-1B (6 to 16 GB of memory)
//   steps [sft] [grpo]    so many steps of training, by wall clock and processor time
//   sampling [rounds]     sampling by the fused pass and by the model's own, in turn
//   decode-1b             decoding at that size
//   launches              kernels that a GPU is asked for a token, counted without one
//   checkpoint 1b|7b      loading at full size (4 or 15 GB of disk and memory)
//   tokenizer FILES       a tokenizer over texts
//   kernel [10000]        the Jupyter kernel, with long sessions of so many cells
//   live [steps]          what showing progress in a cell costs
//   score                 questions about one image beside a single one, and the rules of the benchmarks
//   clip l14|b32|h14 [n]  a CLIP of published size, random weights, against large matrix products, n images at a time
//   judges                the image encoders of BLIP-VQA and mPLUG at full size, likewise
//   detector [rounds]     GenEval's detector at full size, likewise
//   unidet [rounds]       T2I-CompBench's detector RS200 at full size, likewise
//   gpu, gpu-table        what environment/gpu-check.sh measures, and its table
//   ranks                 two ranks of one thread beside one, and a sum through the host (needs mpirun)
using System.Diagnostics;
using ReasonGen.Benchmarks;
using ReasonGen.Benchmarks.Gpu;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Rewards;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.World;
using static TorchSharp.torch;

if (args is ["launches"])
{
    return LaunchBenchmark.Run();
}

if (args is ["steps", ..])
{
    return StepsBenchmark.Run(args.Length > 1 ? int.Parse(args[1]) : 20, args.Length > 2 ? int.Parse(args[2]) : 6);
}

if (args is ["checkpoint", ..])
{
    return CheckpointBenchmark.Run(args.ElementAtOrDefault(1) ?? "1b");
}

if (args is ["gpu", ..])
{
    return GpuCheck.Run(args[1..]);
}

if (args is ["gpu-table", var figures, ..])
{
    return GpuTable.Run(figures, args.Contains("--small"), args.Contains("--no-peer"));
}

if (args is ["checkpoint-load", var folder])
{
    return CheckpointBenchmark.Load(folder);
}

if (args is ["memory-1b" or "memory-1b-step", ..])
{
    return args[0] == "memory-1b" ? MemoryBenchmark.Run(args[1..]) : MemoryBenchmark.Step(args[1..]);
}

if (args is ["kernel", .. var cells])
{
    return KernelBenchmark.Run(cells is [var count] ? int.Parse(count) : 10_000);
}

if (args is ["ranks" or "rank-step" or "rank-sum"])
{
    return args[0] == "ranks" ? RankBenchmark.Run()
        : args[0] == "rank-step" ? RankBenchmark.Step() : RankBenchmark.Sum();
}

if (args is ["decode-1b", ..])
{
    return DecodeBenchmark.Run();
}

if (args is ["judges", ..])
{
    return JudgeBenchmark.Run();
}

if (args is ["clip" or "clip-alone", ..])
{
    var (which, images) = (args.ElementAtOrDefault(1) ?? "l14", int.Parse(args.ElementAtOrDefault(2) ?? "8"));
    return args[0] == "clip" ? ClipBenchmark.Run(which, images) : ClipBenchmark.Measure(which, images);
}

if (args is ["detector", ..])
{
    return DetectorBenchmark.Run(args.Length > 1 ? int.Parse(args[1]) : 5);
}

if (args is ["unidet", ..])
{
    return UniDetBenchmark.Run(args.Length > 1 ? int.Parse(args[1]) : 3);
}

if (args is ["sampling", ..])
{
    return SamplingBenchmark.Run(args.Length > 1 ? int.Parse(args[1]) : 9);
}

if (args is ["score"])
{
    return ScoreBenchmark.Run();
}

if (args is ["live", ..])
{
    return LiveBenchmark.Run(args.Length > 1 ? int.Parse(args[1]) : 60);
}

if (args is ["tokenizer", .. var files])
{
    // ... -- tokenizer FILE.json ... [TEXT.txt]
    var lines = files.Where(file => !file.EndsWith(".json")).SelectMany(File.ReadLines).ToArray();
    foreach (var file in files.Where(file => file.EndsWith(".json")))
    {
        TokenizerSpeed.Measure(file, lines.Length > 0 ? lines : TokenizerSpeed.Prose());
    }

    return 0;
}

var study = new Study(StudyConfig.Quick);
using var model = study.Load("sft");
Console.WriteLine(
    $"computing on {ComputeTarget.Default}, {get_num_threads()} threads,"
    + $" {model.TrainableParameters().Sum(p => p.Parameter.numel())} trained weights");

var (size, codes) = (model.Config.Language, model.CodebookSize);
using (var trainer = study.SftTrainer(model, "sft"))
{
    var steps = trainer.Steps(60).Skip(10).ToArray();
    var tokens = steps.Average(step => step.Tokens);
    Report("SFT step (32 samples)", steps.Select(step => step.Seconds), tokens, "tokens");
    PlainPyTorch.Compare(steps.Select(step => step.Seconds).Order().ElementAt(steps.Length / 2), tokens, "tokens",
        "sft", size.Width, size.MlpWidth, size.Layers,
        size.Heads, codes, size.VocabularySize, 32, (int)tokens / 32, model.Config.ImageTokens, get_num_threads());
}

if (args is ["sft"])
{
    return 0;
}

var policy = study.Policy(model);
var prompts = Prompts.Benchmark(3);
double[] sampling = [.. Times(8, () => policy.Generate(prompts, 8, 1).Dispose())];
Report("sampling 144 rollouts", sampling, 144 * (64 + 22), "tokens");
PlainPyTorch.Compare(sampling.Order().ElementAt(4) / (64 + 22), 144, "tokens", "decode", size.Width, size.MlpWidth,
    size.Layers, size.Heads, codes, 24, 64 + 22, 144, get_num_threads(),
    "float32");
using (var rollouts = policy.Generate(prompts, 8, 1))
{
    Report("decoding 144 images", Times(8, () => policy.Images(rollouts)), 144, "images");
    var images = policy.Images(rollouts);
    Report("judging 144 images",
        Times(20,
            () => images.Select((image, i) => Detector.Check(image, prompts[i / 8])).Count(verdict => verdict.Correct)),
            144, "images");
    var requests = images.Select((image, i) => new RewardRequest(prompts[i / 8], "", image)).ToArray();
    foreach (var name in Study.Judges)
    {
        var judge = study.LoadJudge(name);
        Report($"judging 144 images by {name}", Times(8, () => judge.Score(requests)), 144, "images");
    }
}

using (var trainer = study.GrpoTrainer(model, new AdaptiveEntropyTerm(new() { Target = 0.3 }, new() { Target = 2 })))
{
    var steps = trainer.Steps(12).Skip(2).ToArray();
    Report("GRPO step (128 rollouts trained on)", steps.Select(step => step.Seconds), 1, "steps");
    Console.WriteLine(
        $"  of which "
        + $"sampling {steps.Average(s => s.SamplingSeconds):0.00} s, rewards "
        + $"{steps.Average(s => s.RewardSeconds):0.00} s, training "
        + $"{steps.Average(s => s.TrainingSeconds):0.00} s, rounds {steps.Average(s => s.Rounds):0.0}");
}

return 0;

static IEnumerable<double> Times(int repeats, Action work)
{
    work();
    for (var i = 0; i < repeats; i++)
    {
        var watch = Stopwatch.StartNew();
        work();
        yield return watch.Elapsed.TotalSeconds;
    }
}

static void Report(string what, IEnumerable<double> seconds, double amount, string unit)
{
    var sorted = seconds.Order().ToArray();
    var median = sorted[sorted.Length / 2];
    Console.WriteLine(
        $"{what}: median {median * 1000:0.0} ms ({sorted[0] * 1000:0.0} to {sorted[^1] * 1000:0.0}), "
        + $"{amount / median:0} {unit}/s");
}
