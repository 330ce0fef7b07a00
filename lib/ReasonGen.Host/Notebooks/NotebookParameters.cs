using System.Globalization;
using System.Numerics;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Host.Engine;
using ReasonGen.Models;

namespace ReasonGen.Host.Notebooks;

/// <summary>The variables that a notebook's cell tagged "parameters" declares, and values for them as C#.</summary>
internal sealed class NotebookParameters
{
    private static readonly CSharpParseOptions Options = new(LanguageVersion.Latest, kind: SourceCodeKind.Script);
    private readonly NotebookFile notebook;
    private readonly JObject[] tagged;
    private readonly Dictionary<string, VariableDeclaratorSyntax> declared = [];

    /// <exception cref="UsageException">The cell is nested too deep to be read.</exception>
    internal NotebookParameters(NotebookFile notebook)
    {
        this.notebook = notebook;
        tagged = [
            .. notebook.Cells.Where(cell =>
                NotebookFile.IsCode(cell) && NotebookFile.HasTag(cell, NotebookFile.Declared))];
        if (tagged.Length > 0 && notebook.LanguageOf(tagged[0]) == CellLanguage.CSharp)
        {
            foreach (var variable in Variables(Parse(CellParts.Blanked(NotebookFile.Source(tagged[0])))))
            {
                declared[variable.Identifier.ValueText] = variable;
            }
        }
    }

    /// <summary>Names, and defaults as written.</summary>
    internal IReadOnlyDictionary<string, string> Defaults =>
        declared.ToDictionary(pair => pair.Key, pair => pair.Value.Initializer?.Value.ToString() ?? "");

    /// <summary>A statement that gives a parameter a value.</summary>
    /// <exception cref="UsageException">The value does not fit its type, or it cannot be set.</exception>
    internal string Assignment(string name, string value)
    {
        UsageException Refused(string why) => new($"{notebook.Path}: the parameter {name} {why}");
        if (tagged.Length > 1)
        {
            throw Refused(
                $"cannot be set: {tagged.Length} cells are tagged \"{NotebookFile.Declared}\", and -p sets the "
                + $"variables of one. Leave the tag at one of them.");
        }

        var field = (BaseFieldDeclarationSyntax)declared[name].Parent!.Parent!;
        if (field.Modifiers.Any(modifier =>
            modifier.IsKind(SyntaxKind.ConstKeyword) || modifier.IsKind(SyntaxKind.ReadOnlyKeyword)))
        {
            throw Refused("is a constant: take const or readonly away, so that -p can set it");
        }

        var (type, nullable, members) = Resolve(name);
        var literal = value == "null" && (nullable || type == "string" && IsNull(declared[name].Initializer?.Value))
            ? "null"
            : members is null ? Literal(type, value) : Member(type, members, value);
        var given = declared[name].Initializer is { } initializer ? $" (its default is {initializer.Value})" : "";
        return literal is not null ? $"{declared[name].Identifier.Text} = {literal};"
            : members is not null ? throw Refused($"is one of {string.Join(", ", members)}{given}, not '{value}'")
            : Meaning(type) is { } meaning ? throw Refused($"is {meaning}{given}, not '{value}'")
            : throw Refused(
                $"has the type {type}, which -p cannot set: it sets texts, numbers, true/false and enums. Change it "
                + $"in the notebook.");
    }

    private static bool IsNull(ExpressionSyntax? initial) => initial switch
    {
        null or DefaultExpressionSyntax => true,
        PostfixUnaryExpressionSyntax forgiven => IsNull(forgiven.Operand), // null!
        _ => initial.IsKind(SyntaxKind.NullLiteralExpression) || initial.IsKind(SyntaxKind.DefaultLiteralExpression),
    };

    // the keyword of a type, whether null is one of its values, and the names of an enum
    private (string Type, bool Nullable, string[]? Members) Resolve(string name)
    {
        var type = ((VariableDeclarationSyntax)declared[name].Parent!).Type;
        var (inner, nullable) = type is NullableTypeSyntax marked ? (marked.ElementType, true) : (type, false);
        if (inner is PredefinedTypeSyntax keyword)
        {
            return (keyword.Keyword.ValueText, nullable, null);
        }

        var initial = declared[name].Initializer?.Value
            is PrefixUnaryExpressionSyntax { RawKind: (int)SyntaxKind.UnaryMinusExpression } minus ? minus.Operand
            : declared[name].Initializer?.Value;
        return type.IsVar && initial is LiteralExpressionSyntax { Token.Value: { } value }
            ? (Keyword(value.GetType().Name), false, null) : Compiled(name);
    }

