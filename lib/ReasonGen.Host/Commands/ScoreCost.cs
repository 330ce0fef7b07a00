using ReasonGen.Checkpoints;
using ReasonGen.Notebook;

namespace ReasonGen.Host.Commands;

/// <summary>What a scoring will take, told before it starts.</summary>
internal static class ScoreCost
{
    private const double ImageTokens = 360, QuestionTokens = 40, BoxTokens = 60, Tower = 1.25; // of 384 pixels, about
    private const double GpuSpeed = 5e13, CoreSpeed = 3e10; // operations a second of one image at a time, about
    private const double GpuReads = 2e12, CpuReads = 1.5e10; // bytes of weights a second while boxes are written
    private const double OfficialGpuSpeed = 6e12; // fp32, one image at a time, about

    /// <summary>A sentence; empty where nothing is computed.</summary>
    /// <exception cref="UnusableFileException">The judge's folder holds no weights.</exception>
    internal static string Of(string judge, int images, long questions, long readings, double officialWork) =>
        Seconds(judge, images, questions, readings, officialWork) is { } time
            ? $" About {Time(time.Gpu)} on an H100, {Time(time.Cores)} on {Environment.ProcessorCount} cores."
            : Calls(judge, images, questions) is { } calls ? $" About {calls} calls." : "";

    /// <summary>Calls of a served judge; null for another.</summary>
    internal static long? Calls(string judge, int images, long questions) => ChatEndpoint.IsAddress(judge)
        ? Math.Max(images, questions) : null;

    /// <summary>Seconds on an H100 and on the cores here; null where nothing is computed here.</summary>
    internal static (double Gpu, double Cores)? Seconds(string judge, int images, long questions, long readings,
        double officialWork)
    {
        static double Here(double operations) => operations / (Environment.ProcessorCount * CoreSpeed);
        if (judge == "official")
        {
            return (images * officialWork / OfficialGpuSpeed, Here(images * officialWork));
        }

        if (judge.StartsWith("qwen:"))
        {
            var read = 2e9 * Billions(judge) * (readings * Tower * ImageTokens + questions * QuestionTokens);
            var written = questions > 0 ? 0 : images * BoxTokens * 2e9 * Billions(judge);
            return (read / GpuSpeed + written / GpuReads, Here(read) + written / CpuReads);
        }

        return null;
    }

    private static string Time(double seconds) => seconds < 90 ? $"{seconds:0} s" : seconds < 5400
        ? $"{seconds / 60:0} minutes" : seconds < 172800 ? $"{seconds / 3600:0.#} hours" : $"{seconds / 86400:0} days";

    // Weights in billions, as the folder's files describe them.
    private static double Billions(string judge) =>
        CheckpointFiles.Open(judge[5..]).Elements / 1e9;
}
