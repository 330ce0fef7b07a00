using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using Xunit;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class ClipScoreTests
{
    [Fact]
    public void Scores_of_files_equal_T2I_CompBenchs()
    {
        using var scorer = Load(out var copy);
        using var kept = copy;
        var rows = Golden.Json("clip/clipscore")["images"]!;
        var scores = scorer.Score([.. rows.Select(row => ClipFixture.Image("clip", (int)row["image"]!))],
            [.. rows.Select(row => (string)row["prompt"]!)]);
        Assert.All(rows.Paired(scores), pair => Assert.Equal((double)pair.First["answer"]!, pair.Second, 2e-5));
        Assert.StartsWith("score avg:", (string)Golden.Json("clip/clipscore")["line"]!);
    }

    [Fact]
    public void As_a_reward_it_scores_RGB_images_in_order_and_has_none_for_a_text_too_long()
    {
        using var scorer = Load(out var copy);
        using var kept = copy;
        var rows = Golden.Json("clip/clipscore")["images"]!.Where(row =>
            ClipFixture.Image("clip", (int)row["image"]!).Mode == ImageMode.Rgb).Some();
        RewardRequest Request(string text, int image) => new(new Prompt(text, "", []), "", ClipFixture.Image("clip",
            image).Rgb);
        var requests = rows.Select(row => Request((string)row["prompt"]!, (int)row["image"]!))
            .Prepend(Request(string.Concat(Enumerable.Repeat("cat ", 90)), 0));
        var scores = scorer.Score([.. requests]);
        Assert.True(float.IsNaN(scores[0]));
        Assert.All(rows.Paired(scores.Skip(1)), pair => Assert.Equal((double)pair.First["answer"]!, pair.Second, 2e-5));
        Assert.Empty(scorer.Score([]));
    }

    [Fact]
    public void A_text_too_long_stops_the_scoring_of_files_before_anything_is_computed()
    {
        using var scorer = Load(out var copy);
        using var kept = copy;
        Assert.Throws<ArgumentException>(() => scorer.Score([ClipFixture.Image("clip", 0)],
            [string.Concat(Enumerable.Repeat("cat ", 90))]));
    }

    // the tiny archive with the tiny vocabulary beside it
    private static ClipScorer Load(out ClipFixture.Copy copy)
    {
        copy = new(ClipFixture.Archive, "clip/hf/vocab.json", "clip/hf/merges.txt");
        return ClipScorer.ForClipScore(copy.In("ViT-tiny.pt"), ClipFixture.Target, anyModel: true);
    }
}
