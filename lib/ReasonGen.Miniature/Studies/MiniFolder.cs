using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.World;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>A miniature in a folder of its own: config.json with its words, and all weights in safetensors.</summary>
public static class MiniFolder
{
    private const string ModelType = "reasongen_mini";

    /// <summary>Whether a folder holds a miniature.</summary>
    /// <exception cref="UnusableFileException">Its config.json is damaged.</exception>
    public static bool IsIn(string folder) => Directory.Exists(folder) && JanusFiles.ModelType(folder) == ModelType;

    /// <summary>Writes a miniature.</summary>
    /// <exception cref="UnusableFileException">The folder cannot be written; an earlier one in it stays
    /// whole.</exception>
    public static void Save(Janus model, string folder)
    {
        using var scope = NewDisposeScope();
        var config = new JObject
        {
            ["model_type"] = ModelType, ["words"] = new JArray(Rationales.Words),
            ["vocabulary_size"] = model.VocabularySize,
        };
        Safetensors.SaveFolder(folder, model.state_dict(),
            texts: new Dictionary<string, string> { ["config.json"] = config.ToString(Formatting.Indented) + "\n" });
    }

    /// <summary>Opens a miniature.</summary>
    /// <exception cref="UnusableFileException">A file is missing or unsound, or it has other words or
    /// sizes.</exception>
    public static JanusPipeline Open(string folder, ComputeTarget? target = null)
    {
        var config = ConfigSection.Read(Path.Combine(folder, "config.json"));
        var tokenizer = new WordTokenizer(Rationales.Words);
        if (!JToken.DeepEquals(config.Json["words"], new JArray(Rationales.Words)))
        {
            throw new UnusableFileException(config.Path, "its words are not those of the drawn world of this version",
                "train the miniature again");
        }

        var model = new Janus(JanusConfig.Mini(tokenizer.VocabularySize), target ?? ComputeTarget.Default);
        try
        {
            using var scope = NewDisposeScope();
            CheckpointFiles.Open(folder).LoadInto(model.state_dict());
            return new(model, tokenizer, source: folder) { Style = PromptStyle.Mini };
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>A stage of the shipped study as a pipeline.</summary>
    /// <exception cref="UnusableFileException">The data that ship are damaged.</exception>
    public static JanusPipeline Shipped(string stage, ComputeTarget? target = null)
    {
        ComputeTarget.Default = target ?? ComputeTarget.Default; // where a study computes
        var study = new Study(StudyConfig.Quick);
        return new(study.Load(stage), study.Tokenizer, source: stage) { Style = PromptStyle.Mini };
    }
}
