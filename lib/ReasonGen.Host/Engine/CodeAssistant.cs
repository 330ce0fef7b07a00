using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Completion;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Host.Mef;
using Microsoft.CodeAnalysis.QuickInfo;
using Microsoft.CodeAnalysis.Scripting;
using Microsoft.CodeAnalysis.Text;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Engine;

/// <summary>Cursor positions: Jupyter counts characters of Unicode, C# counts halves of them where they are
/// large.</summary>
internal static class CodePosition
{
    internal static int FromJupyter(string code, int? position)
    {
        var at = 0;
        for (var left = position ?? code.Length; left > 0 && at < code.Length; left--)
        {
            at += char.IsHighSurrogate(code[at]) && at + 1 < code.Length ? 2 : 1;
        }

        return at;
    }

    internal static int ToJupyter(string code, int position) =>
        position - code.AsSpan(0, position).ToArray().Count(char.IsLowSurrogate);
}

/// <summary>Completion and inspection by Roslyn, on the code of a cell after those that the session has run.</summary>
internal sealed class CodeAssistant(CSharpSession session)
{
    private const int MostMatches = 400;
    private static readonly CSharpParseOptions Parsing = new(LanguageVersion.Latest, kind: SourceCodeKind.Script);
    private readonly Lazy<AdhocWorkspace> workspace = new(() => new AdhocWorkspace(MefHostServices.DefaultHost));
    private readonly SemaphoreSlim gate = new(1, 1);
    private readonly Dictionary<Script, ProjectId> links = [];

    /// <summary>Whether a cell is whole, wants more lines, or is wrong.</summary>
    internal static JObject IsComplete(string code)
    {
        code = CellParts.Blanked(code);
        if (CellNesting.TooDeepAt(code) is not null)
        {
            return new JObject { ["status"] = "invalid" };
        }

        var tree = CSharpSyntaxTree.ParseText(code, Parsing);
        return !SyntaxFactory.IsCompleteSubmission(tree)
            ? new JObject { ["status"] = "incomplete", ["indent"] = code.TrimEnd().EndsWith('{') ? "    " : "" }
            : new JObject
            {
                ["status"] = tree.GetDiagnostics().Any(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error)
                    ? "invalid" : "complete",
            };
    }

    /// <summary>What may stand at the cursor: the content of a complete_reply.</summary>
    internal async Task<JObject> CompleteAsync(string code, int cursor)
    {
        var line = code[(cursor == 0 ? 0 : code.LastIndexOf('\n', cursor - 1) + 1)..cursor];
        if (line.StartsWith("#!"))
        {
            return Matches(code, cursor - line.Length, cursor,
                CellParts.Magics.Select(magic => ("#!" + magic, "magic")).Where(magic => magic.Item1.StartsWith(line)));
        }

        if (CellNesting.TooDeepAt(code) is not null)
        {
            return Matches(code, cursor, cursor, []);
        }

        await gate.WaitAsync();
        try
        {
            var document = Open(code);
            var service = CompletionService.GetService(document)!;
            var list = await service.GetCompletionsAsync(document, cursor);
            var typed = code[list.Span.Start..Math.Max(list.Span.Start, cursor)];
            var items =
                list.ItemsList.Where(item => item.FilterText.Contains(typed, StringComparison.OrdinalIgnoreCase))
                .OrderBy(item =>
                    item.FilterText.StartsWith(typed, StringComparison.Ordinal) ? 0
                        : item.FilterText.StartsWith(typed, StringComparison.OrdinalIgnoreCase) ? 1 : 2)
                .ThenBy(item => item.SortText, StringComparer.Ordinal)
                .Select(item => (item.DisplayText, item.Tags.FirstOrDefault()?.ToLowerInvariant() ?? ""))
                .DistinctBy(item => item.DisplayText);
            return Matches(code, list.Span.Start, cursor, items);
        }
        finally
        {
            gate.Release();
        }
    }

    /// <summary>Signature and documentation of what stands at the cursor, or of the call whose arguments it is in: the
    /// content of an inspect_reply.</summary>
    internal async Task<JObject> InspectAsync(string code, int cursor)
    {
        if (CellNesting.TooDeepAt(code) is not null)
        {
            return new JObject { ["found"] = false, ["metadata"] = new JObject(), ["data"] = new JObject() };
        }

        await gate.WaitAsync();
        try
        {
            var document = Open(code);
            var text = await QuickInfoAsync(document, cursor)
                ?? (cursor > 0 ? await QuickInfoAsync(document, cursor - 1) : null)
                ?? await SignaturesAsync(document, cursor);
            return new JObject
            {
                ["found"] = text is not null, ["metadata"] = new JObject(),
                ["data"] = text is null ? new JObject() : new JObject { ["text/plain"] = text },
            };
        }
        finally
        {
            gate.Release();
        }
    }

