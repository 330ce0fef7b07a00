using ReasonGen.Rewards;
using ReasonGen.Rollouts;

namespace ReasonGen.World;

/// <summary>1 where the world's exact detector finds the prompt satisfied, else 0: the judge that is never wrong. Not a
/// number, unavailable, for a prompt that does not say which shapes it asks for.</summary>
public sealed class DetectorReward : IReward
{
    public string Name => "detector";

    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        requests.AsParallel().AsOrdered().WithCancellation(cancel)
            .Select(request => request.Prompt.Include.Count == 0 ? float.NaN
                : Detector.Check(request.Image, request.Prompt).Correct ? 1f : 0f).ToArray();
}

/// <summary>A reward in one lambda, for a notebook cell.</summary>
/// <param name="name">Name in logs and plots.</param>
/// <param name="score">Reward of one request.</param>
public sealed class LambdaReward(string name, Func<RewardRequest, float> score) : IReward
{
    public string Name => name;

    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        requests.Select(score).ToArray();
}
