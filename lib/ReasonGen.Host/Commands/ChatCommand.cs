using System.CommandLine;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Notebook;
using ReasonGen.Rollouts;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen chat: asks a Janus, about pictures or not.</summary>
internal static class ChatCommand
{
    private const string Help = """
        Talks with a Janus about pictures, or about anything. With a question it answers and ends; without one it reads questions line by line.
        In a conversation: /image FILE shows a picture with the next question, /new starts over, /exit ends.

        Examples:
          reasongen chat --model Janus-Pro-7B --image cat.png "What is the cat doing?"
          reasongen chat --model Janus-Pro-7B "Name three colours." --temperature 0.7 --seed 3
          reasongen chat --model Janus-Pro-7B
        """;

    internal static Command Create()
    {
        var model = new ModelOptions();
        var question = new Argument<string[]>("question")
        {
            Description = "The question; none for a conversation.", Arity = ArgumentArity.ZeroOrMore,
        };
        var images = new Option<string[]>("--image", "-i") { Description = "A picture that comes with the first question; may be repeated." };
        var defaults = new TextConfig();
        var tokens = new Option<int>("--max-tokens") { Description = "Most tokens of an answer.", DefaultValueFactory = _ => defaults.MaxTokens };
        var temperature = new Option<double>("--temperature")
        {
            Description = "0 takes the likeliest token.", DefaultValueFactory = _ => defaults.Temperature,
        };
        var topP = new Option<double>("--top-p")
        {
            Description = "Share of the probability that is sampled from.", DefaultValueFactory = _ => defaults.TopP,
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
                MaxTokens = parsed.GetValue(tokens), Temperature = parsed.GetValue(temperature), TopP = parsed.GetValue(topP),
            };
            config.Validate();
            List<Picture> shown = [.. (parsed.GetValue(images) ?? []).Select(PictureFile.Read)];
            using var pipeline = model.Open(parsed);
            var asked = string.Join(' ', parsed.GetValue(question) ?? []);
            if (asked.Length > 0)
            {
                Answer(pipeline.Chat(config), asked, shown, parsed.GetValue(seed), cancel);
            }
            else
            {
                Converse(pipeline, config, shown, parsed.GetValue(seed), cancel);
            }

            return cancel.IsCancellationRequested ? 130 : 0;
        }
    }

    private static void Converse(JanusPipeline pipeline, TextConfig config, List<Picture> shown, long seed, CancellationToken cancel)
    {
        var chat = pipeline.Chat(config);
        while (!cancel.IsCancellationRequested && Read() is { } line && line.Trim() != "/exit")
        {
            try
            {
                if (line.StartsWith("/image "))
                {
                    shown.Add(PictureFile.Read(line["/image ".Length..].Trim()));
                }
                else if (line.Trim() == "/new")
                {
                    (chat, shown) = (pipeline.Chat(config), []);
                }
                else if (line.Trim().Length > 0)
                {
                    Answer(chat, line, shown, Seeds.Mix(seed, chat.Turns.Count), cancel);
                    shown.Clear();
                }
            }
            catch (Exception e) when (e is ArgumentException or CheckpointException)
            {
                Console.Error.WriteLine(e.Message);
            }
        }
    }

    private static string? Read()
    {
        if (!Console.IsInputRedirected)
        {
            Console.Write("> ");
        }

        return Console.ReadLine();
    }

    private static void Answer(JanusChatSession chat, string question, IReadOnlyList<Picture> shown, long seed, CancellationToken cancel)
    {
        foreach (var piece in chat.Ask(question, [.. shown], seed, cancel))
        {
            Console.Write(piece);
        }

        Console.WriteLine();
    }
}
