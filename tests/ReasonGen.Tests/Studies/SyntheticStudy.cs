using System.Globalization;
using ReasonGen.Core;
using ReasonGen.Studies;
using ReasonGen.World;

namespace ReasonGen.Tests.Studies;

/// <summary>A study of the paper that was never run: arms of given shares and curves, the same prompts for
/// all.</summary>
internal static class SyntheticStudy
{
    private const int PromptsPerTask = 40, Points = 10;

    /// <summary>An arm: its share of right images, the spread of its seeds, and its curves over [0, 1].</summary>
    internal sealed record Arm(string Name, double Share, int Seeds = 5, int FirstSeed = 1)
    {
        internal double Spread { get; init; } = 0.01;
        internal double? Greedy { get; init; } // share of right images; null as at the other temperatures
        internal Func<double, double> Entropy { get; init; } = _ => 3;
        internal double Text { get; init; } = 0.25;
        internal int Steps { get; init; } // as recorded; 0 where it is not
        internal Func<double, double> Reward { get; init; } = at => 0.5 + 0.4 * at;
    }

    internal static PaperStudy Load(string folder, params ReadOnlySpan<Arm> arms)
    {
        Write(folder, arms);
        return PaperStudy.Load(folder);
    }

    internal static void Write(string folder, params ReadOnlySpan<Arm> arms)
    {
        List<string> results = [string.Join(',', PaperFiles.ResultColumns)],
            curves = [string.Join(',', PaperFiles.PointColumns)], runs = [];
        foreach (var arm in arms)
        {
            for (var seed = arm.FirstSeed; seed < arm.FirstSeed + arm.Seeds; seed++)
            {
                var away = arm.Spread * ((seed * 7 + arm.Name.Length) % 5 - 2);
                results.AddRange(
                    PaperFiles.Samplings.Select(sampling => Result(arm, seed, sampling,
                        (sampling == "greedy" ? arm.Greedy ?? arm.Share : arm.Share) + away)));
                curves.AddRange(arm.Name is "base" or "sft" or "sft-long" ? []
                    : Enumerable.Range(0, Points).Select(i => Point(arm, seed, i, away)));
                runs.Add($$"""
                    { "seed": {{seed}}, "run": "{{arm.Name}}", "commit": "a", "results": { "sft": { "accuracy": 0.9 } },
                      "settings": {{(arm.Steps == 0 ? "{}" : $"{{ \"steps\": {arm.Steps} }}")}} }
                    """);
            }
        }

        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, PaperFiles.Results), string.Join('\n', results) + "\n");
        File.WriteAllText(Path.Combine(folder, PaperFiles.Curves), string.Join('\n', curves) + "\n");
        File.WriteAllText(Path.Combine(folder, PaperFiles.Runs), $$"""{ "runs": [{{string.Join(',', runs)}}] }""");
    }

    // whether a prompt is right depends half on the prompt and half on the run
    private static string Result(Arm arm, int seed, string sampling, double share)
    {
        Random prompts = Seeds.Random(5), own = Seeds.Random(6, seed, arm.Name.Length);
        bool[] right = [.. Enumerable.Range(0, PromptsPerTask * Prompts.Tasks.Count)
            .Select(_ => (own.Next(2) == 0 ? own : prompts).NextDouble() < share)];
        return string.Join(',', [$"{seed}", arm.Name, sampling,
            .. right.Chunk(PromptsPerTask).Select(task => Number(task.Average(one => one ? 1.0 : 0))),
            .. PaperFiles.Measures.Select(_ => Number(share)), $"{PromptsPerTask}", Bits.Write(right)]);
    }

    private static string Point(Arm arm, int seed, int i, double away) => string.Join(',',
        [$"{seed}", arm.Name, $"{i}", .. PaperFiles.CurveColumns.Select(column => Number(column switch
        {
            "image_entropy" => arm.Entropy(i / (Points - 1.0)) + 10 * away * i / Points,
            "text_entropy" => arm.Text,
            "reward" or "detector" => arm.Reward(i / (Points - 1.0)) + away,
            _ => 0.1,
        }))]);

    private static string Number(double value) => value.ToString("G6", CultureInfo.InvariantCulture);
}
