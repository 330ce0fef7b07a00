using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

[Trait("Category", "Golden")]
public sealed class JanusGoldenTests
{
    [Fact]
    public void Text_logits_equal_the_reference_cached_or_not()
    {
        using var model = JanusFixture.Load();
        var t = Golden.Tensors("janus/text");
        using var free = no_grad();
        using var scope = NewDisposeScope();
        Tensor ids = t["input_ids"], mask = t["attention_mask"], positions = t["position_ids"],
            real = mask.to(ScalarType.Bool).unsqueeze(-1);
        var hidden = model.Hidden(model.Embed(ids), mask, positions);
        Same(t["hidden"], hidden, real, 1e-4, "hidden");
        Same(t["logits"], model.TextLogits(hidden), real, 1e-4, "logits");

        int rows = (int)ids.shape[0], columns = (int)ids.shape[1], stepped = (int)t["logits_cached"].shape[1],
            prefill = columns - stepped;
        using var cache = model.NewCache(rows, columns);
        Tensor Pass(int start, int count) =>
            model.Hidden(model.Embed(ids.narrow(1, start, count)), mask.narrow(1, 0, start + count),
                positions.narrow(1, start, count), cache);
        Pass(0, prefill);
        var seen = mask.narrow(1, 0, prefill).to(ScalarType.Bool).view(rows, 1, prefill, 1);
        foreach (var name in t.Keys.Where(key => key.StartsWith("cache.")).Some())
        {
            var (keys, values) = cache.Layer(int.Parse(name.Split('.')[1]));
            Same(t[name], name.EndsWith("key") ? keys : values, seen, 1e-4, name);
        }

        for (var i = 0; i < stepped; i++)
        {
            Golden.Close(t["logits_cached"].narrow(1, i, 1), model.TextLogits(Pass(prefill + i, 1)), 1e-4,
                $"cached logits of step {i}");
        }
    }

    [Fact]
    public void Image_logits_equal_the_reference()
    {
        using var model = JanusFixture.Load();
        var t = Golden.Tensors("janus/image_logits");
        using var free = no_grad();
        using var scope = NewDisposeScope();
        Golden.Close(t["code_embeds"], model.EmbedImageCodes(t["codes"]), 1e-5, "code embeddings");
        Golden.Close(t["all_code_embeds"], model.EmbedImageCodes(arange(model.CodebookSize).unsqueeze(0))[0], 1e-5,
            "all code embeddings");
        CheckImagePass(model, t, t["input_ids"], t["codes"], _ => 1e-4);
    }

    [Fact]
    public void Bf16_stays_within_the_band_of_the_reference()
    {
        using var model = JanusFixture.Load(target: TestDevice.Target with { DType = ScalarType.BFloat16 });
        using var exact = JanusFixture.Load();
        var t = Golden.Tensors("janus/bf16");
        var band = Golden.Json("janus/summary")["bf16_max_difference_from_fp32"]!;
        using var free = no_grad();
        using var scope = NewDisposeScope();
        Golden.Close(t["code_embeds"], model.EmbedImageCodes(t["codes"]), 4 * (double)band["code_embeds"]!,
            "code embeddings");
        CheckImagePass(model, t, t["input_ids"], t["codes"], name => 4 * (double)band[name]!);
        var inFull = exact.DecodeImage(t["vq_codes"]);
        var own = t["vq_decoded"].to(ScalarType.Float32).sub(inFull).abs().max().ToDouble();
        Golden.Close(t["vq_decoded"], model.DecodeImage(t["vq_codes"]), 4 * own, "decoded");
    }

    [Fact]
    public void Understanding_equals_the_reference()
    {
        using var model = JanusFixture.Load();
        var recording = new RecordingModel(model);
        var t = Golden.Tensors("janus/understanding");
        using var free = no_grad();
        using var scope = NewDisposeScope();
        Tensor mask = t["attention_mask"], real = mask.to(ScalarType.Bool).unsqueeze(-1);
        var embeddings = model.Embed(t["input_ids"], JanusFixture.Floats(t["images"]), t["images_seq_mask"]);
        Golden.Close(t["inputs_embeds"], embeddings, 1e-5, "embeddings");
        Same(t["logits"], model.TextLogits(model.Hidden(embeddings, mask, mask.cumsum(1).sub(1).clamp_min(0))), real,
            1e-4, "logits");

        var config = new TextConfig { MaxTokens = (int)t["greedy"].shape[1] };
        Golden.Equal(t["greedy"], Stack(new TextGenerator(recording, -1, config).Write(embeddings, mask)), "greedy");
        Golden.Close(t["greedy_logits"], cat(recording.Text, 1), 1e-4, "greedy logits");

        var eos = (int)Golden.Json("janus/summary")["greedy_stopped_eos"]!;
        var stopped = Stack(new TextGenerator(model, eos, config).Write(embeddings, mask));
        Golden.Equal(t["greedy_stopped"],
            nn.functional.pad(stopped, [0, t["greedy_stopped"].shape[1] - stopped.shape[1]], value: eos),
            "greedy, stopped");

        Assert.Contains("places for image features", Assert.Throws<ArgumentException>(
            () => model.Embed(t["input_ids"], JanusFixture.Floats(t["images"]).narrow(0, 0, 1),
                t["images_seq_mask"])).Message);
    }

