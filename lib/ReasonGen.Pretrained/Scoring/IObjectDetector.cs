using ReasonGen.Imaging;

namespace ReasonGen.Scoring;

/// <summary>Finds objects in images: what the scorers ask. Whoever reports a score says which detector found the
/// objects.</summary>
public interface IObjectDetector
{
    /// <summary>Which detector it is, and where it is not GenEval's own, that it is not; for people, beside every
    /// score.</summary>
    string Label { get; }

    /// <summary>Whether it is the detector of the published GenEval scores.</summary>
    bool IsOfficial { get; }

    /// <summary>Names of its classes, as <see cref="Detection.Class"/> has them.</summary>
    IReadOnlyList<string> Classes { get; }

    /// <summary>All that it finds in one image, above no threshold, the highest score first.</summary>
    IReadOnlyList<Detection> Detect(RgbImage image);
}
