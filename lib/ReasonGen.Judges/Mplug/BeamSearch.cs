// The search of mPLUG's text generator (modelscope mplug/predictor.py), of one question:
//   log p = log softmax(logits), the end token's −1e20 in the first steps;
//   score = (sum so far + log p) / ((6 + step) / 6)^0.6,  the beams · vocabulary scores' largest ones are the new beams
//     (at the first step of the first beam alone).
//   A beam that ends is kept as a result AND continued, so a result may hold the end token inside. When the best beam
//     ends, or at the last step, all beams are kept and the search is over. The answer is the result of the highest
//     score;
//   each keeps the penalty of its own length.
namespace ReasonGen.Judges.Mplug;

/// <summary>A text that a search found.</summary>
/// <param name="Ids">Its ids with the start and, where it ended, the end.</param>
/// <param name="Score">Its penalised log probability.</param>
public sealed record BeamResult(int[] Ids, float Score);

/// <summary>A search that is fed with log probabilities, step by step.</summary>
public sealed class BeamSearch
{
    private const float Forbidden = -1e20f;

    private readonly int shortest, longest, end;
    private readonly float[] sums;
    private readonly List<BeamResult> results = [];

    /// <param name="beams">Texts that are followed at once.</param>
    /// <param name="shortest">Steps before which no text ends.</param>
    /// <param name="longest">Steps after which the search is over.</param>
    /// <param name="start">The id that begins every text.</param>
    /// <param name="end">The id that ends one.</param>
    public BeamSearch(int beams, int shortest, int longest, int start, int end)
    {
        (this.shortest, this.longest, this.end) = (shortest, longest, end);
        Sequences = [.. Enumerable.Range(0, beams).Select(_ => (int[])[start])];
        sums = [.. Enumerable.Range(0, beams).Select(beam => beam == 0 ? 0 : float.NegativeInfinity)];
    }

    /// <summary>The texts so far, the best first; all of one length.</summary>
    public IReadOnlyList<int[]> Sequences { get; private set; }

    /// <summary>Steps made.</summary>
    public int Steps { get; private set; }

    /// <summary>Whether the search is over.</summary>
    public bool Done { get; private set; }

    /// <summary>Scores, old beams and tokens of the last step's new beams, the best first.</summary>
    public IReadOnlyList<(float Score, int Beam, int Token)> Chosen { get; private set; } = [];

    /// <summary>The best of what was kept, as many as there are beams, best first; of equal ones the earlier.</summary>
    public IReadOnlyList<BeamResult> Results =>
        [.. results.OrderByDescending(result => result.Score).Take(Sequences.Count)];

    /// <summary>Goes on by one token.</summary>
    /// <param name="logProbabilities">Of the next token of each text, [beams · vocabulary].</param>
    public void Step(ReadOnlySpan<float> logProbabilities)
    {
        var (beams, penalty) = (Sequences.Count, (float)Math.Pow((6.0 + Steps) / 6, 0.6));
        var vocabulary = logProbabilities.Length / beams;
        var best = new PriorityQueue<(float Score, int Beam, int Token), (float, int)>(beams + 1); // the worst in front
        for (var i = 0; i < beams * vocabulary; i++)
        {
            var (beam, token) = (i / vocabulary, i % vocabulary);
            var score = (sums[beam] + (token == end && Steps < shortest ? Forbidden : logProbabilities[i])) / penalty;
            if (best.Count < beams)
            {
                best.Enqueue((score, beam, token), (score, -i));
            }
            else if (score > best.Peek().Score)
            {
                best.EnqueueDequeue((score, beam, token), (score, -i));
            }
        }

        var chosen = new (float Score, int Beam, int Token)[best.Count];
        for (var i = chosen.Length - 1; i >= 0; i--)
        {
            chosen[i] = best.Dequeue();
        }

        Sequences = [.. chosen.Select(next => (int[])[.. Sequences[next.Beam], next.Token])];
        for (var beam = 0; beam < chosen.Length; beam++)
        {
            sums[beam] = chosen[beam].Score * penalty;
        }

        Chosen = chosen;
        Steps++;
        Done = Steps == longest || chosen[0].Token == end;
        results.AddRange(chosen.Index().Where(pair => Done || pair.Item.Token == end)
            .Select(pair => new BeamResult(Sequences[pair.Index], pair.Item.Score)));
    }
}
