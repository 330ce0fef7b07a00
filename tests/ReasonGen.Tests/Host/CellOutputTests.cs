using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;
using ReasonGen.Host.Kernel;
using ReasonGen.Host.Notebooks;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What becomes of what cells show: in a notebook file, and on its way to a front end.</summary>
public sealed class CellOutputTests
{
    private const string Smile = "\U0001F600";
    private readonly CSharpSession session = new(Directory.GetCurrentDirectory());
    private readonly CSharpSessionTests.Shown shown = new();

    [Theory]
    [InlineData(199_999, 2, "2 characters more")]
    [InlineData(199_998, 0, "")]
    public void A_long_stream_is_cut_between_characters(int before, int cut, string said)
    {
        var cell = new CellRecorder(1);
        cell.Stream("stdout", new string('x', before) + Smile[0]);
        cell.Stream("stdout", Smile[1..]);
        var text = (string)cell.Outputs.Single()["text"]!;
        Assert.StartsWith(new string('x', before) + Smile[..(2 - cut)] + (cut > 0 ? "\n" : ""), text);
        Assert.Contains(said, text);
        Assert.Equal(cut == 0 ? 1 : 0, text.Count(char.IsSurrogate) / 2);
    }

    [Fact]
    public void Halves_of_a_character_are_sent_together_and_one_alone_at_the_end()
    {
        List<string> sent = [];
        var output = new KernelOutput((_, message) => sent.Add((string)message["text"]!), (_, _) => "", 1);
        output.Stream("stdout", "a" + Smile[0]);
        output.Read("", false); // sends what waits
        output.Stream("stdout", Smile[1..]);
        output.Read("", false);
        output.Stream("stdout", "b" + Smile[0]);
        output.Dispose();
        Assert.Equal(["a", Smile, "b" + Smile[0]], sent);
    }

    [Fact]
    public void What_another_cell_displayed_is_updated_where_it_stands()
    {
        var owners = new System.Collections.Concurrent.ConcurrentDictionary<string, CellRecorder>();
        var (first, second) = (new CellRecorder(1, owners: owners), new CellRecorder(2, owners: owners));
        first.Display(new JObject { ["text/plain"] = "old" }, "id");
        _ = first.Outputs;
        second.Update(new JObject { ["text/plain"] = "new" }, "id");
        second.Update(new JObject { ["text/plain"] = "lost" }, "another's");
        Assert.True(first.HasNews);
        Assert.Equal("new", (string?)first.Outputs.Single()["data"]!["text/plain"]);
        Assert.Empty(second.Outputs);
    }

    [Fact]
    public async Task An_update_is_sent_by_the_cell_that_makes_it()
    {
        var later = new CSharpSessionTests.Shown();
        Assert.True((await Run("var d = display(\"one\"); var go = new System.Threading.ManualResetEventSlim(); "
            + "var left = new System.Threading.Thread(() => { go.Wait(); d.Update(\"left\"); }); left.Start();")).Ok);
        Assert.True((await session.RunAsync("d.Update(\"two\"); go.Set(); left.Join();", later)).Ok);
        Assert.Equal("two", (string?)later.Updates.Single().Properties().First().Value);
        Assert.Equal("left", (string?)shown.Updates.Single().Properties().First().Value);
    }

    [Fact]
    public async Task What_a_stopped_cell_displayed_can_be_updated()
    {
        using var stop = new CancellationTokenSource();
        var cell = session.RunAsync("var d = display(\"before\"); while (true) { }", shown, cancel: stop.Token);
        await Until.HoldsAsync(() => shown.Displays.Count == 1, "something displayed");
        stop.Cancel();
        Assert.Equal("Interrupted", (await cell).ErrorName);
        var after = await Run("d.Update(\"after\");");
        Assert.True(after.Ok, after.ErrorValue);
        Assert.Equal("after", (string?)shown.Updates.Single().Properties().First().Value);
    }

    [Fact]
    public async Task The_rest_of_an_answer_is_the_cells_that_asked()
    {
        Assert.True((await Run("Console.Write((char)Console.Read()); Console.Write(Console.ReadLine());")).Ok);
        Assert.True((await Run("Console.Write((char)Console.Read());")).Ok);
        Assert.True((await Run("Console.Write(Console.In.Peek()); Console.Write(Console.ReadLine());")).Ok);
        Assert.Equal("yes" + "y" + "-1" + "yes", shown.Text("stdout"));
    }

    private Task<CellResult> Run(string code) => session.RunAsync(code, shown);
}
