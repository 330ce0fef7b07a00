// Names of weights as detectron2 gives them, and how its DetectionCheckpointer finds them in a file
// (checkpoint/c2_model_loading.py):
//   a name of the file fits one of the model if it is equal to it or to what follows one of its dots; the longest wins;
//   "module." before every name is taken off
// Deviation: what is missing or of another shape is refused. The reference keeps the values the network began with, or,
// of statistics of a frozen norm, takes 0 and 1.
using ReasonGen.Checkpoints;

namespace ReasonGen.Judges.UniDet;

internal static class UniDetNames
{
    private static readonly string[] Statistics = ["running_mean", "running_var"];

    /// <summary>Every weight of the network by name.</summary>
    internal static IReadOnlyDictionary<string, long[]> Shapes(UniDetConfig config)
    {
        var all = new Dictionary<string, long[]>();
        Backbone(all, config);
        long pyramid = config.PyramidWidth, anchors = UniDetConfig.AnchorsPerCell;
        foreach (var level in new[] { 3, 4, 5 })
        {
            Convolve($"backbone.fpn_lateral{level}", pyramid, (long)config.Width << (level - 2), 1, config.IsSplit);
            Convolve($"backbone.fpn_output{level}", pyramid, pyramid, 3, config.IsSplit);
        }

        Convolve("backbone.top_block.p6", pyramid, pyramid, 3, normed: false);
        Convolve("backbone.top_block.p7", pyramid, pyramid, 3, normed: false);
        const string Rpn = "proposal_generator.rpn_head.";
        Convolve(Rpn + "conv", pyramid, pyramid, 3, normed: false);
        Convolve(Rpn + "objectness_logits", anchors, pyramid, 1, normed: false);
        Convolve(Rpn + "anchor_deltas", 4 * anchors, pyramid, 1, normed: false);
        for (var stage = 0; stage < UniDetConfig.Stages; stage++)
        {
            var (head, width) = ($"roi_heads.box_head.{stage}.", pyramid);
            for (var i = 1; i <= config.HeadConvolutions; i++, width = config.HeadConvolutionWidth)
            {
                Convolve($"{head}conv{i}", config.HeadConvolutionWidth, width, 3, normed: true);
            }

            width *= UniDetConfig.PooledSide * UniDetConfig.PooledSide;
            for (var i = 1; i <= config.HeadLayers; i++, width = config.HeadWidth)
            {
                Linear($"{head}fc{i}", config.HeadWidth, width);
            }

            Linear($"roi_heads.box_predictor.{stage}.cls_score", config.Classes + 1, width);
            Linear($"roi_heads.box_predictor.{stage}.bbox_pred", 4, width);
        }

        return all;

        void Linear(string name, long outputs, long inputs) =>
            (all[name + ".weight"], all[name + ".bias"]) = ([outputs, inputs], [outputs]);

        void Convolve(string name, long outputs, long inputs, long side, bool normed)
        {
            Add(all, name, outputs, inputs, side, normed);
            if (!normed)
            {
                all[name + ".bias"] = [outputs];
            }
        }
    }

    /// <summary>Which tensor of a file is which of the model's.</summary>
    /// <param name="files">The file, without a prefix that all names have.</param>
    /// <param name="shapes">Shapes of the model's tensors by name.</param>
    /// <returns>The file's name by the model's.</returns>
    /// <exception cref="UnusableFileException">Some are missing, of another shape, or cannot be told apart.</exception>
    internal static IReadOnlyDictionary<string, string> Match(CheckpointFiles files, IReadOnlyDictionary<string,
        long[]> shapes)
    {
        var found = files.Entries.ToDictionary(entry => entry.Name, entry => entry.Shape);
        var (matches, problems, taken) = (new Dictionary<string, string>(), new List<string>(), new Dictionary<string,
            string>());
        foreach (var (name, shape) in shapes)
        {
            var theirs = name;
            while (!found.ContainsKey(theirs) && theirs.Contains('.'))
            {
                theirs = theirs[(theirs.IndexOf('.') + 1)..];
            }

            if (!found.TryGetValue(theirs, out var has))
            {
                problems.Add($"{name} is missing" + (Statistics.Any(name.EndsWith)
                    ? " (detectron2 itself would take a mean of 0 or a variance of 1 for it, without a word)" : ""));
            }
            else if (!has.SequenceEqual(shape))
            {
                problems.Add($"{theirs} is [{string.Join(", ", has)}], the model has [{string.Join(", ", shape)}]");
            }
            else if (!taken.TryAdd(theirs, name))
            {
                problems.Add($"{theirs} may be {taken[theirs]} or {name}");
            }
            else
            {
                matches[name] = theirs;
            }
        }

        return problems.Count == 0 ? matches : throw new UnusableFileException(files.Path,
            $"{problems.Count} tensors do not fit the model: {string.Join("; ", problems.Take(20))}"
            + (problems.Count > 20 ? "; …" : ""),
            "download the file again; nothing is made up for what it lacks");
    }

    /// <summary>Whether a file's tensor is one that the network has no use for: image statistics, anchors and counters
    /// that files of some ages hold.</summary>
    internal static bool IsUnread(string name) => name is "pixel_mean" or "pixel_std"
        || name.StartsWith("proposal_generator.anchor_generator.", StringComparison.Ordinal)
        || name.EndsWith(".num_batches_tracked", StringComparison.Ordinal);

    private static void Backbone(Dictionary<string, long[]> all, UniDetConfig config)
    {
        const string Stem = "backbone.bottom_up.stem.";
        long inputs = config.StemWidth, half = inputs / 2;
        if (config.IsSplit)
        {
            Add(all, Stem + "conv1_1", half, 3, 3);
            Add(all, Stem + "conv1_2", half, half, 3);
            Add(all, Stem + "conv1_3", inputs, half, 3);
        }
        else
        {
            Add(all, Stem + "conv1", inputs, 3, 7);
        }

        for (var stage = 0; stage < 4; stage++)
        {
            long width = (long)config.Width << stage, inner = (long)config.InnerWidth << stage;
            for (var i = 0; i < config.Blocks[stage]; i++, inputs = width)
            {
                var block = $"backbone.bottom_up.res{stage + 2}.{i}.";
                if (i == 0)
                {
                    Add(all, block + "shortcut", width, inputs, 1);
                }

                Add(all, block + "conv1", inner, inputs, 1);
                Add(all, block + "conv3", width, inner, 1);
                if (!config.IsSplit)
                {
                    Add(all, block + "conv2", inner, inner, 3);
                    continue;
                }

                var (split, attention) = (block + "conv2.", (long)UniDetConfig.AttentionWidth((int)inner));
                all[split + "conv.weight"] = [2 * inner, inner / 2, 3, 3];
                Norm(all, split + "bn0", 2 * inner);
                (all[split + "fc1.weight"], all[split + "fc1.bias"]) = ([attention, inner, 1, 1], [attention]);
                Norm(all, split + "bn1", attention);
                (all[split + "fc2.weight"], all[split + "fc2.bias"]) = ([2 * inner, attention, 1, 1], [2 * inner]);
            }
        }
    }

    private static void Add(Dictionary<string, long[]> all, string name, long outputs, long inputs, long side,
        bool normed = true)
    {
        all[name + ".weight"] = [outputs, inputs, side, side];
        if (normed)
        {
            Norm(all, name + ".norm", outputs);
        }
    }

    private static void Norm(Dictionary<string, long[]> all, string name, long width) =>
        Array.ForEach(["weight", "bias", .. Statistics], part => all[$"{name}.{part}"] = [width]);
}
