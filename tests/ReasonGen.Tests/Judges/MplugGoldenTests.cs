using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Mplug;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Scoring;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

[Trait("Category", "Golden")]
public sealed class MplugGoldenTests
{
    private static MplugJudge Load(string folder) =>
        MplugJudge.Load(Golden.Path("mplug/" + folder), ClipFixture.Target);

    private static SourceImage Image(string name) => ImageReader.Read(Golden.Path($"mplug/images/{name}.png"));

    private static string Name(string name) => string.Join('.', name.Split('.').Select(part => part switch
    {
        "conv1" => "patches", _ when part.StartsWith("layer") => "layer." + part[5..],
            _ when part.StartsWith("block") => "block." + part[5..],
        _ when part.StartsWith("image_before_layer") => "image_before_layer." + part[18..], _ => part,
    }));

    [Theory]
    [InlineData("main", "")]
    [InlineData("half", "half_")]
    public void Answers_and_searches_equal_the_reference(string folder, string prefix)
    {
        using var judge = Load(folder);
        foreach (var row in Golden.List($"mplug/{prefix}answers"))
        {
            var (ids, mask) = judge.Batch([(string)row["question"]!]);
            Assert.Equal(ClipFixture.Ids(row["input_ids"]!), TensorValues.Values<long>(ids).Select(id => (int)id));
            Assert.Equal(ClipFixture.Ids(row["attention_mask"]!),
                TensorValues.Values<long>(mask.to(ScalarType.Int64)).Select(id => (int)id));
            var answer = judge.Answer(Image((string)row["picture"]!), [(string)row["question"]!])[0];
            Assert.Equal((string)row["text"]!, answer.Text);
            Assert.Equal((int)row["steps"]!, answer.Search.Steps);
            Assert.Equal(row["results"]!.Select(result => string.Join(' ', ClipFixture.Ids(result["ids"]!))),
                answer.Search.Results.Select(result => string.Join(' ', result.Ids)));
            Assert.All(row["results"]!.Paired(answer.Search.Results),
                pair => Assert.Equal((double)pair.First["score"]!, pair.Second.Score, 5e-4));
        }
    }

    [Theory]
    [InlineData("main", "")]
    [InlineData("half", "half_")]
    public void Stages_and_states_equal_the_reference(string folder, string prefix)
    {
        using var judge = Load(folder);
        using var scope = NewDisposeScope();
        var t = Golden.Tensors($"mplug/{prefix}states");
        foreach (var (number, row) in Golden.List($"mplug/{prefix}answers").Index())
        {
            var seen = new Dictionary<string, Tensor>();
            void Keep(string name, Tensor x) => seen[name] = x.clone().MoveToOtherDisposeScope(scope);
            var image = judge.Model.EncodeImage(judge.Transform.PixelValues([Image((string)row["picture"]!)]), Keep);
            var (ids, mask) = judge.Batch([(string)row["question"]!]);
            judge.Model.Answer(image, ids, mask, judge.Tokenizer.Start, judge.Tokenizer.End, default, Keep);
            var expected = t.Where(pair => pair.Key.StartsWith($"{number}."))
                .ToDictionary(pair => pair.Key[$"{number}.".Length..], pair => pair.Value);
            Assert.True(expected.Count >= 3);
            Assert.All(expected, pair =>
            {
                var wanted = pair.Key == "vision.conv1" ? pair.Value.flatten(2).transpose(1, 2) : pair.Value;
                if (pair.Key == "question_atts")
                {
                    Golden.Equal(wanted.narrow(1, image.shape[1], ids.shape[1]), mask.flatten(1).to(ScalarType.Int64),
                        pair.Key);
                    return;
                }

                var actual = pair.Key == "first_logits" ? seen["logits.step0"].narrow(0, 0, 1) : seen[Name(pair.Key)];
                Golden.Close(wanted, actual, pair.Key == "first_logits" ? 1e-3 : 2e-4, $"{number}.{pair.Key}");
            });
        }
    }

    [Fact]
    public void Beams_of_every_step_equal_the_reference()
    {
        using var judge = Load("main");
        var (rows, json, t) = (Golden.List("mplug/answers"), Golden.Json("mplug/beam"), Golden.Tensors("mplug/beam"));
        Assert.All(json.Properties(), property =>
        {
            var row = rows[int.Parse(property.Name)];
            using var scope = NewDisposeScope();
            var logits = new List<Tensor>();
            var image = judge.Model.EncodeImage(judge.Transform.PixelValues([Image((string)row["picture"]!)]));
            var (ids, mask) = judge.Batch([(string)row["question"]!]);
            judge.Model.Answer(image, ids, mask, judge.Tokenizer.Start, judge.Tokenizer.End, default, (name, x) =>
            {
                if (name.StartsWith("logits."))
                {
                    logits.Add(x.clone().MoveToOtherDisposeScope(scope));
                }
            });
            Golden.Close(t[$"{property.Name}.logits"], stack(logits), 1e-3, "logits");
            Replay(property.Value, t[$"{property.Name}.logits"], judge.Model.Config);
        });
    }

