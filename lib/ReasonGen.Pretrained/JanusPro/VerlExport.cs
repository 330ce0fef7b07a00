// Handing a run over to the reference's trainer (ReasonGen-R1: verl on Ray, examples/janus_rl.sh), and what it needs:
//   janus-model/     the original layout; its loader takes the folder for a Janus by the word "janus" in its path
//   prompts/*.txt    a prompt a line, its own line breaks as blanks; a file's name is the data source in the logs
//   janus_rl.settings   lines for the script: MODEL_PATH, and Hydra's overrides under the script's own names
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Grpo;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Tokenizers;
using ReasonGen.TrainingData;

namespace ReasonGen.JanusPro;

/// <summary>Writes model, prompts and settings as the reference's trainer takes them.</summary>
public static partial class VerlExport
{
    private const string Model = "janus-model", Prompts = "prompts", SettingsFile = "janus_rl.settings";
    private const string Understood = " _-/:.+%*@"; // by the shell in quotes and by Hydra, besides letters and digits
    private const int TemplateTokens = 10; // that the trainer allows for, when it leaves out what is too long
    private const int OwnPrompts = 23_470, OwnHeldOut = 2_948; // that the script's own files have at least
    private static readonly string[] Others = ["sft", "data", "lora", "checkpointActivations"]; // of what ended here
    private static readonly string[] Lined =
    [
        "grpo.promptsPerStep", "grpo.rolloutsPerPrompt", "grpo.promptsPerUpdate", "grpo.microBatchRollouts",
        "grpo.filterGroups", "grpo.maxRounds", "grpo.learningRate", "grpo.warmupSteps", "grpo.weightDecay",
        "grpo.clipRange", "grpo.gradientClip", "grpo.klWeight", "grpo.ignoreBeginOfImage", "rollout.maxTextTokens",
        "promptTokens", "entropy.kind", "entropy.alpha",
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
    /// <exception cref="ArgumentException">Two files of prompts share a name, a path has a character that the script
    /// would misread, or of the prompts the trainer would leave fewer than it needs.</exception>
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

        if (files.Select(Written).Append(output).FirstOrDefault(path => path.EnumerateRunes().Any(IsMisread))
            is { } misread)
        {
            var one = misread.EnumerateRunes().First(IsMisread);
            throw new ArgumentException($"'{misread}' would stand in lines of a script, which would misread '{one}' "
                + $"(U+{one.Value:X4}) in it; choose another name, of the letters a to z, digits, blanks and "
                + $"{string.Join(" ", Understood.Trim().AsEnumerable())}");
        }

        var prompts = files.ToDictionary(file => file, file => PromptFiles.Read([file], _ => 0, int.MaxValue - 1)
            .Prompts.Select(prompt => LineBreaks().Replace(prompt.Text, " ")).ToArray());
        var tokenizer = HuggingFaceTokenizer.Load(
            PeftAdapter.IsIn(model) ? PeftAdapter.Read(model).FindBase() : model, JanusChat.SpecialNames);
        int Kept(IReadOnlyList<string> some, int own, int least, string what) => some.Count == 0 ? own
            : RequireKept([.. some.SelectMany(file => prompts[file])], tokenizer, config.PromptTokens, least, what);
        var learned = Kept(train, OwnPrompts, config.Grpo.PromptsPerStep, "to train on");
        var validated = Kept(validation, OwnHeldOut, 1, "held out");
        JanusMerge.Write(model, Path.Combine(output, Model), JanusLayout.Original);
        try
        {
            foreach (var (file, texts) in prompts)
            {
                AtomicFile.Write(Written(file), string.Concat(texts.Select(text => text + "\n")));
            }

            config = config with
            {
                Run = config.Run with { ValidationSamples = Math.Min(config.Run.ValidationSamples, validated) },
            };
            AtomicFile.Write(Path.Combine(output, SettingsFile), Lines(config, Path.Combine(output, Model),
                [.. train.Select(Written)], [.. validation.Select(Written)], Epochs(config, learned)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(output, $"it cannot be written: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written", e);
        }
    }

    /// <summary>Settings of reinforcement learning that are not those of the script, and for which it has no line that
    /// does the same.</summary>
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

    // those at which Python breaks lines, too
    [GeneratedRegex(@"[\n\v\f\r\x1C-\x1E\x85\u2028\u2029]+")]
    private static partial Regex LineBreaks();

    private static bool IsMisread(Rune one) => !(one.IsAscii && (Rune.IsLetterOrDigit(one)
        || Understood.Contains((char)one.Value) || one.Value == Path.DirectorySeparatorChar));

    // the trainer measures a line with its end and without its template
    private static int RequireKept(string[] all, HuggingFaceTokenizer tokenizer, int most, int least, string what)
    {
        var kept = all.Count(text => tokenizer.Encode(text + "\n").Length + TemplateTokens <= most);
        return kept >= least ? kept : throw new ArgumentException($"of {all.Length} prompts {what} the reference's "
            + $"trainer keeps {kept}, those of up to {most - TemplateTokens} tokens, and needs at least {least}; give "
            + "more or shorter ones" + (least > 1 ? ", or lower grpo.promptsPerStep, and with it "
                + "grpo.promptsPerUpdate, of which it must be a multiple" : ""));
    }

    // as many as surely hold all steps: each may use up a batch of prompts a round, and the end of an epoch drops what
    // was collected for a step that is not full
    private static long Epochs(RunConfig config, int prompts)
    {
        long batches = Math.Max(prompts / config.Grpo.PromptsPerStep, 1);
        long rounds = config.Grpo.FilterGroups ? config.Grpo.MaxRounds : 1;
        var (wanted, each) = batches < rounds ? (config.Run.Steps * rounds, batches)
            : (config.Run.Steps, batches / rounds);
        return (wanted + each - 1) / each;
    }

    private static string Lines(RunConfig config, string model, string[] train, string[] validation, long epochs)
    {
        var (grpo, rollout, entropy, run) = (config.Grpo, config.Rollout, config.Entropy, config.Run);
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
            $"actor_rollout_ref.rollout.cot_generate={Python(rollout.MaxTextTokens > 0)}",
            $"algorithm.filter_groups.enable={Python(grpo.FilterGroups)}",
            $"algorithm.filter_groups.max_num_gen_batches={grpo.MaxRounds}",
            $"trainer.save_freq={(run.CheckpointEvery > 0 ? run.CheckpointEvery : run.Steps)}", // 0 saves nothing there
            $"trainer.test_freq={run.ValidateEvery}", $"data.num_val_samples={run.ValidationSamples}",
            $"trainer.max_steps={run.Steps}", $"trainer.total_epochs={epochs}",
        ];
        return "# Replace these lines of examples/janus_rl.sh, each by its name; add those that it lacks.\n"
            + $"MODEL_PATH='{model}'\n"
            + string.Concat(lines.Select(line => $"    {line} \\\n"));
    }
}
