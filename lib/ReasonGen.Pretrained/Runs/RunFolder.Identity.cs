using System.IO.Hashing;
using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;

namespace ReasonGen.Runs;

/// <remarks>What decides the run's numbers: who goes on with it must want the same.</remarks>
public sealed partial class RunFolder
{
    /// <summary>Begins the names of an identity's settings of samples, as they are set: data.samplesPerStep; "data" is
    /// the data themselves. Earlier versions wrote those settings into settings.json alone.</summary>
    internal const string OfSamples = "data.";

    /// <summary>Pairs of controllers of runs of which that is not written: they had one.</summary>
    public const int PairsBefore = 1;

    // of the identity; the last was written by earlier versions, and never decided anything
    private static readonly string[] Free =
        [.. GrpoConfig.WhenToGiveUp.Select(name => $"grpo.{Settings.Name(name)}"), Settings.ModelsOwn];

    /// <summary>What decides the numbers of the run in a folder, where it has a state; otherwise null.</summary>
    public static JToken? BegunAs(string folder)
    {
        try
        {
            using var run = Follow(folder);
            return File.Exists(run.State) ? Read(run.In(Description))["identity"] : null;
        }
        catch (UnusableFileException)
        {
            return null; // who opens the folder is told
        }
    }

    private void Expect(JObject identity)
    {
        if (DifferencesTo(identity) is { Count: > 0 } different)
        {
            throw new UnusableFileException(Folder,
                $"the run there was begun otherwise: {string.Join("; ", different)}",
                "repeat that command, or choose another folder");
        }
    }

    private bool WasBegunAs(JObject identity)
    {
        try
        {
            return File.Exists(In(Description)) && DifferencesTo(identity).Count == 0;
        }
        catch (UnusableFileException)
        {
            return false; // nobody can tell
        }
    }

    private IReadOnlyList<string> DifferencesTo(JObject identity)
    {
        var (was, now) = (Read(In(Description))["identity"], JToken.Parse(identity.ToString()));
        if (was?["entropy"] is JObject entropy && now["entropy"]?["pairs"] is not null)
        {
            entropy.TryAdd("pairs", PairsBefore);
        }

        if (was is JObject begun && now is JObject asked
            && asked.Properties().Where(one => one.Name.StartsWith(OfSamples) && !begun.ContainsKey(one.Name)).ToArray()
                is { Length: > 0 } unwritten)
        {
            var settings = Read(In(SettingsFile))["data"];
            begun.Add(unwritten.Select(one =>
                new JProperty(one.Name, settings?[one.Name[OfSamples.Length..]] ?? one.Value)));
        }

        foreach (var name in Free)
        {
            was?.SelectToken(name)?.Parent?.Remove();
            now.SelectToken(name)?.Parent?.Remove();
        }

        return SettingsDifference.Of(was, now);
    }

    private static string HashOf(string text) =>
        Convert.ToHexStringLower(XxHash128.Hash(Encoding.UTF8.GetBytes(text)));
}