    [Fact]
    public void Guided_generation_draws_what_the_reference_draws()
    {
        using var model = JanusFixture.Load();
        var t = Golden.Tensors("janus/generation");
        var json = Golden.Json("janus/summary")["generation"]!;
        foreach (var name in t.Keys.Where(key => key.EndsWith(".codes")).Some()
            .Select(key => key[..^".codes".Length]))
        {
            using var scope = NewDisposeScope();
            var c = json[name]!;
            var greedy = name.StartsWith("greedy");
            if (!greedy && TestDevice.Device.type == DeviceType.CUDA)
            {
                continue; // a GPU draws its own noise
            }

            int count = (int)c["parallel_size"]!, tokens = (int)c["image_token_num_per_image"]!;
            double scale = (double)c["cfg_weight"]!, temperature = (double)c["temperature"]!;
            var recording = new RecordingModel(model);
            var sampler = new RolloutSampler(recording, JanusFixture.Special, new RolloutConfig
            {
                MaxTextTokens = 0, ImageTokens = tokens, Temperature = temperature, Greedy = greedy,
                GuidanceScale = scale,
            });
            var prompt = t[greedy ? name.Split('.')[1] : (string)json["sample_prompts"]![name]!];
            // the sampler itself adds begin_of_image
            prompt = prompt.narrow(0, 0, prompt.shape[0] - 1).unsqueeze(0).repeat(count, 1);
            var noise = new ExponentialNoise((long?)c["manual_seed"] ?? 0);
            using var rollouts = sampler.Generate(prompt, ones_like(prompt), noise);
            Golden.Equal(t[name + ".codes"], rollouts.ImageCodes, name + " codes");

            var raw = cat(recording.Image, 1); // [P or 2P, tokens, codes]
            var (conditional, bare) = scale == 1 ? (raw, raw) : (Every(raw, 0), Every(raw, 1));
            var guided = bare.add(conditional.sub(bare).mul(scale)).div(temperature);
            if (greedy)
            {
                Golden.Close(scale == 1 ? Every(t[name + ".raw_logits"], 0) : t[name + ".raw_logits"], raw, 1e-4,
                    name + " raw logits");
                Golden.Close(t[name + ".guided_logits"], guided, 5e-4, name + " guided logits");
                Golden.Close(t[name + ".decoded"], model.DecodeImage(rollouts.ImageCodes), 1e-4, name + " decoded");
            }
            else
            {
                Golden.Close(t[name + ".probs"], nn.functional.softmax(guided, -1), 1e-4, name + " probabilities");
            }

            JanusFixture.SamePixels(t[name + ".pixels"],
                ImageTensors.FromTensor(model.DecodeImage(rollouts.ImageCodes)), name);
        }
    }

    [Fact]
    public void Draws_and_their_noise_equal_the_reference()
    {
        var t = Golden.Tensors("janus/multinomial").ToDictionary(pair => pair.Key, pair => pair.Value.cpu());
        var source = new ExponentialNoise((long)Golden.Json("janus/summary")["multinomial"]!["manual_seed"]!);
        Tensor probabilities = t["probs"], noise = t["noise"], draws = t["draws"];
        for (var draw = 0; draw < draws.shape[1]; draw++)
        {
            using var scope = NewDisposeScope();
            using var free = no_grad();
            var own = source.Next(probabilities.shape[0], probabilities.shape[1]);
            var expected = noise.select(1, draw).contiguous();
            Golden.Close(ones_like(expected), own.div(expected), 1e-6, $"noise of draw {draw}");
            foreach (var given in new[] { own, expected })
            {
                var (ids, logProbs) = TokenSampler.Draw(probabilities.log(), 1, false, _ => given);
                Golden.Equal(draws.narrow(1, draw, 1), ids, $"draw {draw}");
                Golden.Close(probabilities.gather(1, ids).log(), logProbs, 1e-5, $"log-probs of draw {draw}");
            }

            var there = probabilities.Here(); // where a GPU draws, given the noise
            Golden.Equal(draws.narrow(1, draw, 1),
                TokenSampler.Draw(there.log(), 1, false, _ => expected.Here()).Ids.cpu(), $"draw {draw} there");
        }
    }

