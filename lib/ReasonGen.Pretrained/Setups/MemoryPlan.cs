// What a training run holds, in bytes, and when. e is the size of a weight or activation (2 in bf16), n the tokens of a
// micro-batch, r a LoRA's rank.
//   always     weights; fp32 masters and two fp32 moments of what is trained; the model that a KL term
//              holds it against; the judges
//   sampling   2 L rows tokens (K V width) e of keys and values; copies of weights that are joined, or with a LoRA's
//              additions in them (SamplingWeights), on a GPU; the decoder of the images
//   judging    the same of a judge, the one that takes most: they answer in turn
//   training   gradients, summed in fp32; a layer's input (n D e) for each of L layers, or its graph for each; with
//              checkpoints one graph more; a chunk of logits
//   update     gradients; fp32 copies of one weight at a time
// A layer's graph, a token: 2 RMSNorms of 4 D (x in fp32) + e D each, + e D where their weight is trained; q, k, v and
// what attention gives, e (2 D + 2 KV width); the MLP's 4 e I; in its backward pass 3 e I + 2 e D more. Attention
// itself keeps no scores (flash).
// The peak is the largest of the phases on top of what is always there.
using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Native;
using ReasonGen.Optimization;
using ReasonGen.Qwen;
using ReasonGen.Ranks;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Setups;

/// <summary>The two stages that a setup has settings for.</summary>
public enum TrainingStage
{
    Sft,
    Grpo,
}

/// <summary>When memory is taken.</summary>
public enum MemoryPhase
{
    Always,
    Sampling,
    Judging,
    Training,
    Update,
}

/// <summary>Something that takes memory.</summary>
public sealed record MemoryRow(string What, MemoryPhase When, double Bytes, string Why)
{
    public double GiB => Bytes / (1L << 30);
}

/// <summary>The memory of a run, before it starts.</summary>
public sealed record MemoryPlan(TrainingSetup Setup, TrainingStage Stage, int Ranks, IReadOnlyList<MemoryRow> Rows)
{
    /// <summary>GPUs that a plan is compared with: name and bytes.</summary>
    public static IReadOnlyList<(string Name, double Bytes)> Gpus { get; } = [("80 GB", 80e9), ("141 GB", 141e9)];

    /// <summary>What the CUDA context, its libraries and gaps between blocks take besides.</summary>
    public const double GpuReserve = 2.5 * (1L << 30);

    /// <summary>Largest total of bytes at one time.</summary>
    public double PeakBytes => Enum.GetValues<MemoryPhase>().Max(Bytes);

    /// <summary>Bytes held in a phase, with those always held.</summary>
    public double Bytes(MemoryPhase phase) =>
        Rows.Where(row => row.When == MemoryPhase.Always || row.When == phase).Sum(row => row.Bytes);

    /// <summary>Whether it fits so many bytes of a GPU, <see cref="GpuReserve"/> included.</summary>
    public bool Fits(double bytes) => PeakBytes + GpuReserve <= bytes;

    /// <summary>Plans a run.</summary>
    /// <param name="setup">Model and settings.</param>
    /// <param name="stage">The stage.</param>
    /// <param name="judge">A judge on the same device in GRPO; null for none, or one elsewhere.</param>
    /// <param name="ranks">GPUs that train together, at least 1; the plan is of the fullest. They share the optimizer's
    /// state out where all weights are trained.</param>
    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public static MemoryPlan Of(TrainingSetup setup, TrainingStage stage, QwenConfig? judge = null, int ranks = 1) =>
        Of(setup, stage, judge is null ? [] : [PlannedJudge.Of("judge", judge, setup.DType)], ranks);

