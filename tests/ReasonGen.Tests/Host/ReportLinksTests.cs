using Newtonsoft.Json.Linq;
using ReasonGen.Host.Notebooks;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>Links within a notebook, as its report has them.</summary>
public sealed class ReportLinksTests : IDisposable
{
    private readonly TestFolder folder = new();

    [Theory]
    [InlineData("[x](#Results-&-more)", "<a href=\"#a--results-more\">x</a>")]
    [InlineData("[x](#results-&-more)", "<a href=\"#a--results-more\">x</a>")]
    [InlineData("[x](#Results-more)", "<a href=\"#a--results-more\">x</a>")]
    [InlineData("[x](#Ergebnisse-ü)", "<a href=\"#a--ergebnisse-&#252;\">x</a>")]
    [InlineData("<a href=\"#Results-&amp;-more\">x</a>", "<a href=\"#a--results-more\">x</a>")]
    [InlineData("[x](#The-title)", "<a href=\"#a\">x</a>")]
    [InlineData("[x](#here)", "<a href=\"#a-3-here\">x</a>")]
    [InlineData("[x](#there)", "<a href=\"#a-3-there\">x</a>")]
    [InlineData("<a href=\"#own\">x</a><b id=\"own\">y</b>", "<a href=\"#a-2-own\">x</a>")]
    [InlineData("[x](b.ipynb#part)", "<a href=\"#b\">x</a>")]
    [InlineData("[x](#nowhere)", "<a>x</a>")]
    [InlineData("[x](#summary)", "<a>x</a>")]
    [InlineData("[x](#)", "<a>x</a>")]
    [InlineData("Write `<a href=\"#here\">`", "&lt;a href=\"#here\"&gt;")]
    public void A_link_leads_to_a_heading_or_an_anchor_of_the_notebook_or_nowhere(string link, string expected) =>
        Assert.Contains(expected, Laid(link, trust: false));

    [Theory]
    [InlineData("[x](#results-&-more)", "<a href=\"#a--results-more\">x</a>")]
    [InlineData("[x](#here)", "<a href=\"#here\">x</a>")]
    [InlineData("[x](b.ipynb)", "<a href=\"#b\">x</a>")]
    public void Html_that_is_trusted_keeps_its_ids(string link, string expected) =>
        Assert.Contains(expected, Laid(link, trust: true));

    [Theory]
    [InlineData("![x](attachment:p.png)", "p.png", false)]
    [InlineData("![x](attachment:a%20%5Bb%5D%20caf%C3%A9.png)", "a%20%5Bb%5D%20caf%C3%A9.png", false)]
    [InlineData("![x](attachment:a%20b.png)", "a b.png", true)]
    [InlineData("<img src=\"attachment:a%20b.png\">", "a%20b.png", false)]
    [InlineData("<img src=\"attachment:a%20b.png\">", "a b.png", false)]
    [InlineData("<img alt='x' width=9 src=\"attachment:a%20b.png\">", "a%20b.png", true)]
    [InlineData("text <img src='attachment:a&amp;b.png'/> text", "a&b.png", true)]
    [InlineData("<p>\n<img\n src=attachment:p.png >\n</p>", "p.png", true)]
    public void An_attached_image_is_shown_however_it_is_named(string source, string key, bool trust)
    {
        folder.Write("a.ipynb", new JObject
        {
            ["nbformat"] = 4,
            ["cells"] = new JArray(new JObject
            {
                ["cell_type"] = "markdown", ["source"] = source,
                ["attachments"] = new JObject { [key] = new JObject { ["image/png"] = "AAAA" } },
            }),
        }.ToString());
        var laid = new ReportCells(NotebookFile.Read(folder.At("a.ipynb")), "a", _ => null, trust).All();
        Assert.Contains("src=\"data:image/png;base64,AAAA\"", laid);
        Assert.DoesNotContain("attachment:", laid);
    }

    private string Laid(string link, bool trust)
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("# The title", "markdown"), (link, "markdown"),
            ("## Results & more\n\n<a id=\"here\"></a><a name=\"there\"></a>text\n\n### Ergebnisse ü", "markdown"));
        return new ReportCells(NotebookFile.Read(folder.At("a.ipynb")), "a", name => name == "b.ipynb" ? "b" : null,
            trust).All();
    }

    public void Dispose() => folder.Dispose();
}
