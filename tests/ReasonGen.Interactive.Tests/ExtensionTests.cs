using System.Diagnostics;
using Microsoft.DotNet.Interactive.Commands;
using Microsoft.DotNet.Interactive.Events;

namespace ReasonGen.Interactive.Tests;

public sealed class ExtensionTests : IDisposable
{
    private const string Start = """
        #r "../lib/ReasonGen.Notebook/bin/Release/net10.0/ReasonGen.Notebook.dll"
        using ReasonGen.Notebook;
        var kit = Lab.Start("smoke", 1, x => { var shown = display(x); return y => shown.Update(y); });
        """;

    private readonly InteractiveKernel kernel = new();

    public void Dispose() => kernel.Dispose();

    [Fact]
    public async Task Live_progress_in_a_cell_is_renewed_in_place()
    {
        await kernel.RunAsync(Start);

        var events = await kernel.RunAsync("""kit.Live.Run(Enumerable.Range(0, 3), 3, "counting");""");

        var first = Assert.Single(events.OfType<DisplayedValueProduced>());
        var updates = events.OfType<DisplayedValueUpdated>().ToArray();
        Assert.NotEmpty(updates);
        Assert.All(updates, update => Assert.Equal(first.ValueId, update.ValueId));
        Assert.Contains("counting: 3 of 3",
            updates[^1].FormattedValues.Single(value => value.MimeType == "text/html").Value);
    }

    [Fact]
    public async Task Live_loop_that_is_stopped_ends_and_the_next_cell_runs()
    {
        await kernel.RunAsync(Start);
        var begun = new TaskCompletionSource();
        AppContext.SetData("begun", begun);
        await kernel.RunAsync("var seen = 0;");
        var endless = kernel.SendAsync(new SubmitCode("""
            kit.Live.Run(Enumerable.Range(0, int.MaxValue), int.MaxValue, "waiting", i =>
            {
                seen++;
                ((TaskCompletionSource)AppContext.GetData("begun")).TrySetResult();
                System.Threading.Thread.Sleep(20);
                return null;
            });
            """));
        await begun.Task;
        await kernel.SendAsync(new Cancel());
        await endless;

        // the step at hand ends, and no other begins
        var (before, since) = (Value(await kernel.RunAsync("seen")), Stopwatch.StartNew());
        for (object after; ; before = after)
        {
            await Task.Delay(300);
            after = Value(await kernel.RunAsync("seen"));
            if (after.Equals(before))
            {
                return;
            }

            Assert.True(since.Elapsed < TimeSpan.FromMinutes(1), "the loop goes on");
        }
    }

    [Fact]
    public async Task Magic_shows_versions_device_and_data()
    {
        await kernel.RunAsync(Start);

        var shown = Assert.Single((await kernel.RunAsync("#!reasongen")).OfType<DisplayedValueProduced>());

        var html = shown.FormattedValues.Single(value => value.MimeType == "text/html").Value;
        Assert.All(["TorchSharp", "threads", Path.Combine(InteractiveKernel.Root, "data"), "Lab.Start"],
            part => Assert.Contains(part, html));
    }

    [Fact]
    public async Task Kit_types_are_shown_by_the_kits_formatters()
    {
        await kernel.RunAsync(Start);

        var shown = Assert.Single((await kernel.RunAsync("kit.About")).OfType<ReturnValueProduced>());

        Assert.Contains("<table", shown.FormattedValues.Single(value => value.MimeType == "text/html").Value);
    }

    private static object Value(IEnumerable<KernelEvent> events) => events.OfType<ReturnValueProduced>().Single().Value;
}
