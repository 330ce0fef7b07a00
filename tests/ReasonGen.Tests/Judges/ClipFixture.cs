using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Judges;

/// <summary>The tiny models of golden/clip, each layout as its own file.</summary>
internal static class ClipFixture
{
    internal const string Folder = "clip/hf", Archive = "clip/openai/ViT-tiny.pt";

    internal static ComputeTarget Target => TestDevice.Target;

    /// <summary>Where each layout of the one tiny model lies.</summary>
    internal static TheoryData<string> Layouts => new(new[]
    {
        // the last not in every set
        "clip/open_clip", "clip/open_clip/open_clip_model.safetensors", "clip/open_clip/open_clip_pytorch_model.bin",
        "clip/hf", "clip/hf/model.safetensors",
    }.Where(path => Path.Exists(Golden.Path(path))));

    internal static ClipModel Load(string path) => ClipFiles.Open(Golden.Path(path)).Load(Target);

    /// <summary>The tiny vocabulary, which lies in the folder of Hugging Face alone.</summary>
    internal static ClipTokenizer Tokenizer(ClipTextRules rules, string folder = Folder) =>
        ClipTokenizer.Load(Golden.Path(folder), rules);

    internal static SourceImage Image(string folder, int number) =>
        ImageReader.Read(Golden.Path($"{folder}/images/{number}.png"));

    internal static int[] Ids(JToken row) => row.ToObject<int[]>()!;

    internal static RgbImage Image(Tensor hwc) => new((int)hwc.shape[1], (int)hwc.shape[0], hwc.Values<byte>());

    /// <summary>A folder with a copy of some golden files, gone when disposed.</summary>
    internal sealed class Copy : IDisposable
    {
        internal Copy(params string[] files)
        {
            foreach (var file in files)
            {
                File.Copy(Golden.Path(file), In(Path.GetFileName(file)));
            }
        }

        internal string Folder { get; } = Directory.CreateTempSubdirectory("reasongen").FullName;

        internal string In(string name) => Path.Combine(Folder, name);

        public void Dispose() => Directory.Delete(Folder, true);
    }
}
