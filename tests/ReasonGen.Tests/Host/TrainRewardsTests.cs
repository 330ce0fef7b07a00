using System.CommandLine;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Host;
using ReasonGen.Host.Commands;
using ReasonGen.Imaging;
using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Clip;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Tests.Judges;
using ReasonGen.Tests.Devices;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>Rewards by their names on the command line, with small models under the published files' names.</summary>
public sealed class TrainRewardsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public TrainRewardsTests()
    {
        Copy("clip/openai/ViT-tiny.pt", "ViT-B-32.pt");
        Copy("clip/openai/ViT-tiny.pt", "ViT-L-14.pt");
        Copy("clip/hf/vocab.json", "vocab.json");
        Copy("clip/hf/merges.txt", "merges.txt");
        Copy("mask2former/mmdet.pth", "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.pth");
    }

    [Fact]
    public void Parts_are_weighted_as_they_are_written()
    {
        var parts = Find("detector, 0.5*clipscore");
        Assert.Equal([("detector", 1), ("clipscore", 0.5)], parts.Select(part => (part.Spec, part.Weight)));
        var reward = Assert.IsType<EnsembleReward>(TrainRewards.Load(parts, TestDevice.Cpu));
        var request = new RewardRequest(new("a photo of a red circle", "single_object", [new("circle")]), "",
            new RgbImage(32, 32, new byte[32 * 32 * 3]));
        using var clip = ClipScorer.ForClipScore(Path.Combine(folder, "ViT-B-32.pt"), TestDevice.Cpu, true);
        Assert.Equal(0.5f * clip.Score([request])[0], reward.Score([request])[0], 1e-6f);
        Assert.Equal(2, reward.Parts.Count);
    }

    [Theory]
    [InlineData("geneval", "GenEval's verdict by")]
    [InlineData("geneval-share", "GenEval's share by")]
    public void GenEvals_reward_is_asked_by_its_own_models_and_of_prompts_that_say_what_they_want(string name,
        string expected)
    {
        var part = Assert.Single(Find(name));
        Assert.True(part.NeedsInclude);
        var reward = TrainRewards.Load([part], TestDevice.Cpu);
        Assert.StartsWith(expected, reward.Name);
        var image = new RgbImage(64, 64, new byte[64 * 64 * 3]);
        var scores = reward.Score([new(new("a photo of a dog", "single_object", [new("dog")]), "", image),
            new(new("a photo of a dog", "", []), "", image)]);
        Assert.Equal((0, float.NaN), (scores[0], scores[1]));
    }

    [Theory]
    [InlineData("a red car and a blue dog", "a red car?", "a blue dog?")]
    [InlineData("what is the woman doing there", "what is the woman doing there?")]
    public void BLIP_VQA_is_asked_for_the_noun_chunks_of_a_prompt_or_for_the_whole(string prompt,
        params string[] questions)
    {
        Directory.CreateDirectory(Path.Combine(folder, "model_vqa.pth"));
        foreach (var file in Directory.GetFiles(Golden.Path("blip_vqa/hf")).Select(path => Path.GetFileName(path)))
        {
            Copy("blip_vqa/hf/" + file, "model_vqa.pth/" + file);
        }

        var image = new RgbImage(32, 32, new byte[32 * 32 * 3]);
        var reward = TrainRewards.Load(Find("blip-vqa"), TestDevice.Cpu).Score([new(new(prompt, "", []), "", image)]);
        using var judge = BlipVqaJudge.Load(Path.Combine(folder, "model_vqa.pth"), TestDevice.Cpu);
        Assert.Equal(judge.Yes(image, questions).Aggregate(1f, (product, p) => product * p), reward[0], 1e-6f);
    }

    [Fact]
    public void Judges_of_every_kind_are_planned_as_they_are_loaded()
    {
        var qwen = Directory.CreateDirectory(Path.Combine(folder, "judge")).FullName;
        foreach (var file in new[] { "config.json", "model.safetensors" })
        {
            Copy("qwen25vl/untied/" + file, "judge/" + file);
        }

        var bytes = TinyJanus.Tokenizer();
        bytes["added_tokens"] = new JArray(); // no more tokens than the judge has embeddings
        var rows = (int)JObject.Parse(File.ReadAllText(Path.Combine(qwen, "config.json")))["vocab_size"]!;
        bytes["model"]!["vocab"] = new JObject(((JObject)bytes["model"]!["vocab"]!).Properties().Take(rows));
        File.WriteAllText(Path.Combine(qwen, "tokenizer.json"), bytes.ToString());
        var janus = TinyJanus.Write(Path.Combine(folder, "janus"));
        var config = RunConfig.Preset("mini") with { Judge = new() { ImagesPerBatch = 3, MaxTokens = 7 } };
        var plans = RewardPart.Plans(Find($"detector,{qwen},{janus},clipscore", config), TestDevice.Cpu)
            .SelectMany(plan => plan.Rows).ToArray();
        double Stored(string path) => CheckpointFiles.Open(path).Entries.Sum(entry => entry.Elements);
        Assert.Equal(["judge judge", "judge judge's weights while it answers", "judge judge's KV cache", "judge janus",
            "judge clipscore"], plans.Select(row => row.What));
        Assert.Equal((4 * Stored(qwen), "fp32"), (plans[0].Bytes, plans[0].Why));
        Assert.StartsWith("3 images at a time, answers of up to 7 tokens", plans[2].Why);
        Assert.Equal(4 * Stored(janus), plans[3].Bytes);
        Assert.InRange(plans[4].Bytes, 4e4, 4e8);
    }

    [Theory]
    [InlineData("hps", "preference/hps/HPS_tiny_compressed.pt", "HPS_v2.1_compressed.pt")]
    [InlineData("imagereward", "preference/imagereward/ImageReward.pt", "ImageReward.pt")]
    public void Small_files_that_do_not_say_their_heads_are_refused_before_anything_is_loaded(string name,
        string golden, string file)
    {
        Copy(golden, file);
        Assert.StartsWith($"--any-model does not hold for --judge {name}",
            Assert.Throws<UsageException>(() => Find(name)).Message);
    }

    [Theory]
    [InlineData("pickscore", "PickScore_v1")]
    [InlineData("imagereward", "ImageReward.pt")]
    [InlineData("blip-vqa", "model_base_vqa_capfilt_large.pth")]
    public void Missing_weights_are_named_before_anything_is_loaded(string name, string file) =>
        Assert.Contains(file, Assert.Throws<UnusableFileException>(() => Find(name)).Message);

    public void Dispose() => Directory.Delete(folder, true);

    private IReadOnlyList<RewardPart> Find(string judge, RunConfig? config = null)
    {
        var (rewards, command) = (new TrainRewards(), new Command("grpo"));
        rewards.AddTo(command);
        return rewards.Find(command.Parse(["--judge", judge, "--weights", folder, "--any-model"]),
            config ?? RunConfig.Preset("mini"), world: true);
    }

    private void Copy(string golden, string name) => File.Copy(Golden.Path(golden), Path.Combine(folder, name));
}
