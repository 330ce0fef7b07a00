using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Rollouts;

[Trait("Category", "Golden")]
public sealed class RolloutGoldenTests
{
    [Fact]
    public void Rollouts_equal_the_reference()
    {
        var json = Golden.Json("rollout/rollouts");
        // on the CPU: elsewhere the model is told the same in another form (DecodeMask), which DeviceTests hold to this
        var t = Golden.Tensors("rollout/rollouts").ToDictionary(pair => pair.Key, pair => pair.Value.cpu());
        var ids = json["ids"]!;
        var special = new SpecialTokens((int)ids["bos"]!, (int)ids["eos"]!, (int)ids["pad"]!,
            (int)ids["begin_of_image"]!, -1, -1);
        var vocabulary = (int)ids.Children<JProperty>().Select(id => (long)id.Value)
            .Concat(t.Values.SelectMany(tensor => tensor.Values<long>())).Max() + 1;
        foreach (var (name, c) in (JObject)json["cases"]!)
        {
            using var scope = NewDisposeScope();
            Tensor Of(string part) => t[$"{name}.{part}"];
            var model = new ScriptedModel(Of("scripted_text"), Of("scripted_image"), vocabulary);
            var sampler = new RolloutSampler(model, special, new RolloutConfig
            {
                MaxTextTokens = (int)json["text_budget"]!, ImageTokens = (int)json["image_tokens"]!,
                GuidanceScale = (double)c!["cfg_weight"]!,
            });
            using var rollouts = sampler.Generate(Of("prompt_ids"), Of("prompt_attention_mask"), seed: 3);
            var (text, image) = (model.Passes[0], model.Passes[1]);
            Golden.Equal(Of("text_prefill_positions"), text.Positions[0], name + " text prefill positions");
            Golden.Equal(Of("text_step_positions"), Join(text.Positions), name + " text step positions");
            Golden.Equal(Of("image_prefill_ids"), image.Ids, name + " image prefill ids");
            Golden.Equal(Of("image_prefill_mask"), image.FirstMask, name + " image prefill mask");
            Golden.Equal(Of("image_prefill_positions"), image.Positions[0], name + " image prefill positions");
            Golden.Equal(Of("image_step_positions"), Join(image.Positions), name + " image step positions");
            Golden.Equal(Of("image_last_mask"), image.LastMask, name + " last mask");
            var steps = text.Positions.Count;
            Assert.Equal((int)c["text_steps_run"]!, steps);
            Golden.Equal(Of("text_generated"), Of("scripted_text").narrow(1, 0, steps), name + " text");
            var (repadded, padded) = (Of("repadded_ids"), Of("text_tokens"));
            var once = arange(0, image.Ids.shape[0], image.Ids.shape[0] / repadded.shape[0]); // guided or not
            Golden.Equal(repadded, image.Ids.index_select(0, once), name + " ids moved right");
            Golden.Equal(padded, nn.functional.pad(repadded, [0, padded.shape[1] - repadded.shape[1]],
                value: special.Pad), name + " text tokens");
            Golden.Equal(Of("img_tokens"), rollouts.ImageCodes, name + " image codes");
            var (prompt, unpadded) = (Of("prompt_ids").shape[1], Of("sequences_before_padding"));
            Golden.Equal(unpadded, rollouts.Ids.narrow(1, 0, unpadded.shape[1]), name + " sequences");
            Golden.Equal(Of("responses"), rollouts.Ids.narrow(1, prompt, rollouts.Ids.shape[1] - prompt),
                name + " responses");
            Golden.Equal(Of("prompt_position_ids"), rollouts.PositionIds.narrow(1, 0, prompt),
                name + " positions of the prompt");
            Golden.Equal(Of("input_ids"), rollouts.Ids, name + " ids");
            Golden.Equal(Of("attention_mask"), rollouts.AttentionMask, name + " attention mask");
            Golden.Equal(Of("position_ids"), rollouts.PositionIds, name + " positions");
            Golden.Equal(Of("seq_img_mask"), rollouts.ImageMask, name + " image mask");
        }
    }

    private static Tensor Join(List<Tensor> positions) =>
        positions.Count == 1 ? zeros([positions[0].shape[0], 0], ScalarType.Int64)
            : cat(positions.Skip(1).ToArray(), 1);

    /// <summary>What one phase fed the model.</summary>
    private sealed class Pass
    {
        internal required Tensor Ids { get; init; }

        internal required Tensor FirstMask { get; init; }

        internal Tensor LastMask { get; set; } = null!;

        internal List<Tensor> Positions { get; } = [];
    }

    /// <summary>Emits given tokens whatever it reads, and keeps what it read. Embeddings are the ids
    /// themselves.</summary>
    private sealed class ScriptedModel(Tensor text, Tensor image, int vocabulary) : IImageTextModel
    {
        internal List<Pass> Passes { get; } = [];

        public int VocabularySize => vocabulary;

        public int CodebookSize => (int)image.max().item<long>() + 1;

        public IEnumerable<(string Name, TorchSharp.Modules.Parameter Parameter)> TrainableParameters() => [];

        public Tensor Embed(Tensor ids, Tensor? imageMask = null) => ids.to(ScalarType.Float32).unsqueeze(-1);

        public Tensor EmbedImageCodes(Tensor codes) => Embed(codes);

        public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
            KvCache? cache = null)
        {
            if (embeddings.shape[1] > 1 || Passes.Count == 0
                || (Passes[^1].Positions.Count > 0 && attentionMask!.shape[1] == embeddings.shape[1]))
            {
                Passes.Add(new Pass
                {
                    Ids = Keep(embeddings.squeeze(-1).to(ScalarType.Int64)), FirstMask = Keep(attentionMask!),
                });
            }

            Passes[^1].Positions.Add(Keep(positionIds!));
            Passes[^1].LastMask = Keep(attentionMask!);
            return embeddings;
        }

        public Tensor TextLogits(Tensor hidden) => Scripted(text, VocabularySize, 1);

        public Tensor ImageLogits(Tensor hidden) => Scripted(image, CodebookSize, hidden.shape[0] / image.shape[0]);

        public KvCache? NewCache(int rows, int tokens) => null;

        public Tensor DecodeImage(Tensor codes) => throw new NotSupportedException();

        // [N, 1, classes]: 0 for the scripted token, −1e4 for all others
        private Tensor Scripted(Tensor script, long classes, long copies)
        {
            var token = script.select(1, Passes[^1].Positions.Count - 1).repeat_interleave(copies, 0).unsqueeze(1);
            return full([token.shape[0], classes], -1e4f).scatter_(1, token, zeros(token.shape)).unsqueeze(1);
        }

        private static Tensor Keep(Tensor tensor) => tensor.clone().DetachFromDisposeScope();
    }
}