    /// <summary>Plans a run with any number of judges.</summary>
    /// <param name="setup">Model and settings.</param>
    /// <param name="stage">The stage.</param>
    /// <param name="judges">Those on the same device in GRPO.</param>
    /// <param name="ranks">As above.</param>
    /// <exception cref="ArgumentException">A setting is out of range, or the stage has no judge.</exception>
    public static MemoryPlan Of(TrainingSetup setup, TrainingStage stage, IReadOnlyList<PlannedJudge> judges,
        int ranks = 1)
    {
        setup.Validate();
        NativeRuntime.EnsureLoaded();
        var rows = new List<MemoryRow>();
        void Add(string what, MemoryPhase when, double bytes, string why) => rows.Add(new(what, when, bytes, why));

        using var model = new Janus(setup.Model, new ComputeTarget(META, setup.DType));
        using var policy = setup.Prepare(model) as Lora;
        long[] trained =
            [.. ((IImageTextModel?)policy ?? model).TrainableParameters().Select(p => p.Parameter.numel())];
        var (language, size) = (setup.Model.Language, model.TrainableParameters().First().Parameter.element_size());
        bool sft = stage == TrainingStage.Sft, masters = size < 4 && (!sft || setup.Sft.KeepMasters);
        double weights = model.state_dict().Values.Sum(tensor => (double)tensor.numel() * tensor.element_size()),
            all = trained.Sum();
        double largest = trained.Max(), kept = all;
        var shared = "";
        if (ranks > 1 && policy is null)
        {
            kept = RankOperations.Owners(trained, ranks).Zip(trained).GroupBy(one => one.First, one => one.Second)
                .Max(load => load.Sum());
            shared = $", shared out over {ranks} ranks";
        }

        Add("weights", MemoryPhase.Always, weights + (policy is null ? 0 : all * size), 
            policy is null ? $"{setup.DType}" : $"{setup.DType}, LoRA of rank {setup.Lora!.Rank} included");
        Add("fp32 masters", MemoryPhase.Always, masters ? 4 * kept : 0,
            masters ? $"of {all / 1e6:0} million trained weights{shared}" : "none are kept");
        Add("AdamW moments", MemoryPhase.Always, 2 * kept * (masters ? 4 : size),
            $"two of each trained weight{shared}");
        if (!sft && setup.Grpo.KlWeight > 0)
        {
            Add("reference", MemoryPhase.Always, weights, $"{setup.DType}, the frozen model of the KL term");
        }

        foreach (var phase in new[] { MemoryPhase.Training, MemoryPhase.Update })
        {
            Add("gradients", phase, all * 4, "one of each trained weight, summed in fp32");
        }

        double micro = sft ? setup.Sft.MicroBatchSamples : setup.Grpo.MicroBatchRollouts;
        double response = setup.Rollout.MaxTextTokens + setup.Model.ImageTokens;
        double tokens = micro * (sft ? setup.SequenceTokens : setup.PromptTokens + response),
            input = tokens * language.Width * size;
        double graph = tokens * Graph(language, size, setup.Lora?.Rank),
            backward = tokens * (3.0 * language.MlpWidth + 2 * language.Width) * size;
        Add("activations", MemoryPhase.Training, (language.Layers + 1) * (setup.CheckpointActivations ? input : graph),
            $"{(setup.CheckpointActivations ? "inputs" : "graphs")} of {language.Layers} layers, {micro} x "
            + $"{tokens / micro:0} tokens");
        Add("one layer's backward pass", MemoryPhase.Training, backward + (setup.CheckpointActivations ? graph : 0),
            setup.CheckpointActivations ? "computed again, with its graph" : "");
        var text = micro
            * (sft ? Math.Max(1, setup.SequenceTokens - setup.Model.ImageTokens) : setup.Rollout.MaxTextTokens + 1);
        var logits = Math.Max(text * language.VocabularySize,
            micro * setup.Model.ImageTokens * setup.Model.ImageTokenizer.CodebookSize);
        var chunk = Math.Min(TokenLogProbs.LargestChunk, logits);
        Add("chunk of logits", MemoryPhase.Training, chunk * (size + 20) + (policy is null ? largest * size : 0),
            $"{chunk / 1e6:0.0} of {logits / 1e6:0} million at a time"
                + (policy is null ? "; a part of the head's gradient" : ""));
        Add("one weight's update", MemoryPhase.Update, largest * (size < 4 ? 8 : 4),
            $"fp32 copies of the largest, {largest / 1e6:0.0} million");
        if (!sft)
        {
            Rollouts(setup, size, response, Add);
        }

        if (sft && judges.Count > 0)
        {
            throw new ArgumentException(
                "supervised fine-tuning has no judge; plan it without one, or the stage grpo with it");
        }

        rows.AddRange(judges.SelectMany(judge => judge.Rows).Where(row => row.When == MemoryPhase.Always));
        rows.AddRange(judges.MaxBy(judge => judge.Answering)?.Rows.Where(row => row.When != MemoryPhase.Always) ?? []);
        return new(setup, stage, ranks, rows);
    }

