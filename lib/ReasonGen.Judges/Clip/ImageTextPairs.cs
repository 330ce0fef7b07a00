using System.Runtime.CompilerServices;
using ReasonGen.Core;
using ReasonGen.Judges.Images;
using ReasonGen.Rewards;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Clip;

/// <summary>What scorers of an image with a text have in common.</summary>
internal static class ImageTextPairs
{
    /// <summary>Makes sure that each image has a text.</summary>
    /// <exception cref="ArgumentException">There are more of one than of the other.</exception>
    internal static void Expect(IReadOnlyList<SourceImage> images, IReadOnlyList<string> texts,
        [CallerArgumentExpression(nameof(texts))] string what = "")
    {
        if (images.Count != texts.Count)
        {
            throw new ArgumentException($"{images.Count} images cannot be scored with {texts.Count} {what}, one each",
                what);
        }
    }

    /// <summary>Cosine of each image with the text of its place; a text that comes again is encoded once.</summary>
    internal static float[] Cosines(IReadOnlyList<string> texts, Device device,
        Func<IReadOnlyList<string>, Tensor> embedTexts, Func<Tensor> embedImages)
    {
        using var scope = NewDisposeScope();
        if (texts.Count == 0)
        {
            return [];
        }

        var distinct = texts.Distinct().ToArray();
        var place = distinct.Index().ToDictionary(pair => pair.Item, pair => (long)pair.Index);
        var rows = tensor(texts.Select(text => place[text]).ToArray(), device: device);
        return embedTexts(distinct).index_select(0, rows).mul(embedImages()).sum([1L]).Values<float>();
    }

    /// <summary>Scores of the requests that can be scored, not a number for the others.</summary>
    internal static float[] WhereScorable(IReadOnlyList<RewardRequest> requests, Func<RewardRequest, bool> scorable,
        Func<IReadOnlyList<SourceImage>, IReadOnlyList<string>, float[]> score)
    {
        var can = requests.Select(scorable).ToArray();
        RewardRequest[] kept = [.. requests.Where((_, i) => can[i])];
        var scores = score([.. kept.Select(request => (SourceImage)request.Image)],
            [.. kept.Select(request => request.Prompt.Text)]);
        var at = 0;
        return [.. can.Select(one => one ? scores[at++] : float.NaN)];
    }
}
