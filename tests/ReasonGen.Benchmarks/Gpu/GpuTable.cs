using System.Globalization;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Benchmarks.Gpu;

/// <summary>
/// The table of environment/gpu-check.sh: the kit's figures beside the peer's, and what it must reach.
/// <code>gpu-table FOLDER [--small] [--no-peer]</code> of a folder with checks.txt (name, tab, ok or failed, tab,
/// words), kit.jsonl and peer.jsonl. Exit code 0 where all is right and reached, 1 where something is wrong or
/// missing, 3 where it is right but slower or larger.
/// </summary>
internal static class GpuTable
{
    private const double NearPlan = 0.05, ShareOfCeiling = 0.5;

    internal static int Run(string folder, bool small, bool alone)
    {
        var (wrong, behind) = (new List<string>(), new List<string>());
        JObject[] kit = Lines(Path.Combine(folder, "kit.jsonl")), peer = Lines(Path.Combine(folder, "peer.jsonl"));
        wrong.AddRange(kit.Concat(peer).Where(figure => figure["error"] is not null)
            .Select(figure => $"{figure["part"]}: {figure["error"]}"));
        Console.WriteLine($"{Text(kit, "info", "device")}; {Text(kit, "info", "libtorch")}; peer: torch "
            + $"{Text(peer, "info", "torch")}, "
            + $"transformers {Text(peer, "info", "transformers")}, {Text(peer, "info", "device")}");
        Console.WriteLine("\n| check | outcome | |\n|---|---|---|");
        foreach (var parts in File.ReadLines(Path.Combine(folder, "checks.txt")).Select(line => line.Split('\t')))
        {
            Console.WriteLine($"| {parts[0]} | {parts[1]} | {parts.ElementAtOrDefault(2)} |");
            if (parts[1] != "ok")
            {
                wrong.Add($"{parts[0]}: {parts.ElementAtOrDefault(2)}");
            }
        }

        double Of(string key) =>
            kit.Select(figure => (double?)figure[key]).FirstOrDefault(value => value is not null) ?? double.NaN;
        var bandwidth = Of("copy_tb_per_s");
        Console.WriteLine($"\ncopying {bandwidth:0.00} TB/s, bf16 products {Of("bf16_tflops"):0} TFLOP/s\n");
        Console.WriteLine("| | kit | peer | ratio | target | of the bandwidth |\n|---|---|---|---|---|---|");
        foreach (var figure in kit.Where(figure => Rate(figure) is not null))
        {
            var (mine, name) = (Rate(figure)!.Value, Name(figure));
            var theirs = peer.FirstOrDefault(other => Rate(other) is not null && Name(other) == name) is { } found
                ? Rate(found) : null;
            var (least, ratio) = (Target(figure), theirs is null ? double.NaN : mine / theirs.Value);
            var share = figure["read_gb"] is { } read
                ? (double)read / 1e3 / ((double)figure["ms_per_step"]! / 1e3) / bandwidth : double.NaN;
            Console.WriteLine($"| {name} | {Number(mine)} | {Number(theirs ?? double.NaN)} | {Number(ratio)} | "
                + $"{(least > 0 ? Number(least) : "")} "
                + $"| {Number(share)} |");
            if (small)
            {
                continue; // few weights say nothing of speed
            }

            if (theirs is null && !alone)
            {
                wrong.Add($"{name}: the peer has no figure");
            }
            else if (ratio < least)
            {
                behind.Add($"{name}: {Number(ratio)} times the peer, {Number(least)} wanted");
            }

            if (name == "decode 7b x64 image" && share < ShareOfCeiling)
            {
                behind.Add($"{name}: {Number(share)} of what memory allows, {Number(ShareOfCeiling)} wanted");
            }
        }

        foreach (var figure in kit
            .Where(figure => (string?)figure["part"] == "memory" && figure["plan_gib"] is not null))
        {
            double used = (double?)figure["used_gib"] ?? double.NaN, plan = (double)figure["plan_gib"]!;
            Console.WriteLine($"\nmemory of a 7B iteration with the 7B judge: {used:0.00} GiB, plan {plan:0.00} "
                + $"GiB, {used / plan:0.000}");
            if (!small && !(Math.Abs(used / plan - 1) <= NearPlan))
            {
                behind.Add($"memory: {used:0.00} GiB, plan {plan:0.00}");
            }
        }

        string[] named = ["info", "decode", "train", "judge", "memory"];
        wrong.AddRange(named.Where(part => kit.All(figure => (string?)figure["part"] != part))
            .Select(part => $"{part}: the kit has no figure"));
        wrong.ForEach(what => Console.WriteLine($"\nWRONG {what}"));
        behind.ForEach(what => Console.WriteLine($"\nBEHIND {what}"));
        Console.WriteLine(wrong.Count > 0 ? $"\n{wrong.Count} things are wrong." : behind.Count > 0
            ? $"\nAll is right; {behind.Count} figures are behind their target." : "\nAll is right.");
        return wrong.Count > 0 ? 1 : behind.Count > 0 ? 3 : 0;
    }

    private static JObject[] Lines(string file) => !File.Exists(file) ? []
        : [.. File.ReadLines(file).Where(line => line.StartsWith('{')).Select(JObject.Parse)];

    private static string Text(JObject[] figures, string part, string key) =>
        figures.FirstOrDefault(figure => (string?)figure["part"] == part && figure[key] is not null)?[key]?.ToString()
            ?? "none";

    private static double? Rate(JObject figure) => (double?)(figure["tokens_per_s"] ?? figure["images_per_s"]);

    private static string Name(JObject figure) => (string?)figure["part"] switch
    {
        "decode" => $"decode {figure["shape"]} x{figure["batch"]} "
            + $"{figure["phase"]}{((bool?)figure["guided"] == true ? " guided" : "")}",
        "train" => $"train {figure["shape"]} LoRA, {figure["rows"]} rows",
        "judge" => $"judge {figure["shape"]}, {figure["images"]} images",
        _ => $"{figure["part"]}",
    };

    // what the kit's figure should be of the peer's; 0 where nothing is asked
    private static double Target(JObject figure) => ((string?)figure["part"], (string?)figure["shape"]) switch
    {
        ("decode", "7b") when (int?)figure["batch"] == 64 => 1,
        ("decode", "1b") when (int?)figure["batch"] is 1 or 16 => 1.5,
        ("train", "7b") => .9,
        _ => 0,
    };

    private static string Number(double value) =>
        double.IsNaN(value) ? "" : value.ToString("0.##", CultureInfo.InvariantCulture);
}
