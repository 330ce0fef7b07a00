using System.CommandLine;
using ReasonGen.Core;

namespace ReasonGen.Host.Commands;

/// <summary>Where a command computes: --device, else REASONGEN_DEVICE, else a GPU where there is one.</summary>
internal static class DeviceOption
{
    private const string Name = "--device";

    /// <summary>The option of every command that computes.</summary>
    internal static Option<string?> Create() => new Option<string?>(Name)
    {
        Description =
            "Where to compute: cpu, cuda or cuda:1, with ,fp32 or ,bf16 behind it for the type of the weights. "
            + $"Default: what {ComputeTarget.Variable} says, else a GPU where there is one, in bf16, else the CPU in "
            + $"fp32.",
        HelpName = "device",
    }.Suggesting("cpu", "cuda", "cuda:1", "cuda,fp32");

    /// <summary>Where to compute from here on, in this process and those that it starts.</summary>
    /// <exception cref="ArgumentException">There is no such device, or it is not there.</exception>
    internal static ComputeTarget Use(ParseResult parsed) => Use(parsed.GetValue<string?>(Name), Name);

    /// <summary>The same, of a device that was given in another way; null where none was.</summary>
    internal static ComputeTarget Use(string? device, string source)
    {
        if (device is not null)
        {
            ComputeTarget.Default = ComputeTarget.Parse(device, source);
            Environment.SetEnvironmentVariable(ComputeTarget.Variable, device);
        }

        return ComputeTarget.Default;
    }
}
