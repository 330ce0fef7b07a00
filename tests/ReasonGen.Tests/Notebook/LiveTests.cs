using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Notebooks;
using ReasonGen.Notebook;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Notebook;

/// <summary>Progress that is shown while a cell trains. In one collection, since the token is the process's.</summary>
[Collection(nameof(Live))]
public sealed class LiveTests : IDisposable
{
    private readonly CellRecorder cell = new(1);

    private Live Shown => new(first =>
    {
        string Html(object value) => ((IHtml)value).ToHtml();
        cell.Display(new JObject { ["text/html"] = Html(first) }, "one");
        return next => cell.Update(new JObject { ["text/html"] = Html(next) }, "one");
    });

    private string Text => (string)cell.Outputs.Single()["data"]!["text/html"]!;

    [Fact]
    public void A_loop_gives_back_its_items_and_the_cell_keeps_the_last_state_alone()
    {
        Assert.Equal([0, 1, 2],
            Shown.Run(Enumerable.Range(0, 3), 3, "count & more", item => new Html($"<b>look {item}</b>"),
                ("value", item => item)));
        Assert.Contains("count &amp; more: 3 of 3", Text);
        Assert.DoesNotContain("to go", Text);
        Assert.Contains("rg-plotly", Text);
        Assert.Contains("<b>look 2</b>", Text);
        Assert.DoesNotContain("<b>look 1</b>", Text);
    }

    [Fact]
    public void Curves_of_a_long_run_are_drawn_as_means_of_neighbours()
    {
        Shown.Run(Enumerable.Range(0, 20_000), 20_000, "long", ("value", item => item % 100));
        Assert.InRange(Text.Length, 1_000, 100_000);
    }

    [Fact]
    public void A_slow_look_is_asked_for_as_often_as_the_budget_allows()
    {
        var (live, looks, watch) = (Shown, 0, Stopwatch.StartNew());
        IEnumerable<int> Work()
        {
            while (watch.Elapsed < TimeSpan.FromSeconds(4))
            {
                Thread.Sleep(5);
                yield return 1;
            }
        }

        live.Run(Work(), 1000, "slow", _ =>
        {
            looks++;
            Thread.Sleep(30);
            return new Html("");
        });
        Assert.InRange(looks, 1, 3); // one in three seconds, and the last; a busy machine allows fewer
        Assert.True(live.Overhead > looks * TimeSpan.FromMilliseconds(25), $"{live.Overhead} for {looks} looks");
    }

    [Fact]
    public void An_interrupt_ends_the_loop_after_the_item_at_hand_and_it_can_be_run_again()
    {
        using var stop = new CancellationTokenSource();
        var made = 0;
        IEnumerable<int> Work()
        {
            for (; ; made++)
            {
                yield return made;
            }
        }

        Live.Cancellation = stop.Token;
        Assert.Throws<OperationCanceledException>(() => Shown.Run(Work(), 100, "work", item =>
        {
            stop.Cancel();
            return null;
        }, ("value", item =>
        {
            if (item == 5)
            {
                stop.Cancel();
            }

            return item;
        })));
        Assert.Equal(5, made);
        Assert.Contains("work: 6 of 100", Text);
        Assert.Contains("interrupted", Text);
        Live.Cancellation = default;
        Assert.Equal([5, 6], Shown.Run(Work().Take(2), 2, "more"));
    }

    [Fact]
    public void An_interrupt_before_the_start_begins_nothing()
    {
        Live.Cancellation = new CancellationToken(true);
        Assert.Throws<OperationCanceledException>(() =>
            Shown.Run(Enumerable.Range(0, 3).Select<int, int>(_ => throw new InvalidOperationException("began")), 3,
                "work"));
    }

    [Fact]
    public void A_stage_that_goes_on_is_counted_from_where_it_was()
    {
        var record = new RunRecord("sft", 1, "command");
        for (var i = 0; i < 7; i++)
        {
            record.Add(("step", i), ("loss", 3 - 0.1 * i), ("seconds", 1));
        }

        var follow = Shown.Follow();
        for (var i = 7; i < 10; i++)
        {
            record.Add(("step", i), ("loss", 3 - 0.1 * i), ("seconds", 1));
            follow(record, 10);
        }

        Assert.Contains("sft: 10 of 10", Text);
        Assert.Contains("rg-plotly", Text);
    }

    [Fact]
    public void A_stage_that_is_run_again_is_shown_anew_where_the_run_before_was_broken_off()
    {
        var shown = 0;
        var follow = new Live(_ =>
        {
            shown++;
            return _ => { };
        }).Follow();
        foreach (var record in new[] { new RunRecord("sft", 1, "command"), new RunRecord("sft", 1, "command") })
        {
            record.Add(("step", 0), ("loss", 3), ("seconds", 1));
            follow(record, 10);
            record.Add(("step", 1), ("loss", 2), ("seconds", 1));
            follow(record, 10);
        }

        Assert.Equal(2, shown);
    }

    public void Dispose() => Live.Cancellation = default;
}