    // by the compiler, from the cells up to the parameters': nothing is run
    private (string Type, bool Nullable, string[]? Members) Compiled(string name)
    {
        var before = notebook.Cells
            .Where(cell => NotebookFile.IsCode(cell) && notebook.LanguageOf(cell) == CellLanguage.CSharp)
            .TakeWhile(cell => cell != tagged[0]);
        var code =
            string.Join('\n', before.Append(tagged[0]).Select(cell => CellParts.Blanked(NotebookFile.Source(cell))));
        var folder = Path.GetDirectoryName(Path.GetFullPath(notebook.Path))!;
        var compilation = CSharpScript.Create(code, CSharpSession.OptionsIn(folder)).GetCompilation();
        var tree = compilation.SyntaxTrees.Last();
        var model = compilation.GetSemanticModel(tree);
        var variable = Variables((CompilationUnitSyntax)tree.GetRoot()).Last(one => one.Identifier.ValueText == name);
        var type = ((IFieldSymbol)model.GetDeclaredSymbol(variable)!).Type;
        var inner = type is INamedTypeSymbol { OriginalDefinition.SpecialType: SpecialType.System_Nullable_T } wrapped
            ? wrapped.TypeArguments[0] : type;
        var nullable = !SymbolEqualityComparer.Default.Equals(inner, type)
            || type.NullableAnnotation == NullableAnnotation.Annotated;
        return (inner.ToMinimalDisplayString(model, variable.SpanStart), nullable, inner.TypeKind != TypeKind.Enum
            ? null
            : [.. inner.GetMembers().OfType<IFieldSymbol>().Where(member => member.HasConstantValue)
                .Select(member => member.Name)]);
    }

    private CompilationUnitSyntax Parse(string code) =>
        CellNesting.TooDeepAt(code) is null ? SyntaxFactory.ParseCompilationUnit(code, options: Options)
        : throw new UsageException(
            $"{notebook.Path}: the cell tagged \"{NotebookFile.Declared}\" is nested too deep to be read. Shorten its "
            + $"expressions.");

    private static IEnumerable<VariableDeclaratorSyntax> Variables(CompilationUnitSyntax unit) =>
        unit.Members.OfType<FieldDeclarationSyntax>().SelectMany(field => field.Declaration.Variables);

    private static string? Member(string type, string[] members, string value)
    {
        var name = value.StartsWith(type + ".") ? value[(type.Length + 1)..] : value;
        var alike = members.Where(member => member == name)
            .Concat(members.Where(member => member.Equals(name, StringComparison.OrdinalIgnoreCase))).Distinct()
            .ToArray();
        return alike.Length == 1 || (alike.Length > 1 && alike[0] == name)
            ? $"{type}.{(SyntaxFacts.GetKeywordKind(alike[0]) == SyntaxKind.None ? "" : "@")}{alike[0]}" : null;
    }

    private static string? Literal(string type, string value) => type switch
    {
        "string" => SymbolDisplay.FormatLiteral(value, quote: true),
        "char" => value.Length == 1 ? SymbolDisplay.FormatLiteral(value[0], quote: true) : null,
        "bool" => bool.TryParse(value, out var flag) ? flag ? "true" : "false" : null,
        "sbyte" => Whole<sbyte>(value, ""),
        "byte" => Whole<byte>(value, ""),
        "short" => Whole<short>(value, ""),
        "ushort" => Whole<ushort>(value, ""),
        "int" => Whole<int>(value, ""),
        "uint" => Whole<uint>(value, "u"),
        "long" => Whole<long>(value, "L"),
        "ulong" => Whole<ulong>(value, "ul"),
        "float" => Number<float>(value, "R", "f"),
        "double" => Number<double>(value, "R", "d"),
        "decimal" => Number<decimal>(value, "G", "m"),
        _ => null,
    };

    private static string? Whole<T>(string value, string suffix)
        where T : struct, IBinaryInteger<T>, IMinMaxValue<T> =>
        NumberText.Whole<T>(value) is { } number ? number.ToString(null, CultureInfo.InvariantCulture) + suffix : null;

    private static string? Number<T>(string value, string format, string suffix) where T : struct, INumber<T> =>
        NumberText.Fraction<T>(value) is { } number ? number.ToString(format, CultureInfo.InvariantCulture) + suffix
            : null;

    private static string? Meaning(string type) => type switch
    {
        "char" => "a single character",
        "bool" => "true or false",
        "float" or "double" or "decimal" =>
            $"a number ({type}) such as 1000, 0.5 or 1e-3, without thousands separators",
        "sbyte" or "byte" or "short" or "ushort" or "int" or "uint" or "long" or "ulong" =>
            $"a whole number ({type}) such as 1000 or 1e3, without thousands separators",
        _ => null,
    };

    private static string Keyword(string typeName) => typeName switch
    {
        "String" => "string",
        "Char" => "char",
        "Boolean" => "bool",
        "Int32" => "int",
        "UInt32" => "uint",
        "Int64" => "long",
        "UInt64" => "ulong",
        "Single" => "float",
        "Double" => "double",
        "Decimal" => "decimal",
        _ => typeName,
    };
}
