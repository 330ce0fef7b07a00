// Handing a run over to the reference's trainer (ReasonGen-R1: verl on Ray, examples/janus_rl.sh), and what it needs:
//   janus-model/     the original layout; its loader takes the folder for a Janus by the word "janus" in its path
//   prompts/*.txt    a prompt a line; a file's name is the data source in the logs
//   janus_rl.settings   lines for the script: MODEL_PATH, and Hydra's overrides under the script's own names
using System.Globalization;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.TrainingData;

namespace ReasonGen.JanusPro;

/// <summary>Writes model, prompts and settings as the reference's trainer takes them.</summary>
public static class VerlExport
{
    private const string Model = "janus-model", Prompts = "prompts", Settings = "janus_rl.settings";

    /// <summary>Writes all of it into a folder.</summary>
    /// <param name="model">A model in either layout, or an adapter, which is merged.</param>
    /// <param name="train">Files of prompts to train on; none leaves the script's own.</param>
    /// <param name="validation">Files of held-out prompts; none leaves the script's own.</param>
    /// <param name="config">Settings of GRPO.</param>
    /// <param name="output">The folder.</param>
    /// <exception cref="UnusableFileException">Something cannot be read or written.</exception>
    /// <exception cref="ArgumentException">Two files of prompts share a name.</exception>
    public static void Write(
        string model, IReadOnlyList<string> train, IReadOnlyList<string> validation, RunConfig config, string output)
    {
        output = Path.GetFullPath(output);
        string[] files = [.. train, .. validation];
        if (files.GroupBy(Path.GetFileNameWithoutExtension).FirstOrDefault(same => same.Count() > 1) is { } twice)
        {
            throw new ArgumentException($"two files of prompts are called '{twice.Key}', which would be one data "
                + $"source; "
                + "rename one");
        }

        var prompts = files.ToDictionary(file => file, file => PromptFiles.Read([file], _ => 0, int.MaxValue - 1)
            .Prompts);
        JanusMerge.Write(model, Path.Combine(output, Model), JanusLayout.Original);
        string Written(string file) =>
            Path.Combine(output, Prompts, Path.GetFileNameWithoutExtension(file) + ".txt");
        try
        {
            foreach (var (file, texts) in prompts)
            {
                AtomicFile.Write(Written(file), string.Concat(texts.Select(prompt => prompt.Text + "\n")));
            }

            AtomicFile.Write(Path.Combine(output, Settings), Lines(config, Path.Combine(output, Model),
                [.. train.Select(Written)], [.. validation.Select(Written)]));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(output, $"it cannot be written: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written", e);
        }
    }

    private static string Lines(RunConfig config, string model, string[] train, string[] validation)
    {
        var (grpo, rollout, entropy) = (config.Grpo, config.Rollout, config.Entropy);
        static string List(string[] files) => $"\"[{string.Join(",", files)}]\"";
        static string Python(bool flag) => flag ? "True" : "False";
        static string Number(double value) => value.ToString(CultureInfo.InvariantCulture);
        const string actor = "actor_rollout_ref.actor", adaptive = actor + ".adaptive_entropy_coeff";
        string[] files = [.. train.Length > 0 ? [$"data.train_files={List(train)}"] : Array.Empty<string>(),
            .. validation.Length > 0 ? [$"data.val_files={List(validation)}"] : Array.Empty<string>()];
        string[] lines =
        [
            .. files,
            $"data.train_batch_size={grpo.PromptsPerStep}", $"data.max_prompt_length={config.PromptTokens}",
            $"data.max_response_length={rollout.MaxTextTokens + rollout.ImageTokens}",
            $"{actor}.optim.lr={Number(grpo.LearningRate)}", $"{actor}.optim.weight_decay={Number(grpo.WeightDecay)}",
            $"{actor}.ppo_mini_batch_size={grpo.PromptsPerUpdate}",
            $"{actor}.ppo_micro_batch_size_per_gpu={grpo.MicroBatchRollouts}",
            $"{actor}.clip_ratio={Number(grpo.ClipRange)}", $"{actor}.grad_clip={Number(grpo.GradientClip)}",
            $"{actor}.use_kl_loss={Python(grpo.KlWeight > 0)}", $"{actor}.kl_loss_coef={Number(grpo.KlWeight)}",
            $"{actor}.entropy_coeff={Number(entropy.Kind == EntropyKind.Fixed ? -entropy.Alpha : 0)}",
            $"{adaptive}.enable={Python(entropy.Kind == EntropyKind.Adaptive)}",
            $"{actor}.ignore_img_start={Python(grpo.IgnoreBeginOfImage)}",
            $"actor_rollout_ref.rollout.n={grpo.RolloutsPerPrompt}",
            $"actor_rollout_ref.model.cfg_weight={Number(rollout.GuidanceScale)}",
            $"algorithm.filter_groups.enable={Python(grpo.FilterGroups)}",
            $"algorithm.filter_groups.max_num_gen_batches={grpo.MaxRounds}",
            $"trainer.save_freq={config.Run.CheckpointEvery}", $"trainer.test_freq={config.Run.ValidateEvery}",
            $"data.num_val_samples={config.Run.ValidationSamples}", $"trainer.max_steps={config.Run.Steps}",
        ];
        return $"# Replace these lines of examples/janus_rl.sh, each by its name.\nMODEL_PATH={model}\n"
            + string.Concat(lines.Select(line => $"    {line} \\\n"));
    }
}
