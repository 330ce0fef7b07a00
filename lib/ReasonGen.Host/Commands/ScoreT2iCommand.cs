using System.CommandLine;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen score t2i.</summary>
internal static class ScoreT2iCommand
{
    private static readonly string[] Categories = [.. T2iRun.Attributes, "spatial", "3d", "numeracy", "non-spatial",
        "complex"];

    private const string Help = """
        Scores a folder of images named "{prompt}_{number}.png" by a category of T2I-CompBench. color, shape and
        texture ask questions; spatial, 3d and numeracy look at boxes, with --judge official at those of UniDet;
        non-spatial asks CLIP, or a file of its scores; complex joins three scored folders, image by image, by name.

        Examples:
          reasongen score t2i samples --category color --judge qwen:Qwen2.5-VL-7B-Instruct --nouns nouns.jsonl
          reasongen score t2i samples --category color --judge official --weights judges --nouns nouns.jsonl
          reasongen score t2i samples --category non-spatial --judge official --weights judges
          reasongen score t2i samples --category spatial --judge official --weights judges
          reasongen score t2i samples --category spatial --judge file:detections.jsonl
          reasongen score t2i samples --category numeracy --objects new_objects.txt --judge \
              http://localhost:8000/v1 --judge-model Qwen/Qwen2.5-VL-7B-Instruct
          reasongen score t2i samples --category complex --judge file:none --parts color-scores spatial-scores \
              clip-scores --lists examples/dataset
        """;

    internal static Command Create()
    {
        var options = new ScoreOptions { Official = new(), Boxes = ScoreOptions.BoxesOption() };
        var category = new Option<string>("--category", "-c") { Description = string.Join(", ", Categories) + ".",
            Required = true };
        category.AcceptOnlyFromAmong(Categories);
        var nouns = new Option<string?>("--nouns") { Description =
            "JSON lines {\"prompt\", \"nouns\", \"chunks\"} as spaCy finds them; color, shape and texture need chunks, "
            + "spatial and 3d nouns. Default: a rule for prompts of a fixed pattern, as all spatial ones of the "
            + "benchmark are, and most of color, shape and texture; others, such as sentences with a verb, are not "
            + "scored without a line here." };
        var objects = new Option<string?>("--objects") { Description =
            "new_objects.txt, a line \"dog - dogs\" an object; numeracy needs it." };
        var depth = new Option<string?>("--depth") { Description =
            "Folder of grey images of the same names, lighter where nearer; 3d needs it." };
        var parts = new Option<string[]>("--parts") { Description =
            "Scored folders of attribute, position and action, in this order; complex needs them.",
            AllowMultipleArgumentsPerToken = true };
        var lists = new Option<string?>("--lists") { Description =
            "Folder with complex_val_spatial.txt and complex_val_action.txt; complex needs it." };
        var perPrompt = new Option<int>("--per-prompt") { Description =
            "Images that each prompt ought to have; 0 takes what the fullest has.", DefaultValueFactory = _ => 0 };
        var anyway = new Option<bool>("--no-alarm") { Description =
            "Scores even where a file's boxes hardly ever are of what is asked for." };
        var command = new Command("t2i", Help) { category, nouns, objects, depth, parts, lists, perPrompt, anyway };
        options.AddTo(command);
        (Option Option, string[] Categories)[] read =
        [
            (nouns, [.. T2iRun.Attributes, "spatial", "3d"]), (objects, ["numeracy"]), (depth, ["3d"]),
            (parts, ["complex"]), (lists, ["complex"]),
        ];
        command.SetAction((parsed, cancel) =>
        {
            var own = parsed.GetValue(category)!;
            CommandLine.RefuseIdle(parsed, $"--category {own}", [.. read.Select(one => (one.Categories.Contains(own),
                $"--category {string.Join(", ", one.Categories)}", new[] { one.Option }))]);
            return Task.FromResult(new T2iRun(options, parsed, own, cancel)
            {
                Nouns = parsed.GetValue(nouns), Objects = parsed.GetValue(objects), Depth = parsed.GetValue(depth),
                Parts = parsed.GetValue(parts) ?? [], Lists = parsed.GetValue(lists),
                PerPrompt = parsed.GetValue(perPrompt), Anyway = parsed.GetValue(anyway),
            }.Run());
        });
        return command;
    }
}