    [Fact]
    public void Searches_over_tables_equal_the_reference()
    {
        var (json, t) = (Golden.Json("mplug/beam_tables"), Golden.Tensors("mplug/beam_tables"));
        foreach (var (number, row) in json["cases"]!.Index())
        {
            using var scope = NewDisposeScope();
            var search = new BeamSearch((int)row["beam_size"]!, (int)row["min_length"]!, (int)row["max_length"]!,
                (int)json["start"]!, (int)json["end"]!);
            var steps = row["steps"]!.ToArray();
            while (!search.Done)
            {
                var last = tensor(search.Sequences.Select(ids => (long)ids[^1]).ToArray());
                var logits = t[(string)row["b"]!].index_select(0, last).add(t[$"{number}.a"][search.Steps]);
                Compare(steps[search.Steps], search, logits);
            }

            Assert.Equal(steps.Length, search.Steps);
            Assert.Equal(row["results"]!.Select(result => string.Join(' ', ClipFixture.Ids(result["ids"]!))),
                search.Results.Select(result => string.Join(' ', result.Ids)));
            Assert.All(row["results"]!.Paired(search.Results),
                pair => Assert.Equal((double)pair.First["score"]!, pair.Second.Score, 5e-4));
        }
    }

    [Theory]
    [InlineData("main", "")]
    [InlineData("half", "half_")]
    public void Several_questions_at_once_are_answered_as_one_by_one(string folder, string prefix)
    {
        using var judge = Load(folder);
        var rows = Golden.List($"mplug/{prefix}answers");
        string[] questions = [.. rows.Select(row => (string)row["question"]!),
            .. rows.Take(3).Select(row => (string)row["question"]! + " really?")];
        var image = Image((string)rows[0]["picture"]!);
        var together = judge.Answer(image, questions);
        Assert.All(questions.Paired(together), pair =>
        {
            var alone = judge.Answer(image, [pair.First])[0];
            Assert.Equal(alone.Text, pair.Second.Text);
            Assert.Equal(alone.Search.Results[0].Ids, pair.Second.Search.Results[0].Ids);
            Assert.Equal(alone.Search.Results[0].Score, pair.Second.Search.Results[0].Score, 1e-4);
        });
        Assert.Empty(judge.Answer(image, []));
    }

    [Fact]
    public void Images_of_every_mode_are_squashed_like_the_reference()
    {
        var t = Golden.Tensors("mplug/preprocess");
        Assert.All(t.Keys.Where(name => name.EndsWith(".image")).Some(), name =>
        {
            using var values = new SquashTransform((int)t[name].shape[2]).PixelValues([Image(name[..^6])]);
            Golden.Close(t[name], values, 2e-6, name);
        });
        using var large = new SquashTransform(504).PixelValues([Image("real")]);
        Golden.Close(t["real504.rows"], large[0].index_select(1, arange(0, 504, 28)), 2e-6, "rows");
        var sums = large[0].to(ScalarType.Float64).sum([1L, 2]);
        Golden.Close(ones_like(sums), sums.div(t["real504.channel_sum"]), 1e-5, "sums");
    }

    [Fact]
    public void DPG_Bench_with_this_judge_equals_the_official_script()
    {
        using var judge = Load("main");
        var (runs, file) = (Golden.List("mplug/dpg_run/expected"), Golden.Path("mplug/dpg_run/questions.csv"));
        var questions = DpgQuestions.Read(file);
        Assert.All(runs, run =>
        {
            var (crops, side) = ((int)run["pic_num"]!, (int)run["resolution"]!);
            var answers = new JudgeAnswers(judge);
            var scored = ((JObject)run["scores"]!).Properties().Select(wanted =>
            {
                var image = ImageReader.Read(Golden.Path($"mplug/dpg_run/images/{wanted.Name}")).Rgb;
                var asked = questions.Items[Dpg.ItemOf(wanted.Name)];
                var said = Enumerable.Range(0, crops)
                    .Select(crop => answers.Ask(wanted.Name, crop, () => Dpg.Crop(image, crop, side),
                    [.. asked.Select(question => question.Text)], default)).ToArray();
                Assert.Equal(
                    run["calls"]![wanted.Name]!.SelectMany(crop => crop.Select(call => (string)call["answer"]!)),
                    said.SelectMany(crop => crop.Select(answer => answer!.Text)));
                var score = Dpg.Score(wanted.Name, asked, crops,
                    (crop, question) => said[crop][asked.ToList().IndexOf(question)]!.Text);
                Assert.Equal((double)wanted.Value["score"]!, score.Score, 1e-9);
                return score;
            }).ToArray();
            Assert.Equal((double)run["dpg_score"]!, new DpgScores(scored).Score, 1e-9);
        });
    }

