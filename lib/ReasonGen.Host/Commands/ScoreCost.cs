namespace ReasonGen.Host.Commands;

/// <summary>What a scoring will take, told before it starts.</summary>
internal static class ScoreCost
{
    private const double ImageTokens = 360, QuestionTokens = 40, BoxTokens = 60, Tower = 1.25; // of 384 pixels, about
    private const double GpuSpeed = 5e13, CoreSpeed = 3e10; // operations a second of one image at a time, about
    private const double GpuReads = 2e12, CpuReads = 1.5e10; // bytes of weights a second while boxes are written
    private const double OfficialGpuSpeed = 6e12; // fp32, one image at a time, about

    /// <summary>A sentence; empty where nothing is computed.</summary>
    internal static string Of(string judge, int images, long questions, long readings, double officialWork)
    {
        if (judge == "official")
        {
            return Sentence(images * officialWork / OfficialGpuSpeed, images * officialWork);
        }

        if (judge.StartsWith("qwen:"))
        {
            var read = 2e9 * Billions(judge) * (readings * Tower * ImageTokens + questions * QuestionTokens);
            var written = questions > 0 ? 0 : images * BoxTokens * 2e9 * Billions(judge);
            return Sentence(read / GpuSpeed + written / GpuReads, read, written / CpuReads);
        }

        return judge.StartsWith("http") ? $" About {Math.Max(images, questions)} calls." : "";
    }

    private static string Sentence(double gpu, double operations, double more = 0) =>
        $" About {Time(gpu)} on an H100, {Time(operations / (Environment.ProcessorCount * CoreSpeed) + more)} on "
        + $"{Environment.ProcessorCount} cores.";

    private static string Time(double seconds) => seconds < 90 ? $"{seconds:0} s" : seconds < 5400
        ? $"{seconds / 60:0} minutes" : seconds < 172800 ? $"{seconds / 3600:0.#} hours" : $"{seconds / 86400:0} days";

    // Weights in billions, from the folder's files.
    private static double Billions(string judge) => Directory.Exists(judge[5..])
        ? Directory.GetFiles(judge[5..], "*.safetensors").Sum(file => new FileInfo(file).Length) / 2e9 : 7;
}
