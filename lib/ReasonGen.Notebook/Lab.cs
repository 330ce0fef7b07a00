using System.Reflection;
using System.Runtime.InteropServices;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Native;
using ReasonGen.Rollouts;
using ReasonGen.Studies;

namespace ReasonGen.Notebook;

/// <summary>What every notebook starts with: the study at the chosen preset, live progress, and facts about the
/// machine.</summary>
public sealed class Lab
{
    private Lab(Study study, Live live) => (Study, Live) = (study, live);

    /// <summary>
    /// How the kernel shows something that is replaced later. notebooks/setup.cs hands in the kernel's <c>display</c>,
    /// unless an extension of the kernel did so before.
    /// </summary>
    public static LiveOutput? Display { get; set; }

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
        ["stages",
            Config.FromScratch ? $"trained here, kept in {Path.GetFileName(Study.Folder)}"
                : "read from the recorded runs that ship, besides short live runs"],
        ["revision", RunRecord.CurrentCommit[..Math.Min(10, RunRecord.CurrentCommit.Length)]],
        ["libraries",
            $".NET {Environment.Version}, TorchSharp {Version(typeof(TorchSharp.torch))}, Plotly.NET "
            + $"{Version(typeof(Plotly.NET.GenericChart))}"],
        ["computing on",
            $"{ComputeTarget.Default.Exact}, {TorchSharp.torch.get_num_threads()} threads,"
            + $" {RuntimeInformation.OSArchitecture}"],
    ]);

    /// <summary>Starts a notebook.</summary>
    /// <param name="preset">smoke, quick or full.</param>
    /// <param name="seed">Of everything that is drawn.</param>
    /// <param name="output">The kernel's display function, for live updates; <see cref="Display"/> when null.</param>
    /// <exception cref="ArgumentException">There is no such preset.</exception>
    /// <exception cref="InvalidOperationException">No display function is known.</exception>
    public static Lab Start(string preset, long seed, LiveOutput? output = null) => Start(preset, seed, "", output);

    /// <summary>Starts a notebook on a device.</summary>
    /// <param name="preset">smoke, quick or full.</param>
    /// <param name="seed">Of everything that is drawn.</param>
    /// <param name="device">
    /// cpu, cuda or cuda:1, for all that this process computes; the type behind a comma holds for published models, the
    /// miniature is in fp32 everywhere. Empty for what REASONGEN_DEVICE says, or a GPU where there is one.
    /// </param>
    /// <param name="output">As above.</param>
    /// <exception cref="ArgumentException">There is no such preset, or no such device.</exception>
    /// <exception cref="InvalidOperationException">No display function is known.</exception>
    public static Lab Start(string preset, long seed, string device, LiveOutput? output = null)
    {
        NativeRuntime.EnsureLoaded();
        KernelBridge.LoadExtension(); // another kernel of this process may have begun since
        if (device.Length > 0)
        {
            ComputeTarget.Default = ComputeTarget.Parse(device, "device =");
        }

        var live = new Live(output ?? Display ?? throw new InvalidOperationException(
            "nothing says how to show progress: begin the cell with '#!import setup.cs', or set Lab.Display"));
        var study = new Study(StudyConfig.Preset(preset, seed))
        {
            Cancellation = () => Live.Cancellation, TrainsOnDemand = true,
        };
        study.OnStep = live.Follow();
        return new Lab(study, live);
    }

    /// <summary>Opens a model by its folder: a published one, an adapter of PEFT, or what <c>reasongen train</c>
    /// wrote, the miniature's too.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">It is no model, or an unsound one.</exception>
    public static JanusPipeline Open(string folder) =>
        MiniFolder.IsIn(folder) ? MiniFolder.Open(folder) : JanusPipeline.Open(folder);

    /// <summary>What a stage draws for prompts, framed green where the detector finds it right and red where
    /// not.</summary>
    /// <param name="stage">Name of a finished stage; "base" draws at once, all others write a rationale first.</param>
    /// <param name="prompts">At least one.</param>
    /// <param name="each">Images a prompt; at least 1.</param>
    /// <param name="columns">Images a row.</param>
    /// <param name="scale">Screen pixels a pixel.</param>
    public ImageGrid Draw(string stage, IReadOnlyList<Prompt> prompts, int each = 1, int columns = 6, int scale = 4)
    {
        using var model = Study.Load(stage);
        var policy = Study.Policy(model, rationale: stage != "base");
        using var rollouts = policy.Generate(prompts, each, Config.Seed);
        return Show.Judged(prompts, policy.Images(rollouts), null, columns, scale, stage);
    }

    private static string? Version(Type type) =>
        type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0];
}
