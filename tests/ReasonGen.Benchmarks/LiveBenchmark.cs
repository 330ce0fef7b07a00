using System.Diagnostics;
using Newtonsoft.Json;
using ReasonGen.Host.Engine;
using ReasonGen.Notebook;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Studies;
using ReasonGen.WorldData;
using static ReasonGen.Benchmarks.Timing;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>What showing progress costs: the miniature's tokenizer is trained in a cell with a curve and refreshed
/// images, and without.</summary>
internal static class LiveBenchmark
{
    private const int Rounds = 4;

    internal static int Run(int steps)
    {
        var study = new Study(StudyConfig.Quick);
        var (plain, shown, overheads) = (new List<double>(), new List<double>(), new List<double>());
        Train(study, Math.Min(steps, 10), null); // compiles
        for (var round = 0; round < Rounds; round++)
        {
            plain.Add(Train(study, steps, null).Seconds);
            var updates = 0;
            var live = new Live(first =>
            {
                var id = Guid.NewGuid().ToString("N");
                void Send(object value) // as a kernel does: formatted, and written as a message
                {
                    updates++;
                    _ = JsonConvert.SerializeObject(new
                    {
                        content = Bundles.Of(value), transient = new { display_id = id },
                    });
                }

                Send(first);
                return Send;
            });
            var (seconds, atEnd) = Train(study, steps, live);
            shown.Add(seconds);
            overheads.Add(live.Overhead.TotalSeconds / (seconds - live.Overhead.TotalSeconds));
            Console.WriteLine(
                $"round {round + 1}: {steps} steps in {plain[^1]:0.00} s without,"
                + $" {seconds:0.00} s with {updates} updates; showing "
                + $"took {live.Overhead.TotalMilliseconds:0} ms, {overheads[^1]:0.00%} of the training, of "
                + $"which {atEnd * 1000:0} ms after the last step");
        }

        Console.WriteLine(
            $"time with over time without, medians: {Median(shown) / Median(plain):0.000} (the machine's own "
            + $"swing: {plain.Max() / plain.Min():0.000}); showing at most {overheads.Max():0.00%}");
        return overheads.Max() <= 0.02 ? 0 : 1;
    }

    private static (double Seconds, double AtEnd) Train(Study study, int steps, Live? live)
    {
        using var model = study.Untrained();
        var trainer = study.TokenizerTrainer(model, new() { TotalSteps = steps });
        var stream = new WorldStream(study.World, 1);
        using var originals =
            ImageTensors.ToTensor(stream.Take(0, 8).Select(sample => sample.Image(stream.Config)).ToArray(), CPU);
        IHtml Look(object _)
        {
            using var scope = NewDisposeScope();
            return Show.Images(ImageTensors.FromTensor(model.DecodeImage(model.ImageTokenizer.Encode(originals))),
                columns: 8, scale: 2);
        }

        var (watch, last) = (Stopwatch.StartNew(), TimeSpan.Zero);
        var work = trainer.Steps().Select(step =>
        {
            last = watch.Elapsed;
            return step;
        });
        _ = live is null ? work.ToList()
            : live.Run(work, steps, "image tokenizer", Look, ("squared error", step => step.SquaredError));
        return (watch.Elapsed.TotalSeconds, (watch.Elapsed - last).TotalSeconds);
    }
}
