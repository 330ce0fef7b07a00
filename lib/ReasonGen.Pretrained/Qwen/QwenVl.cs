// Qwen2.5-VL (transformers: modeling_qwen2_5_vl.py): a vision tower whose vectors take the places of image tokens in a
// decoder, which is Llama's with biased q, k, v, grouped keys and M-RoPE. The published judges, and the miniatures of
// it.
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Tokenizers;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using Linear = TorchSharp.Modules.Linear;

namespace ReasonGen.Qwen;

/// <summary>A prompt batch: text and the images in it.</summary>
/// <param name="Ids">[B, T] int64, left-padded; each image has as many image tokens as its grid gives.</param>
/// <param name="Mask">[B, T] int64, 0 on pads.</param>
/// <param name="Patches">[S, values] of all images in order; null without images.</param>
/// <param name="Grids">One an image.</param>
public sealed record QwenInput(Tensor Ids, Tensor Mask, Tensor? Patches, IReadOnlyList<PatchGrid> Grids);

/// <summary>Reads text and images, writes text.</summary>
public sealed class QwenVl : Module
{
    private readonly QwenVision visual;
    private readonly LlamaModel model;
    private readonly Linear? lm_head;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and dtype of the weights.</param>
    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public QwenVl(QwenConfig config, ComputeTarget target) : base(nameof(QwenVl))
    {
        config.Validate();
        visual = new QwenVision(config.Vision, config.Language.Width, target);
        model = new LlamaModel(config.Language, target.Device, target.DType);
        lm_head = config.TiedHead ? null
            : Linear(config.Language.Width, config.Language.VocabularySize, false, target.Device, target.DType);
        RegisterComponents();
        (Config, Target) = (config, target);
    }

    /// <summary>A published model: its folder with config.json and weights, in one file or in shards, under their old
    /// names or their new ones.</summary>
    /// <exception cref="UnusableFileException">The folder holds no such model, or a damaged one.</exception>
    public static QwenVl Load(string folder, ComputeTarget target)
    {
        _ = FolderKinds.IsAdapter(folder); // throws where an adapter lies beside the model
        // built without memory, so that no weight is drawn in vain or held twice
        var model = new QwenVl(QwenConfig.FromFolder(folder), target with { Device = META }) { Target = target };
        var files = CheckpointFiles.Open(folder).Unwrapped();
        var nameOf = NamesIn(files);
        files.LoadInto(model, target.Device, nameOf, () => model.WeightsAs(nameOf), model.IsUnread);
        return model;
    }

    /// <summary>The tokenizer beside a model.</summary>
    /// <exception cref="UnusableFileException">There is none, or it gives ids that the model of the folder's
    /// config.json has not.</exception>
    public static HuggingFaceTokenizer Tokenizer(string folder)
    {
        var rows = QwenConfig.FromFolder(folder).Language.VocabularySize;
        var tokenizer = HuggingFaceTokenizer.Load(folder);
        return tokenizer.VocabularySize <= rows ? tokenizer : throw tokenizer.Foreign(folder, rows);
    }

    /// <summary>Compares names and shapes of the weights with what config.json describes, without reading
    /// them.</summary>
    /// <exception cref="UnusableFileException">As for <see cref="Load"/>, but for the weights themselves.</exception>
    public static QwenConfig Check(string folder)
    {
        using var model = new QwenVl(QwenConfig.FromFolder(folder), new(META, ScalarType.Float32));
        var files = CheckpointFiles.Open(folder).Unwrapped();
        files.Check(model.WeightsAs(NamesIn(files)), model.IsUnread);
        return model.Config;
    }

    // newer libraries write model.visual.… and model.language_model.…
    private static Func<string, string> NamesIn(CheckpointFiles files) =>
        !files.Entries.Any(entry => entry.Name.StartsWith("model.language_model.")) ? name => name
        : name => name.StartsWith("visual.") ? "model." + name
            : name.StartsWith("model.") ? "model.language_model." + name[6..] : name;

    private Dictionary<string, Tensor> WeightsAs(Func<string, string> nameOf) =>
        Weights().ToDictionary(p => nameOf(p.Name), p => (Tensor)p.Parameter);

    private bool IsUnread(string name) => Config.TiedHead && name == "lm_head.weight";

    public QwenConfig Config { get; }

    public ComputeTarget Target { get; internal set; }

    /// <summary>Weights by name.</summary>
    public IEnumerable<(string Name, Parameter Parameter)> Weights() =>
        named_parameters().Select(p => (p.name, p.parameter));

