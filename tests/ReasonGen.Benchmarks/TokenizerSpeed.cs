using System.Diagnostics;
using ReasonGen.Core;
using ReasonGen.Tokenizers;

namespace ReasonGen.Benchmarks;

/// <summary>Encoding on one thread, by processor time (compiling and collecting included): of a text file line by line,
/// or of made-up prose with ever new words.</summary>
internal static class TokenizerSpeed
{
    internal static void Measure(string file, IReadOnlyList<string> lines)
    {
        var watch = Stopwatch.StartNew();
        var tokenizer = HuggingFaceTokenizer.Load(file);
        var bytes = lines.Sum(line => (long)System.Text.Encoding.UTF8.GetByteCount(line));
        Console.WriteLine(
            $"{file}: {tokenizer.VocabularySize} tokens, loaded "
            + $"in {watch.Elapsed.TotalSeconds:0.00} s, {bytes / 1e6:0.0} MB of text");
        for (var round = 0; round < 4; round++)
        {
            var before = Environment.CpuUsage.TotalTime;
            var ids = lines.Sum(line => (long)tokenizer.Encode(line).Length);
            var seconds = (Environment.CpuUsage.TotalTime - before).TotalSeconds;
            Console.WriteLine(
                $"  {(round == 0 ? "cold" : "warm")}: {bytes / seconds / 1e6:0.0} MB/s, "
                + $"{ids / seconds / 1e6:0.00} M tokens/s");
        }
    }

    /// <summary>8 MB; the frequency of words falls as in prose.</summary>
    internal static string[] Prose()
    {
        var random = Seeds.Random(1, 2);
        var syllables =
            "a ing ter com pre light stone er ed ly con tion al re in wo man ty vi blue over un der".Split(' ');
        string[] words = [.. Enumerable.Range(0, 30000).Select(i =>
            string.Concat(Enumerable.Range(0, 1 + random.Next(i < 200 ? 2 : 4))
                .Select(_ => syllables[random.Next(syllables.Length)])))];
        string Word() =>
            words[(int)Math.Exp(random.NextDouble() * Math.Log(words.Length - 1))] + (random.Next(9) == 0 ? "," : "");
        return [.. Enumerable.Range(0, 20000)
            .Select(_ => string.Join(' ', Enumerable.Range(0, 60).Select(_ => Word())) + ".")];
    }
}