    /// <summary>The rows as a table for a notebook: what, when, GiB, why.</summary>
    public IEnumerable<IReadOnlyList<object?>> Table() => Rows.Select(row =>
        new object?[] { row.What, row.When.ToString().ToLowerInvariant(), Math.Round(row.GiB, 2), row.Why })
        .Append(["peak", "", Math.Round(PeakBytes / (1L << 30), 2), Verdict()]);

    /// <summary>What it fits, in one sentence.</summary>
    public string Verdict() => string.Join(", ", Gpus.Select(gpu => Fits(gpu.Bytes) ? $"fits one {gpu.Name} GPU"
        : $"does not fit one {gpu.Name} GPU"))
        + $" ({GpuReserve / (1L << 30):0.0} GiB of it set aside for CUDA)";

    private static double Graph(LlamaConfig language, double size, int? rank)
    {
        double width = language.Width, keyValues = (double)language.KeyValueHeads * language.HeadWidth;
        var norms = 2 * width * (4 + size + (rank is null ? size : 0));
        return norms + size * (2 * width + 2 * keyValues) + 4 * size * language.MlpWidth + 7 * size * (rank ?? 0);
    }

    private static void Rollouts(TrainingSetup setup, double size, double response,
        Action<string, MemoryPhase, double, string> add)
    {
        var (language, image) = (setup.Model.Language, setup.Model.ImageTokenizer);
        double rows =
            Math.Min(setup.Rollout.RowsAtATime, (double)setup.Grpo.PromptsPerRound * setup.Grpo.RolloutsPerPrompt);
        double guided = setup.Rollout.GuidanceScale == 1 ? 1 : 2;
        var tokens = setup.PromptTokens + response;
        add("KV cache", MemoryPhase.Sampling,
            2.0 * language.Layers * guided * rows * tokens * language.KeyValueHeads * language.HeadWidth * size,
            $"{guided * rows} rows of {tokens} tokens");
        add("logits while sampling", MemoryPhase.Sampling, rows * language.VocabularySize * 16,
            "probabilities and noise in fp32");
        var joined = SampledLayer(language, setup.Lora is not null);
        add("weights while sampling", MemoryPhase.Sampling, language.Layers * joined * size,
            setup.Lora is null ? "copies, joined" : "copies with the additions in them");
        add("decoding images", MemoryPhase.Sampling,
            Math.Min(rows, PolicySampler.ImagesAtATime) * Image(setup.Model, size),
            "the finest level, norms in fp32");
    }

    private static double Image(JanusConfig model, double size) => (double)model.ImageTokens
        * model.ImageTokenizer.PixelsPerCode * model.ImageTokenizer.PixelsPerCode * model.ImageTokenizer.Channels
        * (2 * size + 8);

    // weights of a layer that sampling keeps a copy of
    internal static double SampledLayer(LlamaConfig language, bool additions)
    {
        double width = language.Width, heads = width + 2.0 * language.KeyValueHeads * language.HeadWidth;
        double[] joined = [width * heads, 2 * width * language.MlpWidth];
        return joined.Where(weights => additions || weights <= SamplingWeights.LargestJoined).Sum()
            + (additions ? width * width + width * language.MlpWidth : 0);
    }

    /// <summary>
    /// Rows to draw together on a GPU: as many as fit, up to 64, since a step of many costs hardly more than one of
    /// few. It follows from the GPU's size alone, so that the same seed draws the same images again.
    /// </summary>
    /// <param name="model">Sizes.</param>
    /// <param name="size">Bytes of a weight.</param>
    /// <param name="tokens">Of a sequence, prompt included.</param>
    /// <param name="guided">Whether each row has an unconditional one beside it.</param>
    /// <param name="bytes">Of the GPU.</param>
    public static int DrawingRows(JanusConfig model, double size, double tokens, bool guided, double bytes)
    {
        var language = model.Language;
        using var bare = new Janus(model, new ComputeTarget(META, ScalarType.BFloat16));
        var held = size * (bare.parameters().Sum(parameter => parameter.numel())
            + language.Layers * SampledLayer(language, false));
        var keys = 2.0 * language.Layers * tokens * language.KeyValueHeads * language.HeadWidth * size;
        var row = (guided ? 2 : 1) * keys + language.VocabularySize * 16.0;
        var images = PolicySampler.ImagesAtATime * Image(model, size);
        return (int)Math.Clamp((bytes - GpuReserve - held - images) / row, 1, MostRows);
    }

    private const int MostRows = 64;
}
