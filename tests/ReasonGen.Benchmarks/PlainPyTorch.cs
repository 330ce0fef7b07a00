using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;

namespace ReasonGen.Benchmarks;

/// <summary>The loops of pytorch_loops.py, where a python3 that has torch is at hand.</summary>
internal static class PlainPyTorch
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private static readonly Lazy<string?> Python =
        new(() =>
            new[] { "python3",
                "/usr/bin/python3" }.FirstOrDefault(python => Output(python, "-c", "import torch") is not null));

    /// <summary>Prints how long a step of the loop takes, and how many times as long as ours that is.</summary>
    /// <param name="ours">Seconds of one step of ours.</param>
    /// <param name="amount">What a step makes, in <paramref name="unit"/>.</param>
    /// <param name="unit">Its name.</param>
    /// <param name="arguments">Of the script.</param>
    internal static void Compare(double ours, double amount, string unit, params object[] arguments)
    {
        string[] words = [Path.Combine(AppContext.BaseDirectory, "pytorch_loops.py"),
            .. arguments.Select(value => $"{value}")];
        var answer = Python.Value is { } python ? Output(python, words)?.Split() : [];
        Console.WriteLine(answer switch
        {
            [] => "    no plain PyTorch loop beside it: no python3 here can import torch",
            [var version, var text, ..] when double.Parse(text, CultureInfo.InvariantCulture) is var seconds =>
                $"    a plain PyTorch {version} loop: {1 / seconds:0.00} steps/s,"
                + $" {amount / seconds:0.0} {unit}/s; it takes {seconds / ours:0.00} times as long",
            _ => $"    the plain PyTorch loop failed, or took more than {Patience.TotalMinutes} minutes",
        });
    }

    private static string? Output(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments)
            {
                RedirectStandardOutput = true, RedirectStandardError = true,
            })!;
            process.ErrorDataReceived += (_, _) => { };
            process.BeginErrorReadLine();
            var output = process.StandardOutput.ReadToEndAsync();
            if (!process.WaitForExit(Patience))
            {
                process.Kill(entireProcessTree: true);
                return null;
            }

            return process.ExitCode == 0 ? output.Result : null;
        }
        catch (Win32Exception)
        {
            return null;
        }
    }
}
