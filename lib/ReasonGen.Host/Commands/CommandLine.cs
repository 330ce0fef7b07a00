using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using Newtonsoft.Json;
using Newtonsoft.Json.Serialization;
using ReasonGen.Core;
using ReasonGen.Runs;

namespace ReasonGen.Host.Commands;

/// <summary>What all commands share: a help that can be read, mistakes answered in a line, json for scripts.</summary>
internal static class CommandLine
{
    /// <summary>Exit codes, the same for every command.</summary>
    internal const int Done = 0, Failed = 1, Wrong = 2, Interrupted = 130;

    private static readonly JsonSerializerSettings Json = new()
    {
        ContractResolver = new DefaultContractResolver
        {
            NamingStrategy = new CamelCaseNamingStrategy { ProcessDictionaryKeys = false },
        },
        Converters = { new Numbers() },
    };

    /// <summary>Without a command the help is shown; the list of commands has a sentence for each, and each command's
    /// own help the rest.</summary>
    internal static RootCommand WithBriefHelp(RootCommand root)
    {
        var option = root.Options.OfType<HelpOption>().Single();
        option.Aliases.Remove("/h");
        option.Aliases.Remove("/?");
        var help = new BriefHelp((HelpAction)option.Action!);
        option.Action = help;
        root.SetAction(parsed =>
        {
            help.Invoke(parsed);
            return Wrong;
        });
        return root;
    }

    /// <summary>Numbers are read as those of settings: 1e3 is a whole one, and what is none is told in words.</summary>
    internal static void ReadNumbers(Command command)
    {
        foreach (var option in command.Options)
        {
            ReadAs<int>(option, NumberText.Whole<int>);
            ReadAs<long>(option, NumberText.Whole<long>);
            ReadAs<double>(option, NumberText.Fraction<double>);
        }

        foreach (var inner in command.Subcommands)
        {
            ReadNumbers(inner);
        }
    }

    private static void ReadAs<T>(Option option, Func<string, T?> read) where T : struct
    {
        if (option is Option<T> one)
        {
            one.CustomParser = given => Number(given, read) ?? default;
        }
        else if (option is Option<T?> maybe)
        {
            maybe.CustomParser = given => Number(given, read);
        }
    }

    private static T? Number<T>(ArgumentResult given, Func<string, T?> read) where T : struct
    {
        var text = given.Tokens is [.., var last] ? last.Value : "";
        if (read(text.Trim()) is { } number)
        {
            return number;
        }

        given.AddError($"{(given.Parent as OptionResult)?.Option.Name} is '{text}'; it must be "
            + $"{Settings.Meaning(typeof(T))}.");
        return null;
    }

    /// <summary>What is wrong with a command line, a sentence each, with the nearest name where one is near; empty
    /// where nothing is.</summary>
    internal static IReadOnlyList<string> Mistakes(ParseResult parsed)
    {
        if (parsed.Tokens.Any(token => token.Type == TokenType.Directive))
        {
            return []; // a shell asks what would fit
        }

        var command = parsed.CommandResult.Command;
        string[] names = [.. command.Subcommands.Where(sub => !sub.Hidden).Select(sub => sub.Name),
            .. command.Options.SelectMany(option => option.Aliases.Prepend(option.Name))];
        string Suggestion(string word) => NearestNames.Of(word, names.Where(name => name.Length > 2)) is [var near]
            ? $" Did you mean '{near}'?" : "";
        // who takes several words takes a misspelt option for one; what follows a bare -- is meant as it stands
        var meant = parsed.Tokens.SkipWhile(token => token.Type != TokenType.DoubleDash)
            .ToHashSet<object>(ReferenceEqualityComparer.Instance);
        var strays = parsed.CommandResult.Children.SelectMany(child => child switch
        {
            ArgumentResult argument => argument.Tokens,
            OptionResult { Option.AllowMultipleArgumentsPerToken: true } option => option.Tokens,
            _ => [],
        }).Where(token => token.Value.StartsWith("--") && !meant.Contains(token)).Select(token => token.Value);
        // nothing is a path or a name; a shell makes it of a variable that is not set
        var empty = parsed.CommandResult.Children.Select(child => child switch
        {
            OptionResult { Option: { ValueType: var type } option, Tokens: var tokens } when IsText(type) =>
                (Symbol: (Symbol)option, Tokens: tokens),
            ArgumentResult { Argument: { ValueType: var type } argument, Tokens: var tokens } when IsText(type) =>
                (argument, tokens),
            _ => default,
        }).Where(one => one.Tokens?.Any(token => token.Value.Length == 0) == true);
        return [.. parsed.UnmatchedTokens.Concat(strays)
            .Select(word => $"Unrecognized command or argument '{word}'.{Suggestion(word)}"),
            .. empty.Select(one => $"{one.Symbol.Name} is empty: {one.Symbol.Description}"),
            .. parsed.Errors.Select(error => error.Message.ReplaceLineEndings(" ").Replace("\t", ""))
                .Where(message => !message.StartsWith("Unrecognized"))];
    }

