using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.World;

namespace ReasonGen.Host.Commands;

/// <summary>The model that a run trains, by what was given for it.</summary>
internal sealed record TrainModel
{
    private const string Mini = "mini", Tiny = "tiny";
    private const int SmallWidth = 1024;

    private TrainModel(string given, TrainingStage stage, string? folder, PeftAdapter? adapter, JanusConfig config) =>
        (Given, Stage, Folder, Adapter, Config) = (given, stage, folder, adapter, config);

    /// <summary>As it was given.</summary>
    internal string Given { get; }

    /// <summary>Sizes.</summary>
    internal JanusConfig Config { get; }

    /// <summary>Additions that training goes on with.</summary>
    internal PeftAdapter? Adapter { get; }

    internal bool IsMini => Folder is null ? Given == Mini : MiniFolder.IsIn(Folder);

    /// <summary>Preset of a model of its size.</summary>
    internal string Preset => Config.Language.Width switch
    {
        < SmallWidth => "mini",
        var width when width <= JanusConfig.Pro1B.Language.Width => "janus-1b",
        _ => "janus-7b",
    };

    private TrainingStage Stage { get; }

    // of the weights that are loaded: of an adapter, its base; null for what ships
    private string? Folder { get; }

    /// <summary>Looks what was given, without loading a weight.</summary>
    /// <exception cref="UnusableFileException">It is no model.</exception>
    internal static TrainModel Find(string given, TrainingStage stage)
    {
        if (!Directory.Exists(given) && given is Mini or Tiny)
        {
            return new(given, stage, null, null, given == Tiny ? TinyJanus.Config
                : JanusConfig.Mini(new WordTokenizer(Rationales.Words).VocabularySize));
        }

        var adapter = PeftAdapter.IsIn(given) ? PeftAdapter.Read(given) : null;
        var folder = adapter?.FindBase() ?? given;
        if (!Directory.Exists(folder))
        {
            throw new UnusableFileException(folder, "there is no such folder",
                "give the folder of a Janus-Pro, a ReasonGen-R1 or an earlier run's model, or mini, or tiny");
        }

        return new(given, stage, folder, adapter, MiniFolder.IsIn(folder)
            ? JanusConfig.Mini(new WordTokenizer(Rationales.Words).VocabularySize) : JanusFiles.ReadConfig(folder));
    }

    /// <summary>Whether it can be trained with these settings.</summary>
    /// <exception cref="UsageException">It cannot.</exception>
    internal void Expect(RunConfig config)
    {
        if (config.Lora is not null && IsMini)
        {
            throw new UsageException("the miniature is trained whole, half a million weights: take --set "
                + "lora=null");
        }
    }

    /// <summary>Looks whether model and judges lie where the run leaves them.</summary>
    /// <param name="run">The run's folder.</param>
    /// <param name="judges">As they were given.</param>
    /// <exception cref="UsageException">The run replaces one of them, or moves it away.</exception>
    internal void ExpectOutside(string run, IEnumerable<string> judges)
    {
        var read = new[] { ("--model", Folder), ("--model", Adapter?.Folder) }
            .Concat(judges.Select(judge => ("--judge", (string?)judge)));
        if (read.FirstOrDefault(one => Directory.Exists(one.Item2) && RunFolder.Replaces(run, one.Item2)) is
            (var option, { } folder))
        {
            throw new UsageException($"{option} leads to {folder}, which is the run's own in --out {run}: training "
                + "replaces it, or moves it away. Choose another folder for the run, or move the model out of it");
        }
    }

    /// <summary>Tells its weights from others'.</summary>
    internal string Fingerprint() => Folder is not null
        ? string.Join(' ', new[] { Folder, Adapter?.Folder }.OfType<string>().Select(ModelOptions.Fingerprint))
        : Given == Tiny ? Tiny
        : ModelOptions.Fingerprint(ModelOptions.Shipped(Shipped));

    /// <summary>Loads it. A tiny one is put into the run's folder, where an adapter finds its base.</summary>
    /// <param name="target">Device and type.</param>
    /// <param name="run">The run's folder.</param>
    internal (JanusPipeline Pipeline, string? Folder) Open(ComputeTarget target, RunFolder run)
    {
        if (Folder is null && Given == Mini)
        {
            return (MiniFolder.Shipped(Shipped, target), null);
        }

        var folder = Folder ?? run.In("base");
        if (Folder is null && !File.Exists(Path.Combine(folder, "tokenizer.json")))
        {
            TinyJanus.Write(folder);
        }

        return (IsMini ? MiniFolder.Open(folder, target) : JanusPipeline.Open(folder, target), folder);
    }

    /// <summary>Loads it once more, as it is before it is trained.</summary>
    internal JanusPipeline OpenReference(ComputeTarget target, RunFolder run)
    {
        var (pipeline, _) = Open(target, run);
        Adapter?.MergeInto(pipeline.Model);
        return pipeline;
    }

    /// <summary>What is trained of it, and how that is written so that other programs open it.</summary>
    /// <param name="config">Settings.</param>
    /// <param name="pipeline">The opened model.</param>
    /// <param name="folder">Where it lies.</param>
    /// <exception cref="ArgumentException">The settings ask for additions that this model cannot have.</exception>
    internal (IImageTextModel Policy, Action<string> Export) Prepare(RunConfig config, JanusPipeline pipeline,
        string? folder)
    {
        var model = pipeline.Model;
        var setup = config.Setup(Given, model.Config, model.Target.DType) with { Lora = Adapter is null ? config.Lora
            : null };
        var policy = setup.Prepare(model, config.Run.Seed);
        policy = Adapter?.Continue(model) ?? policy;
        if (IsMini)
        {
            return (policy, path => MiniFolder.Save(model, path));
        }

        var layout = JanusFiles.Check(folder!);
        return (policy, policy is Lora lora ? path => PeftAdapter.Save(lora, path, folder!, layout)
            : path => JanusFiles.Save(model, path, layout, from: folder));
    }

    private string Shipped => Stage == TrainingStage.Sft ? "base" : "sft";
}
