// Handing a run over to the reference's trainer (ReasonGen-R1: verl on Ray, examples/janus_rl.sh), and what it needs:
//   janus-model/     the original layout; its loader takes the folder for a Janus by the word "janus" in its path
//   prompts/*.txt    a prompt a line; a file's name is the data source in the logs
//   janus_rl.settings   lines for the script: MODEL_PATH, and Hydra's overrides under the script's own names
using System.Globalization;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Grpo;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.TrainingData;

namespace ReasonGen.JanusPro;

/// <summary>Writes model, prompts and settings as the reference's trainer takes them.</summary>
public static class VerlExport
{
    private const string Model = "janus-model", Prompts = "prompts", SettingsFile = "janus_rl.settings";
    private const string Misread = ",[]{}()=\"'$`";
    private static readonly string[] Others = ["sft", "data", "lora", "checkpointActivations"]; // of what ended here
    private static readonly string[] Lined =
    [
        "grpo.promptsPerStep", "grpo.rolloutsPerPrompt", "grpo.promptsPerUpdate", "grpo.microBatchRollouts",
        "grpo.filterGroups", "grpo.maxRounds", "grpo.learningRate", "grpo.warmupSteps", "grpo.weightDecay",
        "grpo.clipRange", "grpo.gradientClip", "grpo.klWeight", "grpo.ignoreBeginOfImage", "rollout.maxTextTokens",
        "rollout.guidanceScale", "promptTokens", "entropy.kind", "entropy.alpha",
        "entropy.text.target", "entropy.text.learningRate", "entropy.text.bound", "entropy.image.target",
        "entropy.image.learningRate", "entropy.image.bound", "run.steps", "run.checkpointEvery",
        "run.validateEvery", "run.validationSamples",
    ];

    /// <summary>Writes all of it into a folder.</summary>
    /// <param name="model">A model in either layout, or an adapter, which is merged.</param>
    /// <param name="train">Files of prompts to train on; none leaves the script's own.</param>
    /// <param name="validation">Files of held-out prompts; none leaves the script's own.</param>
    /// <param name="config">Settings of GRPO.</param>
    /// <param name="output">The folder.</param>
    /// <exception cref="UnusableFileException">Something cannot be read or written.</exception>
    /// <exception cref="ArgumentException">Two files of prompts share a name, or a path has a character that the script
    /// would misread.</exception>
    public static void Write(
        string model, IReadOnlyList<string> train, IReadOnlyList<string> validation, RunConfig config, string output)
    {
        output = Path.GetFullPath(output);
        string[] files = [.. train, .. validation];
        string Written(string file) =>
            Path.Combine(output, Prompts, Path.GetFileNameWithoutExtension(file) + ".txt");
        if (files.GroupBy(Path.GetFileNameWithoutExtension).FirstOrDefault(same => same.Count() > 1) is { } twice)
        {
            throw new ArgumentException($"two files of prompts are called '{twice.Key}', which would be one data "
                + $"source; "
                + "rename one");
        }

        if (files.Select(Written).Append(output).FirstOrDefault(path => path.Any(c =>
            Misread.Contains(c) || char.IsControl(c))) is { } misread)
        {
            throw new ArgumentException($"'{misread}' would stand in lines of a script, which would misread "
                + $"{string.Join(" ", Misread.AsEnumerable())} in it; choose another name");
        }

        var prompts = files.ToDictionary(file => file, file => PromptFiles.Read([file], _ => 0, int.MaxValue - 1)
            .Prompts);
        JanusMerge.Write(model, Path.Combine(output, Model), JanusLayout.Original);
        try
        {
            foreach (var (file, texts) in prompts)
            {
                AtomicFile.Write(Written(file), string.Concat(texts.Select(prompt => prompt.Text + "\n")));
            }

            AtomicFile.Write(Path.Combine(output, SettingsFile), Lines(config, Path.Combine(output, Model),
                [.. train.Select(Written)], [.. validation.Select(Written)]));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(output, $"it cannot be written: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written", e);
        }
    }

