using System.Runtime.CompilerServices;
using Microsoft.DotNet.Interactive;
using Microsoft.DotNet.Interactive.Directives;
using ReasonGen.Notebook;
using ReasonGen.Core;
using ReasonGen.Native;
using ReasonGen.Studies;

namespace ReasonGen.Interactive;

/// <summary>
/// The kit in .NET Interactive: its formatters, progress that is renewed in place, loops that end at the stop button,
/// and the magic
/// <c>#!reasongen</c>. The kit loads it by itself when its first type is used in a cell.
/// </summary>
public sealed class ReasonGenExtension : IKernelExtension
{
    private const string Magic = "#!reasongen";

    /// <summary>Attaches the kit to the kernel whose cell is running; called by the kit when it is loaded.</summary>
    public static void AttachToRunningKernel() => Attach(KernelInvocationContext.Current?.HandlingKernel);

    /// <summary>Attaches the kit to a kernel. Doing so again changes nothing.</summary>
    public Task OnLoadAsync(Kernel kernel)
    {
        RuntimeHelpers.RunModuleConstructor(typeof(Lab).Module.ModuleHandle); // registers the kit's formatters
        Attach(kernel);
        return Task.CompletedTask;
    }

    private static void Attach(Kernel? kernel)
    {
        KernelBridge.Current =
            new KernelBridge(Display, () => KernelInvocationContext.Current?.CancellationToken ?? default);
        var root = kernel?.RootKernel;
        if (root is not null && root.KernelInfo.SupportedDirectives.All(directive => directive.Name != Magic))
        {
            var magic = new KernelActionDirective(Magic)
            {
                Description = "Shows the versions and the device of ReasonGen, and what to call.",
            };
            root.AddDirective(magic, (_, context) =>
            {
                context.Display(About());
                return Task.CompletedTask;
            });
        }
    }

    // What the cell function display returns here carries an id that was never sent, so that its Update reaches nothing
    // (dotnet/interactive,
    // KernelInvocationContext.Display keeps one id). A cell's own display takes over where no cell is known, as on a
    // thread of its own.
    private static Action<object>? Display(object first)
    {
        if (KernelInvocationContext.Current is not { IsComplete: false } context)
        {
            return null;
        }

        var shown = context.Display(first);
        return next => shown.Update(next);
    }

    private static IHtml About() => Show.Stack(
        Show.Table(["", ""],
        [
            ["ReasonGen", $"{typeof(Lab).Assembly.GetName().Version!.ToString(3)}, revision {RunRecord.CurrentCommit}"],
            ["libraries",
                $".NET {Environment.Version}, TorchSharp "
                + $"{typeof(TorchSharp.torch).Assembly.GetName().Version!.ToString(3)}, .NET Interactive "
                + $"{typeof(Kernel).Assembly.GetName().Version}"],
            ["native library", NativeRuntime.Preparation],
            ["computing on", $"{ComputeTarget.Default}, {TorchSharp.torch.get_num_threads()} threads"],
            ["data", Study.DataFolder()],
        ]),
        Show.Table(["call", "for"],
        [
            ["Lab.Start(preset, seed, output)",
                "the study with its models, trainers and recorded runs; preset is smoke, quick or full"],
            ["kit.Live.Run(items, total, label)",
                "a loop whose progress is shown in place and which ends at the stop button"],
            ["Show.Images, Show.Table, Plot.Lines", "images, tables and figures"],
            ["kit.About", "preset, seed, versions and device of this notebook"],
        ]));
}
