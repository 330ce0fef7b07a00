using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Checkpoints;

/// <summary>One object of a model's config.json, read with errors that say where they are. Null counts as
/// absent.</summary>
internal sealed record ConfigSection(string Path, string Name, JObject Json)
{
    private const long Largest = 16 << 20;

    /// <exception cref="UnusableFileException">There is no such file, or it holds no JSON object.</exception>
    internal static ConfigSection Read(string path)
    {
        try
        {
            return FileKinds.Length(path) <= Largest ? new(path, "", JObject.Parse(File.ReadAllText(path)))
                : throw new UnusableFileException(path, $"it has more than {Largest} bytes, which no configuration has",
                    "download the file again");
        }
        catch (JsonException e)
        {
            throw new UnusableFileException(path, $"it is no JSON object: {e.Message.TrimEnd('.')}",
                "download the file again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw (e is FileNotFoundException
                ? FolderKinds.Explain(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!) : null)
                ?? FileKinds.Unreadable(path, e);
        }
    }

    /// <summary>How a checkpoint's images are prepared: the "image_processor" in its processor_config.json, where
    /// transformers writes it from version 5 on and looks first, or else its preprocessor_config.json; null where it
    /// has neither.</summary>
    /// <exception cref="UnusableFileException">A file holds no JSON object.</exception>
    internal static ConfigSection? OfImages(string folder)
    {
        var (newer, older) = (System.IO.Path.Combine(folder, "processor_config.json"),
            System.IO.Path.Combine(folder, "preprocessor_config.json"));
        return File.Exists(newer) && Read(newer) is { Json: var json } whole && json["image_processor"] is JObject
            ? whole["image_processor"] : File.Exists(older) ? Read(older) : null;
    }

    /// <summary>An inner object; an empty one where it is absent.</summary>
    internal ConfigSection this[string key] => Get(key) switch
    {
        JObject inner => new(Path, $"{Name}{key}.", inner),
        null => new(Path, $"{Name}{key}.", []),
        var other => throw Wrong(key, other, "an object"),
    };

    internal bool Has(string key) => Get(key) is not null;

    internal int Integer(string key, int otherwise = 0, int least = 0, int most = int.MaxValue) => Get(key) switch
    {
        null => otherwise,
        { } value
            when IsNumber(value) && (double)value is var number && number >= least && number <= most
                && number == Math.Floor(number) => (int)number,
        var value => throw Wrong(key, value, $"a whole number of at least {least} and at most {most}"),
    };

    /// <summary>A size that must be given.</summary>
    internal int Size(string key) => Has(key) ? Integer(key, least: 1)
        : throw new UnusableFileException(Path, $"it has no '{Name}{key}'",
            "check that the configuration is of this model, or download it again");

    internal double Number(string key, double otherwise) => Get(key) switch
    {
        null => otherwise,
        { } value when IsNumber(value) && (double)value > 0 && double.IsFinite((double)value) => (double)value,
        var value => throw Wrong(key, value, "a finite number above 0"),
    };

    internal bool Flag(string key, bool otherwise) => Get(key) switch
    {
        null => otherwise,
        { Type: JTokenType.Boolean } flag => (bool)flag,
        var value => throw Wrong(key, value, "true or false"),
    };

    /// <summary>So many numbers, all in a range.</summary>
    internal IReadOnlyList<double> Numbers(string key, IReadOnlyList<double> otherwise, double least, double most) =>
        Get(key) switch
    {
        null => otherwise,
        JArray list
            when list.Count == otherwise.Count
                && list.All(item => IsNumber(item) && (double)item >= least && (double)item <= most) =>
            [.. list.Select(item => (double)item)],
        var value => throw Wrong(key, value, $"{otherwise.Count} numbers from {least} to {most}"),
    };

    internal string Text(string key, string otherwise) => Get(key) switch
    {
        null => otherwise,
        { Type: JTokenType.String } text => (string)text!,
        var value => throw Wrong(key, value, "text"),
    };

    internal IReadOnlyList<int> Integers(string key, IReadOnlyList<int> otherwise, int least = 1, int most = 999) =>
        Get(key) switch
    {
        null => otherwise,
        JArray { Count: <= 4096 } list
            when list.All(item => item.Type == JTokenType.Integer && (double)item >= least && (double)item <= most) =>
            [.. list.Select(item => (int)item)],
        var value => throw Wrong(key, value, $"a list of whole numbers from {least} to {most}"),
    };

    /// <summary>Refuses a configuration of quantised weights.</summary>
    internal void ExpectPlainWeights()
    {
        if (this["quantization_config"] is { Json.Count: > 0 } quantised)
        {
            throw new UnusableFileException(Path,
                $"its weights are quantised ({quantised.Json["quant_method"] ?? "by an unnamed method"}), which is "
                + $"not read here",
                "use the checkpoint of this model in bf16 or fp16");
        }
    }

    /// <summary>Only one value is implemented; null stands for none at all.</summary>
    internal void Expect(string key, JToken? only)
    {
        if (Get(key) is { } value && (only is null
            || !(JToken.DeepEquals(value, only)
                || (IsNumber(value) && IsNumber(only) && (double)value == (double)only))))
        {
            throw Wrong(key, value,
                only is null ? "nothing" : $"{only.ToString(Formatting.None)}, the only value that is implemented");
        }
    }

    /// <summary>Refuses preparations of images that are not implemented: other than Pillow's bicubic resize of bytes
    /// that are then divided by 255.</summary>
    /// <param name="steps">Steps that may not be switched off.</param>
    internal void ExpectUsualImages(params string[] steps)
    {
        foreach (var step in steps)
        {
            Expect(step, true);
        }

        Expect("resample", 3); // Pillow's number of bicubic
        if (Math.Abs(Number("rescale_factor", 1 / 255.0) * 255 - 1) > 1e-6) // some write it with seven digits
        {
            throw Wrong("rescale_factor", Get("rescale_factor")!, "1/255, the only value that is implemented");
        }
    }

    /// <summary>Settings of the rotary positions: rope_scaling, or rope_parameters, in which newer libraries write θ,
    /// too.</summary>
    /// <param name="plain">Names of the kinds that scale nothing.</param>
    /// <exception cref="UnusableFileException">They are scaled, which is not implemented.</exception>
    internal ConfigSection Rope(params string[] plain)
    {
        var rope = this["rope_scaling"] is { Json.Count: > 0 } scaling ? scaling : this["rope_parameters"];
        var other = new[] { "rope_type", "type" }.FirstOrDefault(key => rope.Text(key, plain[0]) is var type
            && !plain.Contains(type)) ?? rope.Json.Properties().FirstOrDefault(one => one.Value is JObject)?.Name;
        return other is null ? rope : throw new UnusableFileException(Path,
            $"its '{rope.Name}{other}' is {Brief(rope.Json[other]!)}; only plain rotary positions "
            + $"({string.Join(" or ", plain)}, the same in all layers) are implemented",
            "where scaling was added to a published model for longer texts, take it out again; a model that was "
            + "trained with it cannot be used here");
    }

    private static bool IsNumber(JToken value) => value.Type is JTokenType.Integer or JTokenType.Float;

    private static string Brief(JToken value) =>
        value.ToString(Formatting.None) is { Length: > 200 } text ? text[..200] + "…" : value.ToString(Formatting.None);

    private JToken? Get(string key) => Json[key] is { Type: not JTokenType.Null } value ? value : null;

    private UnusableFileException Wrong(string key, JToken value, string right) => new(Path,
        $"its '{Name}{key}' is {Brief(value)} where there should be {right}",
        "check that the configuration is of this model, or download it again");
}