    private static JObject Matches(string code, int start, int end, IEnumerable<(string Text, string Kind)> items)
    {
        (string Text, string Kind)[] shown = [.. items.Take(MostMatches)];
        var (from, to) = (CodePosition.ToJupyter(code, start), CodePosition.ToJupyter(code, end));
        return new JObject
        {
            ["matches"] = new JArray(shown.Select(item => item.Text)), ["cursor_start"] = from, ["cursor_end"] = to,
            ["metadata"] = new JObject
            {
                ["_jupyter_types_experimental"] = new JArray(
                    shown.Select(item =>
                        new JObject { ["text"] = item.Text, ["type"] = item.Kind, ["start"] = from, ["end"] = to })),
            },
        };
    }

    private static async Task<string?> QuickInfoAsync(Document document, int cursor)
    {
        var info = await QuickInfoService.GetService(document)!.GetQuickInfoAsync(document, cursor);
        return info is { Sections.Length: > 0 }
            ? string.Join("\n\n", info.Sections.Select(section => section.Text.Trim()).Where(text => text.Length > 0))
            : null;
    }

    private static async Task<string?> SignaturesAsync(Document document, int cursor)
    {
        var (root, model) = (await document.GetSyntaxRootAsync(), await document.GetSemanticModelAsync());
        var call = root!.FindToken(Math.Max(0, cursor - 1)).Parent?.AncestorsAndSelf()
            .FirstOrDefault(node => node is InvocationExpressionSyntax or BaseObjectCreationExpressionSyntax);
        IEnumerable<ISymbol> symbols = call switch
        {
            InvocationExpressionSyntax invocation => model!.GetMemberGroup(invocation.Expression),
            BaseObjectCreationExpressionSyntax creation =>
                (model!.GetTypeInfo(creation).Type as INamedTypeSymbol)?.InstanceConstructors ?? [],
            _ => [],
        };
        var texts = symbols.Select(symbol => symbol.ToMinimalDisplayString(model!, cursor) + Summary(symbol)).ToArray();
        return texts.Length == 0 ? null : string.Join("\n\n", texts);
    }

    private static string Summary(ISymbol symbol)
    {
        var xml = symbol.GetDocumentationCommentXml() is { Length: > 0 } text ? text : null;
        return xml is null ? ""
            : "\n    "
                + string.Join(' ',
                    System.Xml.Linq.XElement.Parse($"<doc>{xml}</doc>").Descendants("summary")
                        .Select(summary => summary.Value)
            .SelectMany(value => value.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)));
    }

    // A cell as a document after those that ran. What is opened here is a fork: nothing of it stays.
    private Document Open(string code)
    {
        var (last, options) = session.Compilation;
        var solution = workspace.Value.CurrentSolution;
        var chain = new Stack<Script>();
        for (var script = (Script?)last; script is not null && !links.ContainsKey(script); script = script.Previous)
        {
            chain.Push(script);
        }

        foreach (var script in chain)
        {
            links[script] = Add(ref solution, script.Code, script.Options, script.Previous).Project;
        }

        if (chain.Count > 0)
        {
            workspace.Value.TryApplyChanges(solution);
            solution = workspace.Value.CurrentSolution;
        }

        var document = Add(ref solution, CellParts.Blanked(code), options, last).Document;
        return solution.GetDocument(document)!;
    }

    private (ProjectId Project, DocumentId Document) Add(ref Solution solution, string code, ScriptOptions options,
        Script? previous)
    {
        var project = ProjectId.CreateNewId();
        var compilation = new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary, usings: options.Imports,
            metadataReferenceResolver: options.MetadataResolver,
            sourceReferenceResolver: options.SourceResolver,
            assemblyIdentityComparer: DesktopAssemblyIdentityComparer.Default);
        solution = solution.AddProject(ProjectInfo.Create(project, VersionStamp.Create(),
            $"cell {solution.ProjectIds.Count}", $"cell{solution.ProjectIds.Count}", LanguageNames.CSharp,
            isSubmission: true, parseOptions: Parsing, compilationOptions: compilation,
            metadataReferences: options.MetadataReferences.Distinct(),
            projectReferences: previous is null ? [] : [new ProjectReference(links[previous])]));
        var document = DocumentId.CreateNewId(project);
        solution = solution.AddDocument(DocumentInfo.Create(document, "cell.csx", sourceCodeKind: SourceCodeKind.Script,
            loader: TextLoader.From(TextAndVersion.Create(SourceText.From(code), VersionStamp.Create()))));
        return (project, document);
    }
}
