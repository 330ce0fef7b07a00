using System.CommandLine;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen chat: asks a Janus, about images or not.</summary>
internal static class ChatCommand
{
    private const string Help = """
        Talks with a Janus about images, or about anything. With a question it answers and ends; without one it reads questions line by line.
        In a conversation: /image FILE shows an image with the next question, /new starts over, /exit ends. Lines that come from a file or a pipe end
        at the first that cannot be followed.

        Examples:
          reasongen chat --model Janus-Pro-7B --image cat.png "What is the cat doing?"
          reasongen chat --model Janus-Pro-7B "Name three colours." --temperature 0.7 --seed 3
          reasongen chat --model Janus-Pro-7B
        """;

    internal static Command Create()
    {
        var model = new ModelOptions(chats: true);
        var question = new Argument<string[]>("question")
        {
            Description = "The question; none for a conversation.", Arity = ArgumentArity.ZeroOrMore,
        };
        var images = new Option<string[]>("--image", "-i")
        {
            Description = "An image that comes with the first question; may be repeated.",
        };
        var defaults = new TextConfig();
        var tokens = new Option<int>("--max-tokens")
        {
            Description = "Most tokens of an answer.", DefaultValueFactory = _ => defaults.MaxTokens,
        };
        var temperature = new Option<double>("--temperature")
        {
            Description = "0 takes the likeliest token.", DefaultValueFactory = _ => defaults.Temperature,
        };
        var topP = new Option<double>("--top-p")
        {
            Description = "Share of the probability that is sampled from, at a temperature above 0.",
            DefaultValueFactory = _ => defaults.TopP,
        };
        var seed = new Option<long>("--seed") { Description = "Of sampled answers.", DefaultValueFactory = _ => 1 };
        var command = new Command("chat", Help) { question, images, tokens, temperature, topP, seed };
        model.AddTo(command);
        command.SetAction((parsed, cancel) => Task.FromResult(Run(parsed, cancel)));
        return command;

        int Run(ParseResult parsed, CancellationToken cancel)
        {
            var config = new TextConfig
            {
                MaxTokens = parsed.GetValue(tokens), Temperature = parsed.GetValue(temperature),
                TopP = parsed.GetValue(topP),
            };
            config.Validate();
            if (config is { Temperature: 0, TopP: < 1 } && CommandLine.Given(parsed, topP))
            {
                throw new UsageException("--top-p is a share that is sampled from, and at --temperature 0 nothing is: "
                    + "give a --temperature above 0, or leave --top-p out");
            }

            if (parsed.GetValue(question) is { Length: > 0 } words && words.All(string.IsNullOrWhiteSpace))
            {
                throw new UsageException("the question is empty; leave it out for a conversation");
            }

            model.ExpectChat(parsed);
            List<RgbImage> shown = [.. (parsed.GetValue(images) ?? []).Select(ImageFile.Read)];
            using var pipeline = model.Open(parsed);
            var asked = string.Join(' ', parsed.GetValue(question) ?? []);
            var done = true;
            if (asked.Length > 0)
            {
                done = Answer(pipeline.Chat(config), asked, shown, parsed.GetValue(seed), cancel);
            }
            else
            {
                done = Converse(pipeline, config, shown, parsed.GetValue(seed), cancel);
            }

            return cancel.IsCancellationRequested ? CommandLine.Interrupted
                : done ? CommandLine.Done : CommandLine.Failed;
        }
    }

    // whether every question was answered
    private static bool Converse(JanusPipeline pipeline, TextConfig config, List<RgbImage> shown, long seed,
        CancellationToken cancel)
    {
        var (chat, all) = (pipeline.Chat(config), true);
        while (!cancel.IsCancellationRequested && Read() is { } line && line.Trim() != "/exit")
        {
            try
            {
                if (line.StartsWith("/image "))
                {
                    shown.Add(ImageFile.Read(line["/image ".Length..].Trim()));
                }
                else if (line.Trim() == "/new")
                {
                    (chat, shown) = (pipeline.Chat(config), []);
                }
                else if (line.StartsWith('/') && line.Split(' ')[0] is var word
                    && word[1..].All(char.IsAsciiLetterLower))
                {
                    throw new ArgumentException($"there is no {word}; there are /image FILE, /new and /exit");
                }
                else if (line.Trim().Length > 0)
                {
                    all &= Answer(chat, line, shown, Seeds.Mix(seed, chat.Turns.Count), cancel);
                    shown.Clear();
                }
            }
            catch (Exception e) when (e is ArgumentException or UnusableFileException && !Console.IsInputRedirected)
            {
                // whoever sits there reads it and says it differently
                Console.Error.WriteLine(Failure.Explain(e).Words);
            }
        }

        return all;
    }

    private static string? Read()
    {
        if (!Console.IsInputRedirected)
        {
            Console.Write("> ");
        }

        return Console.ReadLine();
    }

    // whether there was an answer
    private static bool Answer(JanusChatSession chat, string question, IReadOnlyList<RgbImage> shown, long seed,
        CancellationToken cancel)
    {
        var said = false;
        foreach (var piece in chat.Ask(question, [.. shown], seed, cancel))
        {
            said |= !string.IsNullOrWhiteSpace(piece);
            Console.Write(piece);
        }

        Console.WriteLine();
        if (!said && !cancel.IsCancellationRequested)
        {
            Console.Error.WriteLine("The model gave no answer.");
        }
        else if (chat.WasCut)
        {
            Console.Error.WriteLine("(cut at the most tokens of an answer; --max-tokens allows more)");
        }

        return said;
    }
}
