// Image codes of a set, made once: codes = VQ(resize(centre crop(image))). One safetensors file a row group beside the
// set, "<set>.codes/<made of>/00012.safetensors" with "codes" [rows, I] int32: each appears whole or not at all, and an
// interrupted run goes on with the next. A header names what it was made of: the set's file, square and tokenizer,
// and the hash of the row group's images, which is compared where they are at hand. The folder is named by a hash of
// the former, so that runs with other tokenizers, sizes, devices or types keep their own; what earlier versions left in
// "<set>.codes" itself is read where it fits.
// Deviation: the reference crops at random in training, anew each epoch; codes that are kept are those of the centre.
using System.Security.Cryptography;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.TrainingData;

/// <summary>Image codes of a parquet set, kept beside it.</summary>
/// <param name="set">The set.</param>
/// <param name="tokenizer">The image tokenizer; codes of another one are not taken.</param>
/// <param name="pixels">Side of the square that is encoded, e.g. 384.</param>
/// <param name="decode">Encoded bytes → image; an image library's work. Null, or an exception, where the bytes are
/// none.</param>
/// <param name="say">Told once where codes that are kept were made otherwise, so that others are made.</param>
public sealed class ImageCodeCache(SftParquet set, VqTokenizer tokenizer, int pixels, Func<byte[], RgbImage?> decode,
    Action<string>? say = null)
{
    private const int ImagesPerPass = 8, ImagesPerPassOfGpu = 32;
    private const int NameLength = 16;
    private readonly string fingerprint = Fingerprint(set, tokenizer, pixels);
    private bool said;

    /// <summary>Where they are kept.</summary>
    public string Folder => Path.Combine(Root(set), NameOf(fingerprint));

    /// <summary>Codes [rows, I] int32 of a row group: read, or else made and kept. The caller disposes them.</summary>
    /// <param name="group">Number of the row group.</param>
    /// <param name="rows">Its rows, where they are at hand.</param>
    /// <exception cref="UnusableFileException">A row's bytes are no image, or the codes cannot be kept.</exception>
    public Tensor Group(int group, Func<SftRow[]>? rows = null)
    {
        if (set.GroupRows[group] == 0) // as some writers end a file: nothing to encode, nothing to keep
        {
            var side = pixels / tokenizer.Config.PixelsPerCode;
            return empty([0, side * side], ScalarType.Int32, device: CPU);
        }

        var name = $"{group:00000}.safetensors";
        var held = rows?.Invoke();
        var others = !Directory.Exists(Folder) && Directory.Exists(Root(set));
        foreach (var path in new[] { Path.Combine(Folder, name), Path.Combine(Root(set), name) }.Where(File.Exists))
        {
            var of = SafetensorsHeader.Read(path).Metadata;
            if (of.GetValueOrDefault("of") == fingerprint
                && of.GetValueOrDefault("images") is { } images && (held is null || images == HashOf(held)))
            {
                return Safetensors.Load(path)["codes"];
            }

            others = true;
        }

        if (others)
        {
            Say();
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        var first = set.GroupRows.Take(group).Sum(count => (long)count);
        held ??= set.ReadGroup(group);
        var codes = cat(Squares(held, first).Chunk(
            tokenizer.Device.type == DeviceType.CPU ? ImagesPerPass : ImagesPerPassOfGpu).Select(some =>
        {
            using var pass = NewDisposeScope();
            return tokenizer.Encode(ImageTensors.ToTensor(some, tokenizer.Device)).to(ScalarType.Int32).cpu()
                .MoveToOuterDisposeScope();
        }).ToArray());
        Keep(Path.Combine(Folder, name), codes, new() { ["of"] = fingerprint, ["images"] = HashOf(held) });
        return codes.DetachFromDisposeScope();
    }

    private void Keep(string path, Tensor codes, Dictionary<string, string> made)
    {
        try
        {
            Safetensors.Save(path, [new("codes", codes)], made);
        }
        catch (UnusableFileException e)
        {
            throw new UnusableFileException(Folder,
                $"the image codes cannot be kept there: {(e.InnerException ?? e).Message.TrimEnd('.')}",
                $"free space; or make a link to {Path.GetFileName(set.Path)} in a folder that can be written (ln -s) "
                + "and give that: the codes lie beside the link then", e);
        }
    }

    /// <summary>Makes what is missing, a row group at a time, to have it before training.</summary>
    /// <returns>Row groups done and in all, as they are finished.</returns>
    public IEnumerable<(int Done, int Of)> Make(CancellationToken cancel = default)
    {
        for (var group = 0; group < set.GroupRows.Count && !cancel.IsCancellationRequested; group++)
        {
            Group(group).Dispose();
            yield return (group + 1, set.GroupRows.Count);
        }
    }

    private static string Root(SftParquet set) => set.Path + ".codes";

    private static string NameOf(string fingerprint) =>
        Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(fingerprint)))[..NameLength];

    private void Say()
    {
        if (!said)
        {
            say?.Invoke($"The image codes in {Root(set)} were made of other images, with another image tokenizer, "
                + $"size, device or type, or by an earlier version; those of this run are made in {Folder}.");
            said = true;
        }
    }

    private static string HashOf(SftRow[] rows)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var row in rows)
        {
            hash.AppendData(BitConverter.GetBytes(row.Image.Length));
            hash.AppendData(row.Image);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private IEnumerable<RgbImage> Squares(SftRow[] rows, long first) => rows.Select((row, i) =>
    {
        RgbImage? image;
        try
        {
            image = decode(row.Image);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            image = null;
        }

        return image is not null ? Resampling.Resize(Resampling.CropCentre(image), pixels, pixels)
            : throw new UnusableFileException(
            set.Path, $"the image bytes of row {first + i} are no image, or not a whole one",
            "remove the row, or write the set again");
    });

    // the set's size on disk and samples of it, its end among them, where the places of all its parts stand; the
    // square; every weight of the tokenizer
    private static string Fingerprint(SftParquet set, VqTokenizer tokenizer, int pixels)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (_, weight) in tokenizer.named_parameters())
        {
            using var values = weight.detach().to(ScalarType.Float32);
            hash.AppendData(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(values.Values<float>()));
        }

        using var file = File.OpenHandle(set.Path);
        var length = RandomAccess.GetLength(file);
        FileSamples.Append(hash, file, length);
        var weights = tokenizer.parameters().First(); // codes near a border differ with the device and the type
        var computed = weights.device_type == DeviceType.CPU && weights.dtype == ScalarType.Float32 ? ""
            : $" {weights.device_type} {weights.dtype}";
        return $"{Convert.ToHexStringLower(hash.GetHashAndReset())} {pixels} {length} upright in all formats{computed}";
    }
}
