using System.Text.RegularExpressions;
using System.Xml;
using System.Xml.Linq;
using Jint;
using Jint.Runtime;
using JavaScript = Jint.Engine;

namespace ReasonGen.Host.Notebooks;

/// <summary>
/// LaTeX as MathML, which browsers draw without scripts. The converter is Temml (temml/, MIT), run by Jint within
/// bounds that do not depend on the machine's speed. What it gives is rebuilt from elements and attributes that are
/// known.
/// </summary>
internal static partial class Formulas
{
    private const int Longest = 4000; // characters of a formula
    // of JavaScript; loading takes a tenth
    private const int MostStatements = 20_000_000, MostBytes = 400_000_000, DeepestCalls = 1000;
    private static readonly Dictionary<(string, bool), string> Known = [];
    private static readonly SafeStyle Styles = new();
    private static readonly Lock Turn = new();
    private static JavaScript? engine;

    private static readonly HashSet<string> Elements =
    [
        "math", "mi", "mn", "mo", "mtext", "ms", "mspace", "mrow", "mfrac", "msqrt", "mroot", "mstyle", "mpadded",
        "mphantom", "msub", "msup", "msubsup",
        "munder", "mover", "munderover", "mmultiscripts", "mprescripts", "none", "mtable", "mtr", "mtd", "menclose",
        "merror",
    ];

    private static readonly HashSet<string> Attributes =
    [
        "display", "displaystyle", "scriptlevel", "mathvariant", "mathcolor", "mathbackground", "dir", "stretchy",
        "symmetric", "largeop", "movablelimits",
        "fence", "separator", "form", "lspace", "rspace", "minsize", "maxsize", "accent", "accentunder",
        "linethickness", "width", "height", "depth", "voffset",
        "columnalign", "rowalign", "columnspacing", "rowspacing", "columnlines", "rowlines", "frame", "columnspan",
        "rowspan", "notation", "class", "style",
    ];

    /// <summary>A formula as MathML; where it cannot be read, its source.</summary>
    /// <param name="latex">Without its dollar signs.</param>
    /// <param name="display">Whether it stands on lines of its own.</param>
    internal static string ToHtml(string latex, bool display)
    {
        lock (Turn)
        {
            return Known.TryGetValue((latex, display), out var html) ? html
                : Known[(latex, display)] = Convert(latex.Trim(), display);
        }
    }

    private static string Convert(string latex, bool display)
    {
        try
        {
            if (latex.Length is > 0 and <= Longest)
            {
                engine ??= Load();
                var mathml = engine.Invoke("convert", latex, display).AsString();
                return Rebuilt(XElement.Parse(mathml.Replace("&nbsp;", "\u00A0")))
                    .ToString(SaveOptions.DisableFormatting);
            }
        }
        catch (Exception e)
            when (e is JintException or XmlException or InvalidOperationException
                or InsufficientExecutionStackException)
        {
            engine = e is JavaScriptException ? engine : null; // broken off within its bounds, it may be in any state
        }

        var mark = display ? "$$" : "$";
        return $"<code title=\"a formula that could not be read\">{Notebook.Html.Escape(mark + latex + mark)}</code>";
    }

    private static JavaScript Load()
    {
        using var reader = new StreamReader(typeof(Formulas).Assembly.GetManifestResourceStream("temml.min.js")!);
        var made = new JavaScript(options =>
            options.MaxStatements(MostStatements).LimitMemory(MostBytes).LimitRecursion(DeepestCalls));
        made.Execute(reader.ReadToEnd());
        made.Execute("function convert(latex, display) { return temml.renderToString(latex, "
            + "{ displayMode: display, throwOnError: true, trust: false, maxExpand: 200, maxSize: [50, 50] }); }");
        return made;
    }

    private static XElement Rebuilt(XElement element)
    {
        if (!Elements.Contains(element.Name.LocalName))
        {
            throw new InvalidOperationException($"<{element.Name.LocalName}> is no element of a formula");
        }

        return new XElement(element.Name.LocalName,
            element.Attributes().Where(one => Attributes.Contains(one.Name.LocalName))
                .Select(one => (Name: one.Name.LocalName, Value: Kept(one)))
                .Where(one => Harmless().IsMatch(one.Value)).Select(one => new XAttribute(one.Name, one.Value)),
            element.Nodes()
                .Select(node =>
                    node is XElement inner ? (object)Rebuilt(inner) : new XText((node as XText)?.Value ?? "")));
    }

    // of classes the converter's own: others have a meaning in the page
    private static string Kept(XAttribute one) => one.Name.LocalName switch
    {
        "style" => Styles.Of(one.Value),
        "class" =>
            string.Join(' ', one.Value.Split(' ').Where(name => name.StartsWith("tml-") || name.StartsWith("chr-"))),
        _ => one.Value,
    };

    // words, numbers, lengths and colours; no address and no function
    [GeneratedRegex(@"\A[\w #%.,:;+-]+\z")]
    private static partial Regex Harmless();
}
