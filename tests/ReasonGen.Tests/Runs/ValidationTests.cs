using System.Globalization;
using ReasonGen.Setups;
using ReasonGen.Tests.Ranks;
using Xunit;

namespace ReasonGen.Tests.Runs;

/// <summary>What a run of fine-tuning is held against.</summary>
public sealed class ValidationTests : TrainingRuns
{
    private const double Near = 1e-5;

    [Theory]
    [InlineData(4, 3, null, 1)] // a last batch is cut
    [InlineData(256, 3, 4, 1)] // no sample counts twice
    [InlineData(256, 3, 4, 2)]
    [InlineData(4, 8, null, 1)]
    public void Each_held_out_sample_counts_once_and_alike(int samples, int perBatch, int? heldOut, int ranks)
    {
        double Loss(string name, int samples, int perBatch, int? heldOut, int ranks)
        {
            _ = ThreadGroup.Run(ranks, group =>
            {
                Run(At(name), TrainingStage.Sft, lora: false, CancellationToken.None, steps: 2, among: group,
                    validationSamples: samples, heldOutSamples: perBatch, heldOutCount: heldOut);
                return 0;
            });
            return double.Parse(File.ReadLines(At($"{name}/validation.csv")).Last().Split(',')[1],
                CultureInfo.InvariantCulture);
        }

        var oneByOne = Loss("one", 4, 1, null, 1);
        Assert.Equal(oneByOne, Loss("several", samples, perBatch, heldOut, ranks), Near);
        Assert.NotEqual(oneByOne, Loss("more", 6, 1, null, 1), Near);
    }
}