    /// <summary>Vectors of images, [S / 4, D]; see <see cref="QwenProcessor"/> for the patches.</summary>
    /// <param name="patches">[S, values].</param>
    /// <param name="grids">One an image.</param>
    /// <param name="observe">Handed every intermediate result of the tower by name.</param>
    public Tensor EmbedImages(Tensor patches, IReadOnlyList<PatchGrid> grids, Action<string, Tensor>? observe = null) =>
        visual.Forward(patches, grids, observe);

    /// <summary>[B, T] ids → [B, T, D], the vectors of images in place of image tokens.</summary>
    /// <exception cref="ArgumentException">There are more or fewer image tokens than the images have.</exception>
    public Tensor Embed(QwenInput input)
    {
        using var scope = NewDisposeScope();
        var text = model.Embed(input.Ids);
        if (input.Patches is null)
        {
            return text.MoveToOuterDisposeScope();
        }

        var images = visual.Forward(input.Patches, input.Grids).to(text.dtype);
        var places = input.Ids.eq(Config.ImageToken);
        var count = places.sum().item<long>();
        return count == images.shape[0]
            ? text.masked_scatter(places.unsqueeze(-1).expand_as(text), images).MoveToOuterDisposeScope()
            : throw new ArgumentException($"the text has {count} image tokens, the images have {images.shape[0]}");
    }

    /// <summary>Hidden states [B, T, D] after the final norm.</summary>
    /// <param name="embeddings">[B, T, D].</param>
    /// <param name="mask">[B, cached + T], 0 on pads; null when there are none.</param>
    /// <param name="positions">[3, B, T] of <see cref="QwenPositions"/>, or [B, T] where the three are equal.</param>
    /// <param name="cache">Keys and values so far; extended by T.</param>
    public Tensor Hidden(Tensor embeddings, Tensor? mask, Tensor positions, KvCache? cache = null) =>
        model.Forward(embeddings, mask, positions, cache);

    /// <summary>[…, D] → […, V].</summary>
    public Tensor Logits(Tensor hidden) => lm_head is null ? model.Unembed(hidden) : lm_head.forward(hidden);

    /// <summary>Logits of a whole batch, [B, T, V].</summary>
    public Tensor Logits(QwenInput input)
    {
        using var scope = NewDisposeScope();
        var positions = QwenPositions.Of(input.Ids, input.Mask, input.Grids, Config);
        return Logits(Hidden(Embed(input), input.Mask, positions.Ids)).MoveToOuterDisposeScope();
    }

    /// <summary>An empty cache.</summary>
    public KvCache NewCache(int rows, int tokens) => new(
        Config.Language.Layers, rows, Config.Language.KeyValueHeads, tokens, Config.Language.HeadWidth, Target.Device,
        Target.DType);

    /// <summary>The likeliest continuation of each row, token by token, until every row has ended.</summary>
    /// <param name="input">The prompts.</param>
    /// <param name="maxTokens">Most tokens of an answer; at least 1.</param>
    /// <param name="ends">Ids that end a row; null takes the model's own.</param>
    /// <param name="cache">A cache to fill, of at least T + maxTokens tokens; null makes one.</param>
    /// <param name="observe">Handed the logits [B, V] of each step.</param>
    /// <param name="cancel">Ends it between tokens.</param>
    /// <returns>Tokens [B, n], pads behind a row's end, and the probability of each, [B, n] fp32.</returns>
    public (Tensor Tokens, Tensor Probabilities) Generate(QwenInput input, int maxTokens,
        IReadOnlyList<int>? ends = null, KvCache? cache = null,
        Action<Tensor>? observe = null, CancellationToken cancel = default)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        int rows = (int)input.Ids.shape[0], columns = (int)input.Ids.shape[1];
        using var own = cache is null ? NewCache(rows, columns + maxTokens) : null;
        cache ??= own!;
        using var mask = new DecodeMask(input.Mask, maxTokens, Target.DType);
        var positions = QwenPositions.Of(input.Ids, input.Mask, input.Grids, Config);
        var hidden = Hidden(Embed(input), mask.IsNeeded ? input.Mask : null, positions.Ids, cache)
            .narrow(1, columns - 1, 1);
        var ending = tensor((ends ?? Config.EndTokens).Select(id => (long)id).ToArray(), device: input.Ids.device);
        var ended = zeros(rows, 1, ScalarType.Bool, input.Ids.device);
        List<Tensor> tokens = [], probabilities = [];
        while (true)
        {
            cancel.ThrowIfCancellationRequested();
            using var step = NewDisposeScope();
            var logits = Logits(hidden).squeeze(1).to(ScalarType.Float32); // [B, V]
            observe?.Invoke(logits);
            var (best, next) = functional.softmax(logits, -1).max(-1, keepdim: true);
            tokens.Add(next.masked_fill(ended, Config.Pad).MoveToOuterDisposeScope());
            probabilities.Add(best.MoveToOuterDisposeScope());
            ended = ended.logical_or(next.eq(ending).any(1, keepdim: true)).MoveToOuterDisposeScope();
            if (tokens.Count == maxTokens || ended.all().ToBoolean())
            {
                break;
            }

            var at = columns + tokens.Count;
            hidden = Hidden(model.Embed(next), mask.Next(), positions.Deltas.add(at - 1), cache)
                .MoveToOuterDisposeScope();
        }

