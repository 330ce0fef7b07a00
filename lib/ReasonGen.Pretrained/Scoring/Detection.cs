namespace ReasonGen.Scoring;

/// <summary>Which pixels an object covers.</summary>
/// <param name="Width">Pixels a row.</param>
/// <param name="Height">Rows.</param>
/// <param name="Inside">Row by row, not 0 where the object is.</param>
public sealed record DetectionMask(int Width, int Height, byte[] Inside);

/// <summary>One box that a detector found. Corners and score are single precision, as the official detector gives
/// them.</summary>
/// <param name="Class">Name of the class.</param>
/// <param name="X1">Left, in pixels of the image.</param>
/// <param name="Y1">Top.</param>
/// <param name="X2">Right.</param>
/// <param name="Y2">Bottom.</param>
/// <param name="Score">Confidence, 0 to 1.</param>
public sealed record Detection(string Class, float X1, float Y1, float X2, float Y2, float Score)
{
    /// <summary>Colour of the object where something has told it; null where nothing was asked.</summary>
    public string? Color { get; init; }

    /// <summary>Its pixels; null where the detector gives none.</summary>
    public DetectionMask? Mask { get; init; }
}
