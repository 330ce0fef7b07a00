using Newtonsoft.Json.Linq;
using ReasonGen.Qwen;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using Xunit;

namespace ReasonGen.Tests.Text;

[Trait("Category", "Golden")]
public sealed class ChatGoldenTests
{
    [Fact]
    public void Janus_chats_and_ids_equal_the_reference()
    {
        var tokenizer =
            HuggingFaceTokenizer.Load(Golden.Path("tokenizer/janus_style.tokenizer.json"), JanusChat.SpecialNames);
        foreach (var row in Golden.List("tokenizer/chat_janus"))
        {
            var text = JanusChat.Text(Turns(row), (string)row["system_prompt"]!);
            text += (bool)row["append_begin_of_image"]! ? JanusChat.BeginOfImage : "";
            Assert.Equal((string)row["text"]!, text);
            var ids = tokenizer.Encode(text, template: true);
            Assert.Equal(Ids(row["janus_style_ids"]!), ids);
            foreach (var (name, keep) in new[] { ("expanded_4", false), ("expanded_4_add_special_token", true) })
            {
                if (row[name] is { } expanded)
                {
                    Assert.Equal(Ids(expanded), JanusChat.ExpandImages(ids, tokenizer.Special, 4, keep));
                }
            }
        }
    }

    [Fact]
    public void Janus_templates_equal_the_reference()
    {
        var json = Golden.Json("janus/template");
        foreach (var row in json["cases"]!)
        {
            var plain = (string)row["sft_format"]! == "plain";
            Assert.Equal((string)row["result"]!, JanusChat.Text(Turns(row), (string)row["system_prompt"]!, plain));
        }

        foreach (var row in json["current_round"]!)
        {
            Assert.Equal((string)row["result"]!, JanusChat.Prompt((string)row["content"]!));
        }

        var (chat, processor) = (json["deepseek"]!, json["processor_defaults"]!);
        Assert.Equal([JanusChat.User, JanusChat.Assistant], chat["roles"]!.Select(role => (string)role!));
        Assert.Equal([(string)chat["sep2"]!, (string)json["default_system_prompt"]!],
            [JanusChat.Eos, JanusChat.UnderstandingSystem]);
        Assert.Equal(
            new[] { "image_tag", "image_start_tag", "image_end_tag", "pad_tag" }.Select(tag => (string)processor[tag]!),
            [JanusChat.ImagePlaceholder, JanusChat.BeginOfImage, JanusChat.EndOfImage, JanusChat.Pad]);
    }

    [Fact]
    public void Qwen_chats_and_ids_equal_the_reference()
    {
        var tokenizer = HuggingFaceTokenizer.Load(Golden.Path("tokenizer/qwen_style.tokenizer.json"));
        foreach (var row in Golden.List("tokenizer/chat_qwen"))
        {
            var messages = row["messages"]!
                .Select(message => new QwenMessage((string)message["role"]!, Parts(message["content"]!))).ToArray();
            var text = QwenChat.Render(messages, (bool)row["add_generation_prompt"]!, (bool)row["add_vision_id"]!);
            Assert.Equal((string)row["text"]!, text);
            Assert.Equal(Ids(row["qwen_style_ids"]!), tokenizer.Encode(text, template: true));
        }
    }

    [Fact]
    public void Qwen_image_places_are_expanded_in_order()
    {
        const string pad = QwenChat.ImagePad;
        foreach (var row in Golden.Json("reward/judge_prompt")["rows"]!.Where(row => row["error"] is null).Some())
        {
            Assert.Equal((string)row["text_with_expanded_image_tokens_grid_1_4_4"]!,
                QwenChat.ExpandImages((string)row["text_sent_to_engine"]!, 4));
        }

        Assert.Equal($"a{pad}{pad}b{pad}c", QwenChat.ExpandImages($"a{pad}b{pad}c", 2, 1));
        Assert.Contains("2 places",
            Assert.Throws<ArgumentException>(() => QwenChat.ExpandImages($"a{pad}b{pad}c", 2)).Message);
    }

    [Fact]
    public void Templates_of_training_and_evaluation_equal_the_scripts()
    {
        var json = Golden.Json("reward/judge_prompt");
        Assert.Equal((string)json["policy_prompt_template"]!, PromptTemplate.JanusRl.Turn);
        Assert.Equal((string)json["sft_prompt_template"]!, PromptTemplate.JanusSft.Turn);
        foreach (var row in Golden.List("tokenizer/chat_janus"))
        {
            var content = (string)row["conversation"]![0]!["content"]!;
            var template = (string)row["name"]! switch
            {
                "generation" => PromptTemplate.JanusImage,
                "baseline" => PromptTemplate.JanusBaseline,
                "reasongen" => PromptTemplate.JanusRl,
                _ => null,
            };
            if (template is not null)
            {
                var (before, after) = (template.Turn.Split("{}")[0], template.Turn.Split("{}")[1]);
                Assert.Equal((string)row["text"]!, template.Fill(content[before.Length..^after.Length]));
            }
        }
    }

    private static JanusTurn[] Turns(JToken row) =>
        [.. row["conversation"]!.Select(turn => new JanusTurn((string)turn["role"]!, (string)turn["content"]!))];

    private static QwenPart[] Parts(JToken content) =>
        content.Type == JTokenType.String ? [new QwenPart.Text((string)content!)]
        : [.. content.Select(Part)];

    private static QwenPart Part(JToken part)
    {
        var image = (string?)part["type"] == "image" || part["image"] is not null || part["image_url"] is not null;
        var video = (string?)part["type"] == "video" || part["video"] is not null;
        return image ? new QwenPart.Image()
            : video ? new QwenPart.Video() : new QwenPart.Text((string?)part["text"] ?? "");
    }

    private static int[] Ids(JToken list) => [.. list.Select(id => (int)id)];
}