        return (cat(tokens, 1).MoveToOuterDisposeScope(), cat(probabilities, 1).MoveToOuterDisposeScope());
    }

    /// <summary>
    /// How several texts go on from one beginning, which is read once: the questions about an image. All stand in one
    /// row, each seeing the beginning and itself.
    /// </summary>
    /// <param name="beginning">One row without padding, with its images.</param>
    /// <param name="endings">Ids of each text behind it; at least one id each.</param>
    /// <param name="tokensAtATime">Most tokens of endings in one pass; a longer ending goes alone.</param>
    /// <param name="cancel">Ends it between passes.</param>
    /// <returns>Logits of the token after each ending, [n, V] fp32.</returns>
    /// <exception cref="ArgumentException">There is more than one beginning, or an ending is empty.</exception>
    public Tensor NextLogits(QwenInput beginning, IReadOnlyList<long[]> endings, int tokensAtATime = 1024,
        CancellationToken cancel = default)
    {
        if (beginning.Ids.shape[0] != 1 || endings.Count == 0 || endings.Any(ending => ending.Length == 0))
        {
            throw new ArgumentException(
                $"one beginning and endings of at least one token are wanted, "
                + $"not {beginning.Ids.shape[0]} and {endings.Count}");
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        var start = (int)beginning.Ids.shape[1];
        using var cache = NewCache(1, start + Math.Max(tokensAtATime, endings.Max(ending => ending.Length)));
        var positions = QwenPositions.Of(beginning.Ids, null, beginning.Grids, Config);
        Hidden(Embed(beginning), null, positions.Ids, cache).Dispose();
        var next = start + positions.Deltas.item<long>();
        var logits = new List<Tensor>();
        for (var (first, count) = (0, 0); first < endings.Count; first += count)
        {
            cancel.ThrowIfCancellationRequested();
            count = 1;
            for (var sum = endings[first].Length;
            first + count < endings.Count && (sum += endings[first + count].Length) <= tokensAtATime;)
            {
                count++;
            }

            var some = endings.Skip(first).Take(count).ToArray();
            var ids = tensor(some.SelectMany(ending => ending).ToArray(), device: beginning.Ids.device).unsqueeze(0);
            var at = tensor(some.SelectMany(ending => ending.Select((_, i) => next + i)).ToArray(),
                device: beginning.Ids.device).unsqueeze(0);
            var owner = tensor(some.SelectMany((ending, i) => ending.Select(_ => (long)i)).ToArray(),
                device: beginning.Ids.device);
            var own = owner.unsqueeze(1).eq(owner.unsqueeze(0)).tril(); // [T, T]: the same ending, and not later
            var mask = cat([ones(own.shape[0], start, ScalarType.Bool, own.device), own], 1).unsqueeze(0).unsqueeze(0);
            var hidden = Hidden(model.Embed(ids), mask, at, cache); // [1, T, D]
            cache.Truncate(start);
            var (last, ends) = (-1L, new List<long>());
            foreach (var ending in some)
            {
                ends.Add(last += ending.Length);
            }

            logits.Add(Logits(hidden.squeeze(0).index_select(0, tensor(ends.ToArray(), device: ids.device)))
                .to(ScalarType.Float32));
        }

        return cat(logits).MoveToOuterDisposeScope();
    }

    /// <summary>Fresh weights from a seed: normal with variance 1 / inputs (0.02 for embeddings), biases 0, norms
    /// 1.</summary>
    public void Initialize(long seed) => Initializer.Apply(Weights(), seed,
        (name, shape) =>
            name.Contains("embed_tokens") ? 0.02 : Math.Sqrt(shape[0] / (double)shape.Aggregate((a, b) => a * b)));
}
