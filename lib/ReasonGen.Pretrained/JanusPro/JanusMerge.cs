using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

/// <summary>Makes one whole model of an adapter and its base, or writes a model in the other layout.</summary>
public static class JanusMerge
{
    /// <summary>Writes a folder that the tools of a layout open, with the files of tokenizer, processor and
    /// chat template.</summary>
    /// <param name="folder">A model, or an adapter of PEFT.</param>
    /// <param name="output">Made when missing; an earlier model in it is replaced when the new one is whole, with its
    /// files of tokenizer, processor and chat template. Other files stay.</param>
    /// <param name="layout">Names and configuration; those of the model itself when null.</param>
    /// <param name="baseModel">Base of an adapter; the folder that it names when null.</param>
    /// <returns>The layout that was written.</returns>
    /// <exception cref="UnusableFileException">Something is missing or does not fit, or the output cannot be
    /// written.</exception>
    /// <exception cref="ArgumentException">A base is given for what is no adapter, or the output is one of the inputs
    /// or holds an adapter.</exception>
    public static JanusLayout Write(string folder, string output, JanusLayout? layout = null, string? baseModel = null)
    {
        var adapter = PeftAdapter.IsIn(folder) ? PeftAdapter.Read(folder) : null;
        if (adapter is null && baseModel is not null)
        {
            throw new ArgumentException($"{folder} is no adapter, so that it has no base; leave the base out");
        }

        var source = baseModel ?? adapter?.FindBase() ?? folder;
        static string Real(string path) => Path.TrimEndingDirectorySeparator(RealPath.Of(path));
        if (Real(output) == Real(folder) || Real(output) == Real(source))
        {
            throw new ArgumentException($"{output} is the folder that is read; choose another one to write to");
        }

        if (File.Exists(Path.Combine(output, PeftConfig.FileName)))
        {
            throw new ArgumentException($"{output} holds an adapter, and a model beside it would not be read; "
                + "choose another folder to write to");
        }

        var written = layout ?? JanusFiles.Check(source);
        var tokenizer = HuggingFaceTokenizer.Load(source, JanusChat.SpecialNames).Special;
        // in the type of the files: their own pages, of which those are copied that change
        using var model = JanusFiles.Load(source, new ComputeTarget(CPU, TypeOf(source)));
        adapter?.MergeInto(model);
        JanusFiles.Save(model, output, written, ids: new(tokenizer.Bos, tokenizer.Eos, tokenizer.Pad,
            tokenizer.BeginOfImage, tokenizer.ImagePlaceholder), from: source);
        return written;
    }

    // that of most of the weights
    private static ScalarType TypeOf(string folder) => CheckpointFiles.Open(folder).Entries
        .Where(entry => entry.Type is ScalarType.BFloat16 or ScalarType.Float16 or ScalarType.Float32)
        .GroupBy(entry => entry.Type).MaxBy(group => group.Sum(entry => entry.Bytes))?.Key ?? ScalarType.Float32;
}
