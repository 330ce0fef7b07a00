using System.CommandLine;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.JanusPro;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen merge: an adapter and its base as one model, or a model in the other layout.</summary>
internal static class MergeCommand
{
    private const string Help = """
        Makes a whole model of an adapter of PEFT and the model that it was trained for; or writes a model in the other layout, native being
        that of the transformers library. Additions are computed in fp32 and rounded once to the type of the base's files;
        where these hold several, all is written in the type of most of their bytes. Files of the tokenizer, the
        processors and the chat template go with it.

        Examples:
          reasongen merge runs/rl/model --out ReasonGen-mine
          reasongen merge adapter --base Janus-Pro-7B --layout native --out merged
        """;

    internal static Command Create()
    {
        var folder = new Argument<string>("folder") { Description = "The adapter's folder, or a model's." };
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder of the whole model; made when missing. An earlier model there is replaced, with its "
                + "files of tokenizer, processors and chat template; other files stay.",
            Required = true,
        };
        var baseModel = new Option<string?>("--base") { Description = "The adapter's base. Default: what it names." };
        var layout = new Option<JanusLayout?>("--layout")
        {
            Description = "original (DeepSeek's and ReasonGen-R1's) or native (transformers'). Default: the base's.",
        };
        var command = new Command("merge", Help) { folder, output, baseModel, layout };
        command.SetAction(parsed =>
        {
            var (from, to) = (parsed.GetValue(folder)!, parsed.GetValue(output)!);
            var written = JanusMerge.Write(from, to, parsed.GetValue(layout), parsed.GetValue(baseModel));
            CopyTraining(from, to);
            Console.WriteLine($"The whole model is in {to}, in the {written.ToString().ToLowerInvariant()} layout.");
        });
        return command;
    }

    // what a model was trained on goes with it, for the labels of its scores
    private static void CopyTraining(string from, string to)
    {
        const string name = Safetensors.Training;
        if (File.Exists(Path.Combine(from, name)))
        {
            AtomicFile.Write(Path.Combine(to, name), File.ReadAllBytes(Path.Combine(from, name)));
        }
    }
}