    [Fact]
    public void The_published_size_has_the_names_and_shapes_of_the_reference()
    {
        var json = Golden.Json("mplug/names_published");
        using var model = new MplugModel(MplugConfig.Large, new(META, ScalarType.Float32));
        NamesOf.Equal((JObject)json["tensors"]!, model, model.Names, name =>
            !(bool)json["tensors"]![name]!["used"]! || name.EndsWith("predictions.decoder.bias"));
    }

    [Theory]
    [InlineData("configuration.json", "visual-question-answering", "image-captioning", "image-captioning")]
    [InlineData("config.yaml", "image_res: ", "+1", "no whole number of patches")]
    [InlineData("config.yaml", "clip_vision_layers: ", "clip_vision_layers: 1", "do not fit")]
    [InlineData("config.yaml", "beam_size: ", "beam_size: x", "beam_size")]
    [InlineData("config.yaml", "add_ocr: false", "add_ocr: true", "add_ocr")]
    [InlineData("config.yaml", "eos: ", "eos: : [", "YAML")]
    [InlineData("config.yaml", "bert_config: ", "bert_config: ../", "no name of a file")]
    [InlineData("config_bert.json", "\"fusion_layers\"", "\"no\"", "fusion_layers")]
    [InlineData("config_bert.json", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"", "relu")]
    [InlineData("config_bert.json", "\"text_decode_layers\": ", "\"text_decode_layers\": 99999", "blocks")]
    [InlineData("vocab.txt", "[CLS]", "[XXX]", "[CLS]")]
    public void A_damaged_or_foreign_configuration_is_refused(string file, string from, string to, string expected)
    {
        using var copy = new ClipFixture.Copy(
            [.. Directory.GetFiles(Golden.Path("mplug/main")).Select(path => "mplug/main/" + Path.GetFileName(path))]);
        var text = File.ReadAllText(copy.In(file));
        Assert.Contains(from, text);
        File.WriteAllText(copy.In(file), to != "+1" ? text.Replace(from, to)
            : Regex.Replace(text, $"(?m)^{from}(\\d+)", found => from + (int.Parse(found.Groups[1].Value) + 1)));
        Assert.Contains(expected,
            Assert.Throws<UnusableFileException>(() => MplugJudge.Load(copy.Folder, ClipFixture.Target)).Message);
    }

    [Fact]
    public void Momentum_copies_are_told_and_the_judge_is_not_called_official()
    {
        using var judge = Load("half");
        Assert.Contains(judge.Limits, limit => limit.Contains("momentum copies"));
        Assert.False(judge.Official);
        Assert.Contains("mPLUG's rules", judge.Name);
        Assert.True(MplugConfig.Large.IsLarge);
    }

    private static void Replay(JToken steps, Tensor logits, MplugConfig config)
    {
        var search = new BeamSearch(config.Beams, config.MinLength, config.MaxLength, 101, 102);
        foreach (var (number, step) in steps.Index())
        {
            Assert.Equal(step["sequences"]!.Select(ids => string.Join(' ', ClipFixture.Ids(ids)))
                .Take(search.Sequences.Count), search.Sequences.Select(ids => string.Join(' ', ids)));
            Compare(step, search, logits[number]);
        }

        Assert.True(search.Done);
    }

    private static void Compare(JToken step, BeamSearch search, Tensor logits)
    {
        search.Step(TensorValues.Values<float>(logits.log_softmax(-1)));
        Assert.Equal(ClipFixture.Ids(step["top_beam"]!), search.Chosen.Select(next => next.Beam));
        Assert.Equal(ClipFixture.Ids(step["top_token"]!), search.Chosen.Select(next => next.Token));
        Assert.All(step["top_scores"]!.Paired(search.Chosen),
            pair => Assert.Equal((double)pair.First, pair.Second.Score, 5e-4));
    }
}