    [Fact]
    public void Placeholders_expand_like_the_reference()
    {
        var t = Golden.Tensors("janus/understanding");
        var (special, patches) = (JanusFixture.Special, (int)t["images_emb_mask"].shape[2]);
        int[] Raw(string row) => [.. t["raw_ids." + row].Values<long>().Select(id => (int)id)];
        int longest = (int)t["input_ids"].shape[1], rows = (int)t["input_ids"].shape[0];
        for (var row = 0; row < rows; row++)
        {
            var ids = JanusChat.ExpandImages(Raw($"{row}"), special, patches);
            var padded =
                Enumerable.Repeat(special.Pad, longest - ids.Length).Concat(ids).Select(id => (long)id).ToArray();
            Assert.Equal(t["input_ids"][row].Values<long>(), padded);
            Assert.Equal(t["images_seq_mask"][row].Values<long>(),
                padded.Select(id => id == special.ImagePlaceholder ? 1L : 0));
            Assert.Equal(t["attention_mask"][row].Values<long>(),
                padded.Select((_, i) => i < longest - ids.Length ? 0L : 1));
            // the images of a row stand in its first slots
            var images = ids.Count(id => id == special.BeginOfImage);
            var present = Enumerable.Range(0, (int)t["image_present"].shape[1]).Select(slot => slot < images ? 1L : 0);
            Assert.Equal(t["image_present"][row].Values<long>(), present);
            Assert.Equal(t["images_emb_mask"][row].Values<long>(),
                present.SelectMany(there => Enumerable.Repeat(there, patches)));
        }

        Expanded("special", JanusChat.ExpandImages(Raw("1"), special, patches, keepPlaceholder: true));
        Expanded("appended", JanusChat.ExpandImages([.. Raw("2"), special.ImagePlaceholder], special, patches));

        void Expanded(string name, int[] ids)
        {
            Assert.Equal(t[name + ".ids"].Values<long>(), ids.Select(id => (long)id));
            Assert.Equal(t[name + ".counts"].Values<long>(),
                Enumerable.Repeat((long)patches, ids.Count(id => id == special.BeginOfImage)));
        }
    }

    [Fact]
    public void Sharded_bf16_weights_of_the_native_layout_give_the_reference_values()
    {
        using var model = JanusFiles.Load(Golden.Path("janus_hf/sharded_bf16"), JanusFixture.Target);
        var t = Golden.Tensors("janus_hf/sharded_bf16_as_fp32");
        Dictionary<string, Tensor> text = Golden.Tensors("janus/text"), image = Golden.Tensors("janus/image_logits");
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var mask = text["attention_mask"];
        var logits = model.TextLogits(model.Hidden(model.Embed(text["input_ids"]), mask, text["position_ids"]));
        Same(t["text.logits"], logits, mask.to(ScalarType.Bool).unsqueeze(-1), 1e-4, "text logits");
        var hidden = model.Hidden(cat([model.Embed(image["input_ids"]), model.EmbedImageCodes(image["codes"])], 1));
        Golden.Close(t["image.image_logits"], model.ImageLogits(hidden), 1e-4, "image logits");
        Golden.Close(t["vision.aligned"], model.EmbedImages(Golden.Tensors("siglip/tower")["pixel_values"]), 1e-4,
            "aligned");
        foreach (var name in t.Keys.Where(key => key.StartsWith("decode.")).Some())
        {
            var codes = Golden.Tensors("janus/generation")[$"greedy.{name["decode.".Length..]}.w5.codes"];
            Golden.Close(t[name], model.DecodeImage(codes).permute(0, 2, 3, 1), 1e-4, name);
        }
    }

    [Fact]
    public void The_native_layout_gives_the_values_of_the_original_one()
    {
        using var model = JanusFiles.Load(Golden.Path("janus_hf/model"), JanusFixture.Target);
        Dictionary<string, Tensor> image = Golden.Tensors("janus/image_logits"),
            vq = Golden.Tensors("janus_hf/vq_encode");
        using var free = no_grad();
        using var scope = NewDisposeScope();
        CheckImagePass(model, image, image["input_ids"], image["codes"], _ => 1e-4);
        // the library itself compares raw latents with raw codes and so finds others; ours is the original rule
        var images = JanusFixture.Floats(vq["images"]);
        Golden.Close(vq["latent"], model.ImageTokenizer.Latent(images), 1e-4, "latent");
        var wide = vq["latent"].to(ScalarType.Float64).permute(0, 2, 3, 1).reshape(-1, vq["latent"].shape[1]);
        var book = model.ImageTokenizer.CodebookWeight.to(ScalarType.Float64);
        Tensor Unit(Tensor rows) => nn.functional.normalize(rows, dim: -1);
        var (nearest, _) = Unit(wide).matmul(Unit(book).t()).mul(2).topk(2); // 2 minus the squared distance
        var certain = nearest.select(1, 0).sub(nearest.select(1, 1)).gt(1e-4);
        Golden.Equal(vq["codes_original_rule"].masked_select(certain),
            model.ImageTokenizer.Encode(images).reshape(-1).masked_select(certain), "codes");
    }

