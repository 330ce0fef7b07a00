using ReasonGen.World;

namespace ReasonGen.Tests.Studies;

/// <summary>The three files of a study of one arm and two seeds.</summary>
internal static class SmallStudy
{
    private const string Row = "base,t1,1,1,1,1,1,1,,,1,1,1,2,fff\n";

    internal static string Results { get; } = $"seed,run,sampling,{string.Join(',', Prompts.Tasks)},plan_correct,"
        + $"image_follows_plan,layout_entropy,distinct_scenes,distinct_images,prompts_per_task,right\n1,{Row}2,{Row}";

    internal static string Curves { get; } = "seed,run,step,reward,judged,detector,fooled,missed,plan,follows,scenes,"
        + "text_entropy,image_entropy,deciding_entropy,ground_entropy,text_alpha,image_alpha,kl,groups\n"
        + "1,base,0,0.5,0.5,0.5,0,0,1,1,1,0.4,3,3,3,0,0,0,16\n"
        + "1,base,1,0.5,0.5,0.5,0,0,1,1,1,0.4,3,3,3,0,0,0,16\n";

    internal static string Runs { get; } =
        "{ \"runs\": [{ \"run\": \"base\", \"commit\": \"a\", \"settings\": {} }] }\n";

    /// <summary>Writes them; of those that are there none is replaced.</summary>
    internal static void Write(string folder)
    {
        foreach (var (name, text) in new[]
        {
            ("paper-results.csv", Results), ("paper-curves.csv", Curves), ("paper-runs.json", Runs),
        })
        {
            if (!File.Exists(Path.Combine(folder, name)))
            {
                File.WriteAllText(Path.Combine(folder, name), text);
            }
        }
    }
}
