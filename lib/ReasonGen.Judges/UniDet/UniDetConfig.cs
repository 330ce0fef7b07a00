using System.Globalization;

namespace ReasonGen.Judges.UniDet;

/// <summary>The two detectors of T2I-CompBench.</summary>
public enum UniDetKind
{
    /// <summary>ResNeSt-200: positions in the plane.</summary>
    RS200,

    /// <summary>ResNet-50: numbers, and positions in depth.</summary>
    R50,
}

/// <summary>Sizes of a UniDet with unified labels. The defaults are those of
/// Unified_learned_OCIM_RS200_6x+2x.</summary>
public sealed record UniDetConfig
{
    internal const int Stages = 3, AnchorsPerCell = 9, PooledSide = 7, SizeDivisor = 32, Radix = 2;
    internal const double ProposalOverlap = 0.7, BoxOverlap = 0.5;
    internal const float LeastScore = 0.1f;

    /// <summary>The published ResNeSt-200.</summary>
    public static UniDetConfig RS200 { get; } = new();

    /// <summary>The published ResNet-50.</summary>
    public static UniDetConfig R50 { get; } = new()
    {
        Kind = UniDetKind.R50, Blocks = [3, 4, 6, 3], StemWidth = 64, HeadConvolutions = 0, HeadLayers = 2,
    };

    /// <summary>Which of the two architectures.</summary>
    public UniDetKind Kind { get; init; } = UniDetKind.RS200;

    /// <summary>Blocks of the four stages of the backbone.</summary>
    public IReadOnlyList<int> Blocks { get; init; } = [3, 24, 36, 3];

    /// <summary>Channels of the backbone's stem.</summary>
    public int StemWidth { get; init; } = 128;

    /// <summary>Channels of the first stage; each later one has twice as many.</summary>
    public int Width { get; init; } = 256;

    /// <summary>Channels within a block of the first stage.</summary>
    public int InnerWidth { get; init; } = 64;

    /// <summary>Channels of the pyramid's maps.</summary>
    public int PyramidWidth { get; init; } = 256;

    /// <summary>Convolutions of each of the three heads.</summary>
    public int HeadConvolutions { get; init; } = 4;

    /// <summary>Their channels.</summary>
    public int HeadConvolutionWidth { get; init; } = 256;

    /// <summary>Fully connected layers of each head.</summary>
    public int HeadLayers { get; init; } = 1;

    /// <summary>Their width.</summary>
    public int HeadWidth { get; init; } = 1024;

    /// <summary>Classes, without the column of the background.</summary>
    public int Classes { get; init; } = 722;

    /// <summary>Most proposals of a level before suppression. No size of the network: no weight file tells
    /// it.</summary>
    public int ProposalsPerLevel { get; init; } = 1000;

    /// <summary>Most proposals of an image.</summary>
    public int Proposals { get; init; } = 1000;

    /// <summary>Most detections of an image.</summary>
    public int Detections { get; init; } = 300;

    /// <summary>Whether blocks attend over the halves of a split convolution, as ResNeSt's do.</summary>
    internal bool IsSplit => Kind == UniDetKind.RS200;

    /// <summary>The published detector of this kind.</summary>
    internal UniDetConfig Published => IsSplit ? RS200 : R50;

    // of the channels in the order in which the scripts hand them over, blue first; RS200's are those of red first
    internal float[] Mean => IsSplit ? [123.68f, 116.779f, 103.939f] : [103.53f, 116.28f, 123.675f];

    internal float[] Deviation => IsSplit ? [58.393f, 57.12f, 57.375f] : [1, 1, 1];

    /// <summary>Channels within the attention of a split convolution.</summary>
    internal static int AttentionWidth(int width) => Math.Max(width * Radix / 4, 32);

    /// <summary>The sizes that weights have, in words; equal texts are equal sizes.</summary>
    internal string Describe() => string.Create(CultureInfo.InvariantCulture,
        $"{(IsSplit ? "ResNeSt" : "ResNet")} of blocks {string.Join(", ", Blocks)}, stem {StemWidth}, width {Width} "
        + $"({InnerWidth} within), pyramid {PyramidWidth}, 3 heads of {HeadConvolutions} convolutions "
        + $"{(HeadConvolutions > 0 ? $"({HeadConvolutionWidth}) " : "")}and {HeadLayers} layers ({HeadWidth}), "
        + $"{Classes} classes");

    /// <summary>Whether these are the sizes and limits of the published detector.</summary>
    internal bool IsPublished => Describe() == Published.Describe()
        && (ProposalsPerLevel, Proposals, Detections) == (1000, 1000, 300);

    /// <summary>The sizes that the shapes of a checkpoint tell; null where it is no UniDet of either kind with unified
    /// labels.</summary>
    internal static UniDetConfig? OfShapes(IReadOnlyDictionary<string, long[]> shapes)
    {
        const string Backbone = "backbone.bottom_up.";
        int? Size(string name, int axes, int axis = 0) => shapes.GetValueOrDefault(name) is { } shape
            && shape.Length == axes ? (int)shape[axis] : null;
        int Count(Func<int, string> name) => Enumerable.Range(0, 1000).TakeWhile(i => shapes.ContainsKey(name(i)))
            .Count();
        var split = shapes.ContainsKey(Backbone + "res2.0.conv2.conv.weight");
        return Size(Backbone + (split ? "stem.conv1_3.weight" : "stem.conv1.weight"), 4) is { } stem
            && Size(Backbone + "res2.0.conv3.weight", 4) is { } width
            && Size(Backbone + "res2.0.conv1.weight", 4) is { } inner
            && Size("backbone.fpn_lateral3.weight", 4) is { } pyramid
            && Size("proposal_generator.rpn_head.anchor_deltas.weight", 4) == 4 * AnchorsPerCell
            && Size("roi_heads.box_head.0.fc1.weight", 2) is { } head
            && Size("roi_heads.box_predictor.2.cls_score.weight", 2) is { } classes ? new()
            {
                Kind = split ? UniDetKind.RS200 : UniDetKind.R50, StemWidth = stem, Width = width, InnerWidth = inner,
                Blocks = [.. new[] { 2, 3, 4, 5 }.Select(stage =>
                    Count(i => $"{Backbone}res{stage}.{i}.conv1.weight"))],
                PyramidWidth = pyramid, HeadWidth = head, Classes = classes - 1,
                HeadConvolutions = Count(i => $"roi_heads.box_head.0.conv{i + 1}.weight"),
                HeadConvolutionWidth = Size("roi_heads.box_head.0.conv1.weight", 4) ?? 256,
                HeadLayers = Count(i => $"roi_heads.box_head.0.fc{i + 1}.weight"),
            } : null;
    }
}