    private static bool IsText(Type type) => type == typeof(string) || type == typeof(string[]);

    /// <summary>Says what is wrong, and where to look.</summary>
    internal static int Complain(ParseResult parsed, IEnumerable<string> mistakes)
    {
        foreach (var mistake in mistakes)
        {
            Console.Error.WriteLine(Terminal.Plain(mistake));
        }

        var names = "";
        for (var at = parsed.CommandResult; at.Command is not RootCommand && at.Parent is CommandResult parent;
        at = parent)
        {
            names = $"{at.Command.Name} {names}";
        }

        Console.Error.WriteLine($"See 'reasongen {names}--help'.");
        return Wrong;
    }

    /// <summary>The option of commands whose output a script would read.</summary>
    internal static Option<bool> JsonOption() => new("--json") { Description = "Prints json, for scripts." };

    /// <summary>Refuses to begin in a folder that was deleted, where a library would end the process.</summary>
    /// <exception cref="UsageException">The current folder is not there any more.</exception>
    internal static void ExpectCurrentFolder()
    {
        try
        {
            _ = Directory.GetCurrentDirectory();
        }
        catch (IOException)
        {
            throw new UsageException("the folder that this was started in is not there any more: change to another "
                + "one (cd), and start again");
        }
    }

    /// <summary>Whether an option stands on the command line, be it with its default.</summary>
    internal static bool Given(ParseResult parsed, Option option) => parsed.GetResult(option) is { Implicit: false };

    /// <summary>Refuses an option that was given and would be passed over in silence.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="asked">What was asked for, with which it would do nothing.</param>
    /// <param name="rules">What options go with, in words, and whether that was asked for.</param>
    /// <exception cref="UsageException">One was given that goes with something else.</exception>
    internal static void RefuseIdle(ParseResult parsed, string asked,
        params (bool Fits, string With, Option[] Options)[] rules)
    {
        foreach (var (_, with, options) in rules.Where(rule => !rule.Fits))
        {
            if (options.FirstOrDefault(option => Given(parsed, option)) is { } idle)
            {
                throw new UsageException($"{idle.Name} goes with {with} and has no effect with {asked}: leave it out.");
            }
        }
    }

    internal static void PrintJson(object value) =>
        Console.WriteLine(JsonConvert.SerializeObject(value, Formatting.Indented, Json));

    /// <summary>An option whose values are known, so that a shell can complete them.</summary>
    internal static Option<T> Suggesting<T>(this Option<T> option, params string[] values)
    {
        option.CompletionSources.Add(values);
        return option;
    }

    // json knows no NaN: where there is no number stands null
    private sealed class Numbers : JsonConverter
    {
        public override bool CanRead => false;

        public override bool CanConvert(Type type) => (Nullable.GetUnderlyingType(type) ?? type) == typeof(double);

        public override void WriteJson(JsonWriter writer, object? value, JsonSerializer serializer) =>
            writer.WriteValue(value is double number && double.IsFinite(number) ? (double?)number : null);

        public override object ReadJson(JsonReader reader, Type type, object? value, JsonSerializer serializer) =>
            throw new NotSupportedException();
    }

    private sealed class BriefHelp(HelpAction full) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parsed)
        {
            if (parsed.CommandResult.Command is RootCommand root)
            {
                foreach (var command in root.Subcommands) // the process ends after the help
                {
                    var text = (command.Description ?? "").ReplaceLineEndings(" ");
                    command.Description =
                        text.IndexOf(". ", StringComparison.Ordinal) is > 0 and var end ? text[..(end + 1)] : text;
                }
            }

            return full.Invoke(parsed);
        }
    }
}
