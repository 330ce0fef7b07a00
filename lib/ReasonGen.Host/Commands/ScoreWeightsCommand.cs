using System.CommandLine;
using System.Globalization;
using ReasonGen.Judges;
using ReasonGen.Checkpoints;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen score weights: which files the official judges need, where they come from, and which are
/// here.</summary>
internal static class ScoreWeightsCommand
{
    internal static Command Create()
    {
        var (weights, json) = (OfficialOptions.WeightsOption(), CommandLine.JsonOption());
        var check = new Option<bool>("--check")
        {
            Description = "Opens each file that is found, and says which model it is; its checksum is taken where one "
                + "is known.",
        };
        var command = new Command("weights", """
            Lists the weight files of the official judges: what asks them, size, licence, source, checksum, and where
            they are looked for. Nothing is downloaded. environment/judges.md says what to fetch for which benchmark.

            Examples:
              reasongen score weights
              reasongen score weights --weights /data/judges --check
            """) { weights, check, json };
        command.SetAction(parsed => Run(parsed.GetValue(weights)!, parsed.GetValue(check), parsed.GetValue(json)));
        return command;
    }

    private static int Run(string folder, bool check, bool json)
    {
        var rows = JudgeWeights.All.Select(file => (File: file, Path: file.Find(folder)))
            .Select(row => (row.File, row.Path, Is: check && row.Path is not null ? Describe(row.Path) : null))
            .ToArray();
        var failed = rows.Any(row => row.Is is { Sound: false });
        if (json)
        {
            CommandLine.PrintJson(new
            {
                folder = Path.GetFullPath(folder),
                files = rows.Select(row => new
                {
                    row.File.Key, row.File.Model, row.File.For, names = row.File.Files, row.File.Bytes,
                    row.File.Licence, row.File.Source, row.File.Sha256, found = row.Path, holds = row.Is?.Words,
                }),
            });
            return failed ? CommandLine.Failed : CommandLine.Done;
        }

        foreach (var (file, path, holds) in rows)
        {
            Console.WriteLine($"{file.Key,-10} {file.Model} ({file.For})");
            Console.WriteLine($"           file     {string.Join("\n                 or ", file.Files)}");
            Console.WriteLine($"           about    {Size(file.Bytes)}, licence {file.Licence}, "
                + $"SHA-256 {(file.Sha256 is { } sum ? $"begins with {sum}" : "not published")}");
            Console.WriteLine($"           from     {file.Source}");
            Console.WriteLine($"           here     {path ?? $"not in {folder}"}"
                + (holds is null ? "" : $": {holds.Words}"));
        }

        Console.WriteLine($"\nThey are looked for in {Path.GetFullPath(folder)}"
            + $"{(Directory.Exists(folder) ? "" : ", which does not exist")}: --weights, or the variable "
            + $"{JudgeWeights.Variable}, names another folder; --detector and --clip name single files.");
        return failed ? CommandLine.Failed : CommandLine.Done;
    }

    private static Finding Describe(string path)
    {
        try
        {
            return JudgeWeights.Describe(path) is { } words ? new(true, words)
                : new(false, "it is none of the judges; 'reasongen inspect' shows what it holds");
        }
        catch (UnusableFileException e)
        {
            return new(false, e.Message);
        }
    }

    private static string Size(long bytes) => string.Create(CultureInfo.InvariantCulture,
        $"{(bytes < 1_000_000_000 ? $"{bytes / 1e6:0} MB" : $"{bytes / 1e9:0.00} GB")}");

    private sealed record Finding(bool Sound, string Words);
}