    [Fact]
    public void Gradients_equal_the_reference()
    {
        using var model = JanusFixture.Load();
        var json = Golden.Json("janus/gradients");
        var t = Golden.Tensors("janus/gradients");
        using var scope = NewDisposeScope();
        Tensor ids = t["input_ids"], codes = t["codes"], placeholders = ids.eq(JanusFixture.Special.ImagePlaceholder);
        var embeddings =
            cat([model.Embed(ids, JanusFixture.Floats(t["images"]), placeholders), model.EmbedImageCodes(codes)], 1);
        var hidden = model.Hidden(embeddings);
        long text = ids.shape[1], image = codes.shape[1];
        var textLoss = nn.functional.cross_entropy(model.TextLogits(hidden.narrow(1, 0, text - 1)).flatten(0, 1),
            ids.narrow(1, 1, text - 1).flatten(), reduction: nn.Reduction.None);
        var imageLoss = nn.functional.cross_entropy(model.ImageLogits(hidden.narrow(1, text - 1, image)).flatten(0, 1),
            codes.flatten(), reduction: nn.Reduction.None);
        Golden.Close(t["text_loss"], textLoss, 1e-4, "text loss");
        Golden.Close(t["image_loss"], imageLoss, 1e-4, "image loss");
        var loss = cat([textLoss, imageLoss]).mean();
        Assert.Equal((double)json["loss"]!, loss.ToDouble(), 1e-5);
        loss.backward();

        var gradients = model.named_parameters().ToDictionary(p => p.name, p => p.parameter.grad);
        foreach (var (name, norm) in (JObject)json["norms"]!)
        {
            var actual = gradients[name]?.norm().ToDouble() ?? 0;
            var expected = (double?)norm ?? 0;
            Assert.True(Math.Abs(actual - expected) <= 1e-4 * expected + 1e-7,
                $"{name}: {actual} instead of {expected}");
        }

        Assert.Equal((double)json["total_norm"]!,
            Math.Sqrt(gradients.Values.Sum(g => Math.Pow(g?.norm().ToDouble() ?? 0, 2))),
            1e-4 * (double)json["total_norm"]!);
        foreach (var (key, expected) in t.Where(pair => pair.Key.StartsWith("grad")).Some())
        {
            var actual = gradients[key[(key.IndexOf('.') + 1)..]]!;
            actual = key.StartsWith("grad_rows.") ? actual.index_select(0, ids[0].narrow(0, 0, expected.shape[0]))
                : actual;
            Golden.Close(expected, actual, 1e-4 * Math.Max(1e-3, expected.norm().ToDouble()), key);
        }
    }

    private static void CheckImagePass(Janus model, Dictionary<string, Tensor> t, Tensor ids, Tensor codes,
        Func<string, double> tolerance)
    {
        var hidden = model.Hidden(cat([model.Embed(ids), model.EmbedImageCodes(codes)], 1));
        Golden.Close(t["hidden"], hidden, tolerance("hidden"), "hidden");
        Golden.Close(t["image_logits"], model.ImageLogits(hidden), tolerance("image_logits"), "image logits");
        Golden.Close(t["text_logits"], model.TextLogits(hidden), tolerance("text_logits"), "text logits");
        var mixed = model.Embed(cat([ids, codes], 1), cat([zeros_like(ids), ones_like(codes)], 1));
        Golden.Close(hidden, model.Hidden(mixed), TestDevice.IsCpu ? 1e-6 : 1e-4, "embedded in one go");
    }

    private static void Same(Tensor expected, Tensor actual, Tensor where, double tolerance, string what) =>
        Golden.Close(expected.masked_fill(where.logical_not(), 0), actual.masked_fill(where.logical_not(), 0),
            tolerance, what);

    private static Tensor Every(Tensor pairs, int which) =>
        pairs.view(pairs.shape[0] / 2, 2, pairs.shape[1], pairs.shape[2]).select(1, which);

    private static Tensor Stack(IEnumerable<long[]> steps) => stack(steps.Select(step => tensor(step)).ToArray(), 1);
}
