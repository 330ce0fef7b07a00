using ReasonGen.Imaging;
using ReasonGen.TrainingData;
using ReasonGen.World;

namespace ReasonGen.WorldData;

/// <summary>Samples of the drawn world in the published schema of SFT data, as a captioner would have stored
/// them.</summary>
public static class WorldRows
{
    /// <summary>The first <paramref name="count"/> samples of a stream.</summary>
    public static IEnumerable<SftRow> Of(WorldStream stream, int count)
    {
        for (var i = 0; i < count; i++)
        {
            var sample = stream[i];
            var plain = sample.Caption(CaptionStyle.Plain);
            var tags = sample.Caption(CaptionStyle.Tags);
            var objects = sample.Caption(CaptionStyle.ObjectCentred);
            var captions = new SftCaptions(plain, sample.Rationale, plain, [plain, objects], [plain, tags],
                tags.Split(" , "), objects["shapes : ".Length..].Split(" and "));
            yield return new(Png.Encode(sample.Image(stream.Config)), $"shapes/{i:000}.png", captions.ToRecord());
        }
    }
}
