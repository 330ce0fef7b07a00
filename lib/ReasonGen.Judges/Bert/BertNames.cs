// Names of a BERT's weights, which are the same in BLIP, mPLUG and transformers. Queries, keys and values are stored
// apart.
namespace ReasonGen.Judges.Bert;

internal static class BertNames
{
    private static readonly (string Own, string File)[] Wholes =
    [
        ("words", "embeddings.word_embeddings.weight"), ("positions", "embeddings.position_embeddings.weight"),
        ("types", "embeddings.token_type_embeddings.weight"), ("norm.weight", "embeddings.LayerNorm.weight"),
        ("norm.bias", "embeddings.LayerNorm.bias"),
    ];

    private static readonly (string Own, string[] Files)[] Layers =
    [
        ("attn.qkv.", ["attention.self.query.", "attention.self.key.", "attention.self.value."]),
        ("attn.proj.", ["attention.output.dense."]), ("norm1.", ["attention.output.LayerNorm."]),
        ("cross.q.", ["crossattention.self.query."]),
        ("cross.kv.", ["crossattention.self.key.", "crossattention.self.value."]),
        ("cross.proj.", ["crossattention.output.dense."]), ("norm_cross.", ["crossattention.output.LayerNorm."]),
        ("mlp.fc1.", ["intermediate.dense."]), ("mlp.fc2.", ["output.dense."]), ("norm2.", ["output.LayerNorm."]),
    ];

    /// <summary>Names in a file of one tensor of a <see cref="BertStack"/>: one, or those of a fused one's
    /// parts.</summary>
    /// <param name="own">Its name in the stack.</param>
    /// <param name="prefix">"text_encoder.".</param>
    internal static string[] Stack(string own, string prefix) =>
        Wholes.FirstOrDefault(row => row.Own == own) is { File: { } whole } ? [prefix + whole] : Block(own, prefix, 0);

    /// <summary>The same of "blocks.2.norm1.weight", block <paramref name="first"/> + 2 of the file.</summary>
    internal static string[] Block(string own, string prefix, int first)
    {
        var parts = own.Split('.', 3);
        var (layer, files) = Layers.Single(row => parts[2].StartsWith(row.Own, StringComparison.Ordinal));
        return [.. files.Select(file =>
            $"{prefix}encoder.layer.{first + int.Parse(parts[1])}.{file}{parts[2][layer.Length..]}")];
    }

    /// <summary>The same of a <see cref="BertHead"/>.</summary>
    internal static string[] Head(string own, string prefix) => [prefix + "predictions." + own switch
    {
        "weight" => "decoder.weight",
        "bias" => "bias",
        _ when own.StartsWith("norm.", StringComparison.Ordinal) => "transform.LayerNorm." + own[5..],
        _ => "transform." + own,
    }];

    /// <summary>Ids of several texts as one tensor [B, T], the shorter ones filled up, and true where a token counts,
    /// [B, 1, 1, T].</summary>
    internal static (TorchSharp.torch.Tensor Ids, TorchSharp.torch.Tensor Mask) Batch(IReadOnlyList<int[]> texts,
        int pad, int length = 0)
    {
        var width = Math.Max(length, texts.Max(ids => ids.Length));
        long[] flat = [.. texts.SelectMany(ids => ids.Concat(Enumerable.Repeat(pad, width - ids.Length)))
            .Select(id => (long)id)];
        bool[] counts = [.. texts.SelectMany(ids => Enumerable.Range(0, width).Select(at => at < ids.Length))];
        return (TorchSharp.torch.tensor(flat, [texts.Count, width]),
            TorchSharp.torch.tensor(counts, [texts.Count, 1, 1, width]));
    }
}
