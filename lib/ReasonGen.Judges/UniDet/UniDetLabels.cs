// The names of the classes: dataset/detection_features.pt of T2I-CompBench, {"labels": 722 texts, "features": …}, which
// came there from Prismer under a licence that forbids to pass it on. So the user's copy is read, and known by its
// SHA-256.
using System.Security.Cryptography;
using System.Text;
using ReasonGen.Checkpoints;

namespace ReasonGen.Judges.UniDet;

/// <summary>The names of a UniDet's classes, by number; several numbers may share a name.</summary>
public sealed class UniDetLabels
{
    // of the names, joined by line feeds
    private const string Published = "8840546c24c3df8df852bb4d6b36032e77f3882311798fe786f33ea6db4caf40";

    private const string Remedy = "give dataset/detection_features.pt of T2I-CompBench's UniDet_eval folder";

    /// <summary>Names that are known otherwise; <see cref="Read"/> reads the published ones.</summary>
    public UniDetLabels(IReadOnlyList<string> names) => Names = names;

    /// <summary>Names by number.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>Whether they are T2I-CompBench's, by their checksum.</summary>
    public bool IsOfficial => Hash(Names) == Published;

    /// <summary>Reads the names from T2I-CompBench's file.</summary>
    /// <param name="path">detection_features.pt.</param>
    /// <param name="anyNames">Take names that are not the published ones too; <see cref="IsOfficial"/> tells.</param>
    /// <exception cref="UnusableFileException">It is missing, damaged, or of another detector; nothing in it is ever
    /// executed.</exception>
    public static UniDetLabels Read(string path, bool anyNames = false)
    {
        try
        {
            if (FileKinds.Of(path) != FileKind.TorchZip)
            {
                throw new UnusableFileException(path,
                    "it is no file that torch.save wrote in the form of T2I-CompBench's labels", Remedy);
            }

            using var file = File.OpenHandle(path);
            var entries = TorchZip.Entries(file);
            var pickled = entries.TryGetValue("data.pkl", out var entry)
                ? TorchZip.Content(file, entry, TorchFile.LargestPickle)
                : throw new FormatException("it lacks the entry data.pkl");
            var saved = new Pickle(pickled, 0).Read() as PickledGroup;
            var list = saved?.Kind == PickledKind.Dictionary
                ? saved.Items.Chunk(2).FirstOrDefault(pair => pair[0] is "labels")?[1] as PickledGroup : null;
            if (list?.Items is not { } items || !items.All(item => item is string))
            {
                throw new UnusableFileException(path, "it holds no list of names under \"labels\"", Remedy);
            }

            var labels = new UniDetLabels([.. items.Cast<string>()]);
            return labels.IsOfficial || anyNames ? labels : throw new UnusableFileException(path,
                $"its {items.Count} labels are not the "
                + $"{UniDetConfig.RS200.Classes} of T2I-CompBench's detector (SHA-256 of the names "
                + $"{Hash(labels.Names)[..8]}…, published {Published[..8]}…): it is the label file of another "
                + $"detector, or was changed", Remedy);
        }
        catch (FormatException e)
        {
            throw new UnusableFileException(path, $"not a sound torch file: {e.Message}", Remedy, e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }

    private static string Hash(IReadOnlyList<string> names) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', names))));
}
