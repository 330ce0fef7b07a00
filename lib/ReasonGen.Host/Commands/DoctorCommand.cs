using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Native;
using ReasonGen.Ranks;
using ReasonGen.Studies;
using Spectre.Console;
using static TorchSharp.torch;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen doctor: what this machine has, and what it lacks.</summary>
internal static class DoctorCommand
{
    internal static Command Create()
    {
        var json = CommandLine.JsonOption();
        var command = new Command("doctor",
            "Prints versions, device, threads, memory, what was patched and what is missing. Exit code 1 when "
            + "something is.\n\n"
            + "Examples:\n  reasongen doctor\n  reasongen doctor --json") { json };
        command.SetAction(parsed =>
        {
            var (facts, missing) = Examine();
            if (parsed.GetValue(json))
            {
                CommandLine.PrintJson(new
                {
                    facts = facts.ToDictionary(fact => fact.Name, fact => fact.Value), missing,
                });
            }
            else
            {
                var grid = new Grid().AddColumn().AddColumn();
                facts.ForEach(fact => grid.AddRow($"[bold]{Markup.Escape(fact.Name)}[/]", Markup.Escape(fact.Value)));
                Terminal.Print(grid);
                var console = Terminal.Console();
                missing.ForEach(what => console.MarkupLine($"[red]missing[/] {Markup.Escape(what)}"));
                console.MarkupLine(missing.Count == 0 ? "[green]Nothing is missing.[/]" : "");
            }

            return missing.Count == 0 ? 0 : 1;
        });
        return command;
    }

    private static (List<(string Name, string Value)> Facts, List<string> Missing) Examine()
    {
        var memory = GC.GetGCMemoryInfo();
        List<(string, string)> facts =
        [
            ("Revision", RunRecord.CurrentCommit),
            ("Runtime",
                $"{RuntimeInformation.FrameworkDescription} on {RuntimeInformation.OSDescription}, "
                + $"{RuntimeInformation.OSArchitecture}"),
            ("TorchSharp", typeof(TorchSharp.torch).Assembly.GetName().Version!.ToString()),
        ];
        List<string> missing = [];
        try
        {
            NativeRuntime.EnsureLoaded();
            var count = cuda.is_available() ? cuda.device_count() : 0;
            facts.AddRange(Gpus.All.Select(gpu => ($"GPU {gpu.Index}", $"{gpu.Name}, {gpu.Bytes / 1073741824.0:0.0} GiB"
                + (gpu.Index < count ? $", cuda:{gpu.Index} to libtorch" : ", which libtorch does not see"))));
            facts.Add(("GPU driver", Gpus.Driver ?? "none"));
            facts.Add(("libtorch sees", count == 0 ? $"no GPU: {Gpus.WhyNoMore(0)}"
                : $"{count} GPU{(count == 1 ? "" : "s")}, cuDNN {(cuda.is_cudnn_available() ? "too" : "not")}"));
            facts.Add(("Device", $"{ComputeTarget.Default}"));
            facts.Add(("Threads", $"{get_num_threads()} of {Environment.ProcessorCount} processors"));
            var error = ConvolutionCheck.Error();
            facts.Add(
                ("Convolutions", string.Create(CultureInfo.InvariantCulture, $"within {error:0.0e0} of their sums")
                + (NativeRuntime.HasSlowBfloat16 ? "; held to AVX, as this machine hides its processor's caches"
                    : "")));
            if (!(error < 1e-4))
            {
                missing.Add(
                    "libtorch computes convolutions wrongly on this processor; set ONEDNN_MAX_CPU_ISA=AVX and look "
                    + "again");
            }
        }
        // no libtorch, or no such device
        catch (Exception e) when (e is PlatformNotSupportedException or ArgumentException)
        {
            missing.Add(e.Message);
        }

        facts.Add(("libtorch", NativeRuntime.LibTorch));
        if (NativeRuntime.LoadedFiles() is { Count: > 1 } files)
        {
            missing.Add($"one libtorch: this process has loaded {string.Join(" and ", files)}; unset "
                + "REASONGEN_LIBTORCH");
        }

        facts.Add(("Native library", NativeRuntime.Preparation));
        facts.AddRange(RankGroup.Libraries());
        facts.Add(("Memory", $"{memory.TotalAvailableMemoryBytes / 1073741824.0:0.0} GiB"));
        facts.Add(
            ("Disk here",
                $"{new DriveInfo(Directory.GetCurrentDirectory()).AvailableFreeSpace / 1073741824.0:0.0} GiB free"));
        try
        {
            var data = Study.DataFolder();
            facts.Add(("Data", data));
            missing.AddRange(Study.ShippedFiles().Where(file => !File.Exists(Path.Combine(data, file)))
                .Select(file => $"{Path.Combine(data, file)}; 'reasongen study' makes it again"));
        }
        catch (UnusableFileException e)
        {
            missing.Add(e.Message);
        }

        return (facts, missing);
    }
}
