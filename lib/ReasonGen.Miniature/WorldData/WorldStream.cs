using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.World;

namespace ReasonGen.WorldData;

/// <summary>One sample of the drawn world: what a captioner would have written about an image.</summary>
/// <param name="Prompt">What is asked, plainly worded.</param>
/// <param name="Scene">What is shown.</param>
/// <param name="Rationale">The chain of thought.</param>
/// <param name="RenderSeed">Seed of the image's tones.</param>
public sealed record WorldSample(Prompt Prompt, Scene Scene, string Rationale, long RenderSeed)
{
    /// <summary>The brief caption in one of the paper's styles.</summary>
    public string Caption(CaptionStyle style) => Prompts.Word(Prompt.Include, style);

    /// <summary>The image.</summary>
    public RgbImage Image(WorldConfig config) => Renderer.Render(Scene, config, RenderSeed);
}

/// <summary>An endless stream of samples; sample i of a seed is always the same.</summary>
public sealed class WorldStream(WorldConfig config, long seed)
{
    public WorldConfig Config { get; } = config;

    /// <summary>Sample number <paramref name="index"/>; of one task when given.</summary>
    public WorldSample this[long index, string? task = null]
    {
        get
        {
            var random = Seeds.Random(seed, 0x3A, index);
            var prompt = Prompts.Draw(random, task);
            var scene = Scene.For(prompt, random);
            return new WorldSample(prompt, scene, Rationales.Write(scene, random), random.NextInt64());
        }
    }

    /// <summary>Samples <paramref name="start"/> to <paramref name="start"/> + <paramref name="count"/> − 1.</summary>
    public WorldSample[] Take(long start, int count) =>
        Enumerable.Range(0, count).Select(i => this[start + i]).ToArray();
}