    /// <summary>Settings of reinforcement learning that are not those of the script, and for which it has no line.
    /// </summary>
    /// <param name="settings">All settings.</param>
    public static IReadOnlyList<Setting> WithoutLine(Settings settings)
    {
        static string Text(Setting one) =>
            one.Value is IReadOnlyList<string> list ? string.Join(",", list) : $"{one.Value}";
        var paper = RunConfig.Preset("paper");
        paper = paper with
        {
            Grpo = paper.Grpo with { PromptsPerStep = settings.Get<RunConfig>().Grpo.PromptsPerStep },
        };
        var script = new Settings(paper).All.ToDictionary(one => one.Path, Text);
        return [.. settings.All.Where(one => script.TryGetValue(one.Path, out var text) && Text(one) != text
            && !Lined.Contains(one.Path) && !Others.Contains(one.Path.Split('.')[0]))];
    }

    private static string Lines(RunConfig config, string model, string[] train, string[] validation)
    {
        var (grpo, rollout, entropy) = (config.Grpo, config.Rollout, config.Entropy);
        static string List(string[] files) => $"\"[{string.Join(",", files)}]\"";
        static string Python(bool flag) => flag ? "True" : "False";
        static string Number(double value) => value.ToString(CultureInfo.InvariantCulture);
        const string actor = "actor_rollout_ref.actor", adaptive = actor + ".adaptive_entropy_coeff";
        static string[] Controller(string of, EntropyControllerConfig own) =>
        [
            $"{adaptive}.{of}.target_entropy={Number(own.Target)}", $"{adaptive}.{of}.lr={Number(own.LearningRate)}",
            $"{adaptive}.{of}.min_coeff={Number(-own.Bound)}", $"{adaptive}.{of}.max_coeff={Number(own.Bound)}",
        ];
        string[] files = [.. train.Length > 0 ? [$"data.train_files={List(train)}"] : Array.Empty<string>(),
            .. validation.Length > 0 ? [$"data.val_files={List(validation)}"] : Array.Empty<string>()];
        string[] lines =
        [
            "actor_rollout_ref.model.path=\"$MODEL_PATH\"", .. files,
            $"data.train_batch_size={grpo.PromptsPerStep}", $"data.max_prompt_length={config.PromptTokens}",
            $"data.max_response_length={rollout.MaxTextTokens + rollout.ImageTokens}",
            $"{actor}.optim.lr={Number(grpo.LearningRate)}", $"{actor}.optim.lr_warmup_steps={grpo.WarmupSteps}",
            $"++{actor}.optim.weight_decay={Number(grpo.WeightDecay)}", // read, but not among its own settings
            $"{actor}.ppo_mini_batch_size={grpo.PromptsPerUpdate}",
            $"{actor}.ppo_micro_batch_size_per_gpu={grpo.MicroBatchRollouts}",
            $"{actor}.clip_ratio={Number(grpo.ClipRange)}", $"{actor}.grad_clip={Number(grpo.GradientClip)}",
            $"{actor}.use_kl_loss={Python(grpo.KlWeight > 0)}", $"{actor}.kl_loss_coef={Number(grpo.KlWeight)}",
            $"{actor}.entropy_coeff={Number(entropy.Kind == EntropyKind.Fixed ? -entropy.Alpha : 0)}",
            $"{adaptive}.enable={Python(entropy.Kind == EntropyKind.Adaptive)}",
            .. Controller("text", entropy.Text), .. Controller("image", entropy.Image),
            $"{actor}.ignore_img_start={Python(grpo.IgnoreBeginOfImage)}",
            $"actor_rollout_ref.rollout.n={grpo.RolloutsPerPrompt}",
            $"actor_rollout_ref.model.cfg_weight={Number(rollout.GuidanceScale)}",
            $"algorithm.filter_groups.enable={Python(grpo.FilterGroups)}",
            $"algorithm.filter_groups.max_num_gen_batches={grpo.MaxRounds}",
            $"trainer.save_freq={config.Run.CheckpointEvery}", $"trainer.test_freq={config.Run.ValidateEvery}",
            $"data.num_val_samples={config.Run.ValidationSamples}", $"trainer.max_steps={config.Run.Steps}",
        ];
        return "# Replace these lines of examples/janus_rl.sh, each by its name; add those that it lacks.\n"
            + $"MODEL_PATH='{model}'\n"
            + string.Concat(lines.Select(line => $"    {line} \\\n"));
    }
}
