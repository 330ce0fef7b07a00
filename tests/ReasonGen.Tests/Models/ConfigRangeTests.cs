using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.JanusPro;
using ReasonGen.Qwen;
using ReasonGen.Setups;
using Xunit;

namespace ReasonGen.Tests.Models;

/// <summary>Configurations with numbers that no model has: told by key and file, before anything is built.</summary>
public sealed class ConfigRangeTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData("config-DivideByZeroException-3-101.json", "vision_config.patch_size")]
    [InlineData("config-OverflowException-0-101.json", "vision_start_token_id")]
    [InlineData("config-OverflowException-1-201.json", "vision_start_token_id")]
    [InlineData("config-OverflowException-4-101.json", "min_size")]
    public void A_configuration_out_of_range_is_refused_by_key(string name, string key)
    {
        var json = JObject.Parse(File.ReadAllText(HandedIn.Path("fuzz/" + name)));
        var file = json.ContainsKey("image_processor_type") ? "preprocessor_config.json" : "config.json";
        File.Copy(HandedIn.Path("fuzz/" + name), Path.Combine(folder, file));
        var error = Assert.Throws<UnusableFileException>(() =>
            (object)(file == "preprocessor_config.json" ? ImageProcessor.Read(folder, 64)
            : (string?)json["model_type"] == "janus" ? JanusFiles.ReadConfig(folder) : QwenConfig.FromFolder(folder)));
        Assert.Contains(key, error.Message);
        Assert.Contains(file, error.Message);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("2147483647")]
    [InlineData("1e400")]
    [InlineData("99999999999999999999")]
    [InlineData("NaN")]
    [InlineData("0.5")]
    [InlineData("\"8\"")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("null")]
    public void Any_number_replaced_by_another_value_is_read_or_refused(string value)
    {
        foreach (var name in new[] { "config-DivideByZeroException-3-101.json", "config-OverflowException-0-101.json" })
        {
            foreach (var path in Leaves(Json(name)))
            {
                var json = Json(name);
                json.SelectToken(path)!.Replace(new JValue("here"));
                File.WriteAllText(Path.Combine(folder, "config.json"), json.ToString().Replace("\"here\"", value));
                var thrown = Record.Exception(() =>
                    (object)((string?)json["model_type"] == "janus" ? JanusFiles.ReadConfig(folder)
                        : QwenConfig.FromFolder(folder)));
                Assert.True(thrown is null or UnusableFileException, $"{path}: {thrown}");
            }
        }
    }

    [Theory]
    [InlineData("language_config", "num_hidden_layers")]
    [InlineData("language_config", "vocab_size")]
    [InlineData("language_config", "hidden_size")]
    public void A_model_of_two_billion_layers_is_not_built(string section, string key)
    {
        TinyJanus.Write(folder);
        var path = Path.Combine(folder, "config.json");
        var json = JObject.Parse(File.ReadAllText(path));
        json[section]![key] = int.MaxValue - 1;
        File.WriteAllText(path, json.ToString());
        Assert.Contains("at most", Assert.Throws<UnusableFileException>(() => JanusFiles.Check(folder)).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    // whole and sound, but for the one number that gave each file its name
    private static JObject Json(string name)
    {
        var json = JObject.Parse(File.ReadAllText(HandedIn.Path("fuzz/" + name)));
        if (json["vision_config"]!["patch_size"] is { Type: JTokenType.Float } patch)
        {
            patch.Replace(16);
        }

        if (json["vision_start_token_id"] is { } start)
        {
            start.Replace(248);
        }

        return json;
    }

    private static IEnumerable<string> Leaves(JObject json) => json.Descendants().OfType<JValue>()
        .Where(value => value.Type is JTokenType.Integer or JTokenType.Float or JTokenType.Boolean)
        .Select(value => value.Path);
}
