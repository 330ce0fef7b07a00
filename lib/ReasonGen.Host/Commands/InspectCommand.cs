using System.CommandLine;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Judges.UniDet;
using ReasonGen.Judges;
using ReasonGen.Checkpoints;
using ReasonGen.JanusPro;
using ReasonGen.Qwen;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen inspect: what a checkpoint holds, without loading its weights.</summary>
internal static class InspectCommand
{
    // what the names of a checkpoint's tensors give away
    private static readonly (string Name, string Meaning)[] Signs =
    [
        ("optimizer.", "state of a training run of this kit"), ("gen_vision_model.", "Janus, original layout"),
        ("model.vqmodel.", "Janus, native layout"), ("visual.", "Qwen2.5-VL"), ("model.visual.", "Qwen2.5-VL"),
        ("gen_aligner.", "trained weights of a Janus, without its image tokenizer"),
        ("quantize.", "an image tokenizer"),
    ];

    internal static Command Create()
    {
        var path = new Argument<string>("path")
        {
            Description = "A .safetensors, .bin, .pt or .pth file, an index of shards, or a model folder.",
        };
        var json = CommandLine.JsonOption();
        var command =
            new Command("inspect", "Lists what a checkpoint holds: names, types, shapes, and which model it is.\n"
            + "Weights are not loaded, and nothing in it is executed. "
            + "Exit code 2 where it is unsound, or, a folder or of a usual name (model.safetensors, "
            + "pytorch_model.bin, their indices), does not fit the config.json beside it.\n\n"
            + "Examples:\n  reasongen inspect Janus-Pro-1B\n"
            + "  reasongen inspect Janus-Pro-7B/pytorch_model.bin.index.json\n"
            + "  reasongen inspect data/checkpoints/sft.safetensors --json") { path, json };
        command.SetAction(parsed => Inspect(parsed.GetValue(path)!, parsed.GetValue(json)));
        return command;
    }

    private static int Inspect(string path, bool json)
    {
        var (files, judge) = JudgeFiles.Open(path);
        var model = judge ?? Model(path, files);
        if (json)
        {
            CommandLine.PrintJson(new
            {
                model, files = files.Files.Select(file => new { name = Path.GetFileName(file), bytes = Length(file) }),
                tensors = files.Entries.Select(entry =>
                    new
                    {
                        name = entry.Name, type = Type(entry), shape = entry.Shape, bytes = entry.Bytes,
                            file = Path.GetFileName(entry.File),
                    }),
            });
            return 0;
        }

        var width = Math.Min(90, files.Entries.Select(entry => entry.Name.Length).DefaultIfEmpty(0).Max());
        foreach (var entry in files.Entries)
        {
            Console.WriteLine(
                $"{Printable(entry.Name).PadRight(width)}  {Type(entry),-8}  [{string.Join(", ", entry.Shape)}]");
        }

        Console.WriteLine();
        foreach (var file in files.Files)
        {
            var held = files.Entries.Where(entry => entry.File == file).ToArray();
            Console.WriteLine($"file   {Path.GetFileName(file)}: {held.Length} tensors, {Bytes(Length(file))}");
        }

        var types = files.Entries.GroupBy(Type).Select(group => $"{group.Key} {group.Sum(entry => entry.Elements):N0}");
        var (elements, bytes) = (files.Elements, files.Entries.Sum(entry => entry.Bytes));
        Console.WriteLine(
            $"total  {files.Entries.Count} tensors, {elements:N0} elements,"
            + $" {Bytes(bytes)} ({string.Join(", ", types)})");
        Console.WriteLine($"model  {model}");
        return 0;
    }

    private static string Model(string path, CheckpointFiles files)
    {
        // weights of a usual name are those of the folder: where others stand there too, these are held against them
        var folder = Directory.Exists(path) || !CheckpointFiles.UsualNames.Contains(Path.GetFileName(path)) ? path
            : Path.GetDirectoryName(Path.GetFullPath(path))!;
        var type = Directory.Exists(folder) ? JanusFiles.ModelType(folder) : null;
        var adapter = FolderKinds.DescribeAdapter(folder);
        if ((adapter is not null || type is not ("multi_modality" or "janus")) && files.Note is { } note)
        {
            return note;
        }

        return (type switch
        {
            "multi_modality" or "janus" => DescribeJanus(folder),
            "qwen2_5_vl" => DescribeQwen(folder),
            _ => Mask2FormerFiles.Describe(path, files) ?? UniDetFiles.Describe(files)
                ?? (type is { Length: > 0 } ? $"{type}, as its config.json says"
                : Signs.FirstOrDefault(sign => files.Unwrapped().Entries.Any(entry =>
                    entry.Name.StartsWith(sign.Name, StringComparison.Ordinal))).Meaning
                    ?? "not one that is known here"),
        }) + (adapter is null ? "" : $"; and beside it {adapter}: a folder of both is read by no command, so move one "
            + "of the two into a folder of its own");
    }

    private static string DescribeQwen(string path)
    {
        var config = QwenVl.Check(path);
        return "Qwen2.5-VL; names and shapes fit its config.json: "
            + $"{config.Language.Layers} layers of width {config.Language.Width}, "
            + $"{config.Language.VocabularySize} text tokens, a tower of {config.Vision.Layers} blocks of width "
            + $"{config.Vision.Width}; "
            + Tokenizer(path, config.Language.VocabularySize, null);
    }

    private static string DescribeJanus(string path)
    {
        var (layout, config) = (JanusFiles.Check(path), JanusFiles.ReadConfig(path));
        return $"Janus, {layout.ToString().ToLowerInvariant()} layout; names and shapes fit its config.json: "
            + $"{config.Language.Layers} layers of "
            + $"width {config.Language.Width}, {config.Language.VocabularySize} text tokens,"
            + $" {config.ImageTokenizer.CodebookSize} image codes, {config.ImageTokens} of them an "
            + "image; "
            + Tokenizer(path, config.Language.VocabularySize, JanusChat.SpecialNames);
    }

    private static string Tokenizer(string folder, int vocabularySize, SpecialTokenNames? names)
    {
        if (!File.Exists(Path.Combine(folder, "tokenizer.json")))
        {
            return "no tokenizer.json beside it";
        }

        var tokenizer = HuggingFaceTokenizer.Load(folder, names);
        _ = names is null ? null : tokenizer.Special; // throws where it lacks Janus' own tokens
        return tokenizer.VocabularySize <= vocabularySize ? $"its tokenizer has {tokenizer.VocabularySize} ids"
            : throw tokenizer.Foreign(folder, vocabularySize);
    }

    // of what a link leads to, too
    private static long Length(string file)
    {
        using var handle = File.OpenHandle(file);
        return RandomAccess.GetLength(handle);
    }

    private static string Type(TensorEntry entry) => entry.Type.ToString().ToLowerInvariant();

    private static string Bytes(long bytes) => bytes < 1_000_000 ? $"{bytes:N0} bytes"
        : bytes < 1_000_000_000 ? $"{bytes / 1e6:0.0} MB" : $"{bytes / 1e9:0.00} GB";

    // a file may name its tensors as it likes, but not move the cursor
    private static string Printable(string name) => new([.. name.Select(c => char.IsControl(c) ? '?' : c)]);
}
