using System.Reflection;
using System.Runtime.InteropServices;
using ReasonGen.Core;
using ReasonGen.Studies;

namespace ReasonGen.Notebook;

/// <summary>What every notebook starts with: the study at the chosen preset, live progress, and facts about the machine.</summary>
public sealed class Kit
{
    private Kit(Study study, Live live) => (Study, Live) = (study, live);

    /// <summary>Models, trainers and recorded runs.</summary>
    public Study Study { get; }

    /// <summary>Progress and growing curves.</summary>
    public Live Live { get; }

    /// <summary>Steps and sizes of the preset.</summary>
    public StudyConfig Config => Study.Config;

    /// <summary>Versions, machine and settings, to be printed first.</summary>
    public IHtml About => Show.Table(["", ""],
    [
        ["preset", $"{Config.Name}, seed {Config.Seed}"],
        ["stages", Config.FromScratch ? $"trained here, kept in {Path.GetFileName(Study.Folder)}" : "read from the recorded runs that ship, besides short live runs"],
        ["revision", RunRecord.CurrentCommit[..Math.Min(10, RunRecord.CurrentCommit.Length)]],
        ["libraries", $".NET {Environment.Version}, TorchSharp {Version(typeof(TorchSharp.torch))}, Plotly.NET {Version(typeof(Plotly.NET.GenericChart))}"],
        ["computing on", $"{ComputeTarget.Default}, {TorchSharp.torch.get_num_threads()} threads, {RuntimeInformation.OSArchitecture}"],
    ]);

    /// <summary>Starts a notebook.</summary>
    /// <param name="preset">smoke, quick or full.</param>
    /// <param name="seed">Of everything that is drawn.</param>
    /// <param name="output">The kernel's display function, for live updates.</param>
    /// <exception cref="ArgumentException">There is no such preset.</exception>
    public static Kit Start(string preset, long seed, LiveOutput output)
    {
        NativeRuntime.EnsureLoaded();
        var live = new Live(output);
        var study = new Study(StudyConfig.Preset(preset, seed)) { Cancellation = () => Live.Cancellation };
        study.OnStep = live.Follow();
        return new Kit(study, live);
    }

    private static string? Version(Type type) => type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0];
}
