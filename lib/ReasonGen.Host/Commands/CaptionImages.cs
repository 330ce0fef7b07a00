using ReasonGen.Checkpoints;
using ReasonGen.Notebook;
using ReasonGen.Served;

namespace ReasonGen.Host.Commands;

/// <summary>The images of a folder and of those in it. A file is an image by its content, whatever its name; one whose
/// name or content says so and that cannot be read is a stranger, which the user wanted and does not get.</summary>
/// <param name="Images">Those that can be read, in order of their paths.</param>
/// <param name="Strangers">Images that cannot, with the reason.</param>
/// <param name="Others">Names of all other files.</param>
internal sealed record CaptionImages(IReadOnlyList<CaptionImage> Images,
    IReadOnlyList<(string Name, string Reason)> Strangers, IReadOnlyList<string> Others)
{
    private const int Head = 1 << 16;

    private static readonly string[] Endings = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"];

    // kinds that are not read here: where and how their files begin
    private static readonly (string Kind, int At, byte[] Mark)[] Unread =
    [
        ("TIFF", 0, [.. "II*\0"u8]), ("TIFF", 0, [.. "MM\0*"u8]), ("JPEG XL", 0, [0xFF, 0x0A]),
        ("JPEG XL", 4, [.. "JXL "u8]), ("JPEG 2000", 4, [.. "jP  "u8]), ("AVIF", 4, [.. "ftypavi"u8]),
        ("HEIF", 4, [.. "ftyphe"u8]), ("HEIF", 4, [.. "ftypmif1"u8]), ("HEIF", 4, [.. "ftypmsf1"u8]),
    ];

    /// <exception cref="UsageException">There is no such folder, or no image in it.</exception>
    /// <exception cref="UnusableFileException">A folder cannot be read.</exception>
    internal static CaptionImages Find(string folder, CancellationToken cancel)
    {
        if (!Directory.Exists(folder))
        {
            throw new UsageException($"there is no folder '{folder}'; --images wants a folder of images");
        }

        List<CaptionImage> images = [];
        List<(string Name, string Reason)> strangers = [];
        List<string> others = [];
        foreach (var file in Files(folder, []).Order(StringComparer.Ordinal))
        {
            cancel.ThrowIfCancellationRequested();
            var name = Path.GetRelativePath(folder, file).Replace('\\', '/');
            try
            {
                var known = Endings.Contains(Path.GetExtension(file).ToLowerInvariant());
                var pipe = FileKinds.IsNamedPipe(file);
                var (seen, kind) = known || pipe ? (known, null) : Look(file);
                if (pipe && known)
                {
                    strangers.Add((name, "it is a pipe"));
                }
                else if (kind is not null)
                {
                    strangers.Add((name, $"it is a {kind} file; save it as PNG or JPEG"));
                }
                else if (!seen)
                {
                    others.Add(name);
                }
                else if (Read(name, file, out var reason) is { } image)
                {
                    images.Add(image);
                }
                else
                {
                    strangers.Add((name, reason!));
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                var target = new FileInfo(file).LinkTarget;
                strangers.Add((name, e is FileNotFoundException && target is not null
                    ? $"it is a link to '{target}', which is not there" : e.Message.TrimEnd('.')));
            }
        }

        return images.Count + strangers.Count > 0 ? new(images, strangers, others)
            : throw new UsageException($"'{folder}' holds no image; wanted are files such as "
                + $"{string.Join(", ", Endings)}" + (others.Count == 0 ? ""
                : $", and it holds {others.Count} others, the first {others[0]}"));
    }

    // all of it: one that is cut short is paid for and trained on like a whole one
    private static CaptionImage? Read(string name, string file, out string? reason)
    {
        var bytes = File.ReadAllBytes(file);
        return ImageFile.Decode(bytes, out reason) is not null
            && ImageFile.Measure(bytes) is var (width, height, type)
            ? new(name, file, CaptionImage.HashOf(bytes), width, height, type) : null;
    }

    // whether a file of another name begins like an image, or like one of a kind that is not read
    private static (bool Image, string? Kind) Look(string file)
    {
        using var stream = File.OpenRead(file);
        var head = new byte[Math.Min(Head, stream.Length)];
        head = head[..stream.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)];
        return (ImageFile.Measure(head) is { MediaType: "image/png" or "image/jpeg" or "image/webp" or "image/bmp"
            or "image/gif" }, Unread.FirstOrDefault(kind =>
            head.Length > kind.At && head.AsSpan(kind.At).StartsWith(kind.Mark)).Kind);
    }

    // with subfolders, links to folders among them, each once
    private static IEnumerable<string> Files(string folder, HashSet<string> seen)
    {
        string[] files, folders;
        try
        {
            var place = new DirectoryInfo(folder);
            if (!seen.Add((place.ResolveLinkTarget(returnFinalTarget: true) ?? place).FullName))
            {
                return [];
            }

            (files, folders) = (Directory.GetFiles(folder), Directory.GetDirectories(folder));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(folder, $"the folder cannot be read: {e.Message.TrimEnd('.')}",
                "give a folder that can be read", e);
        }

        return files.Concat(folders.SelectMany(inner => Files(inner, seen)));
    }
}
