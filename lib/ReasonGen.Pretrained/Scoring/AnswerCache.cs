using System.Security.Cryptography;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Imaging;

namespace ReasonGen.Scoring;

/// <summary>What a judge said, by image and question: a file an image, in a folder for each judge, so that nothing is
/// asked twice.</summary>
/// <param name="folder">Where it lies; null keeps it in memory alone.</param>
/// <param name="judge">Whose answers they are.</param>
public sealed class AnswerCache(string? folder, IScoringJudge judge)
{
    private readonly Dictionary<string, JObject> open = [];
    private readonly string? home = Home(folder, judge);
    private readonly HashSet<string> before = Kept(Home(folder, judge)); // images
    private readonly HashSet<(string Image, string Question)> now = [];

    /// <summary>Names an image by its pixels.</summary>
    public static string KeyOf(RgbImage image)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{image.Width}x{image.Height}"));
        hash.AppendData(image.Rgb);
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..32];
    }

    /// <summary>Names an image by the file that it lies in.</summary>
    /// <exception cref="UnusableFileException">It is a pipe.</exception>
    public static string KeyOf(string path)
    {
        using var file = FileKinds.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file))[..32];
    }

    /// <summary>Answers that were kept when this began and were taken, and those that were asked for.</summary>
    public (long Found, long Asked) Counts { get; private set; }

    /// <summary>What is known, the rest being asked for together and kept.</summary>
    /// <param name="image">Key of the image.</param>
    /// <param name="questions">Names of the questions.</param>
    /// <param name="ask">Answers the questions of these indices.</param>
    /// <exception cref="UnusableFileException">The folder cannot be written.</exception>
    public T[] Of<T>(string image, IReadOnlyList<string> questions, Func<int[], IReadOnlyList<T>> ask)
    {
        var known = Read(image);
        int[] missing = [.. Enumerable.Range(0, questions.Count).Where(i => known[questions[i]] is null)
            .DistinctBy(i => questions[i])];
        var found = !before.Contains(image) ? 0 : questions.Count(question => known[question] is not null
            && !now.Contains((image, question)));
        Counts = (Counts.Found + found, Counts.Asked + missing.Length);
        now.UnionWith(missing.Select(i => (image, questions[i])));
        if (missing.Length > 0)
        {
            foreach (var (i, answer) in missing.Zip(ask(missing)))
            {
                known[questions[i]] = JToken.FromObject(answer!);
            }

            Write(image, known);
        }

        return [.. questions.Select(question => known[question]!.ToObject<T>()!)];
    }

    /// <summary>Drops all that is known of an image.</summary>
    /// <param name="image">Key of the image.</param>
    /// <exception cref="UnusableFileException">The folder cannot be written.</exception>
    public void Forget(string image)
    {
        open.Remove(image);
        before.Remove(image);
        if (PathOf(image) is not { } path)
        {
            return;
        }

        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unwritable(path, e);
        }
    }

    private string? PathOf(string image) => home is null ? null : Path.Combine(home, image[..2], image + ".json");

    private static string? Home(string? folder, IScoringJudge judge) => folder is null ? null
        : Path.Combine(folder, Hash(Encoding.UTF8.GetBytes(judge.Identity))[..16]);

    private static HashSet<string> Kept(string? home)
    {
        try
        {
            return !Directory.Exists(home) ? [] : [.. Directory.EnumerateFiles(home, "*.json",
                SearchOption.AllDirectories).Select(path => Path.GetFileNameWithoutExtension(path))];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // what cannot be listed is told when it cannot be written
        }
    }

    private JObject Read(string image)
    {
        if (PathOf(image) is not { } path)
        {
            return open.TryGetValue(image, out var kept) ? kept : open[image] = [];
        }

        try
        {
            return File.Exists(path) ? JObject.Parse(File.ReadAllText(path)) : [];
        }
        catch (Exception e) when (e is JsonException or IOException)
        {
            return []; // a damaged file is asked for again and replaced
        }
    }

    private void Write(string image, JObject answers)
    {
        if (PathOf(image) is not { } path)
        {
            return;
        }

        try
        {
            AtomicFile.Write(path, answers.ToString(Formatting.None));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unwritable(path, e);
        }
    }

    private static UnusableFileException Unwritable(string path, Exception e) => new(path,
        $"the judge's answer cannot be kept: {e.Message.TrimEnd('.')}", "free space, or give another --out", e);

    private static string Hash(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}

/// <summary>An object judge whose answers are kept.</summary>
public sealed class CachedObjects(IObjectJudge judge, AnswerCache cache) : IObjectJudge
{
    public string Name => judge.Name;

    public string Identity => judge.Identity;

    public bool Official => judge.Official;

    public IReadOnlyList<string> Limits => judge.Limits;

    public IReadOnlyList<Detection> Detect(RgbImage image, string file, IReadOnlyList<string> classes,
        CancellationToken cancel) =>
        // masks would take a hundred times the room; who needs one finds it again
        cache.Of<Detection[]>(KeyOf(image, file), [$"boxes of {string.Join(", ", classes)}"], _ =>
            [[.. judge.Detect(image, file, classes, cancel).Select(box => box with { Mask = null })]])[0];

    public IReadOnlyList<string?> Colors(RgbImage image, string file, IReadOnlyList<Detection> objects,
        string className,
        CancellationToken cancel) =>
        [.. cache.Of<string>(KeyOf(image, file), [.. objects.Select(o => FormattableString.Invariant(
            $"colour of {className} at {o.X1} {o.Y1} {o.X2} {o.Y2}, {o.Score}"))],
            missing => [.. judge.Colors(image, file, [.. missing.Select(i => objects[i])], className, cancel)
                .Select(color => color ?? "")])
            .Select(color => color.Length == 0 ? null : color)];

    /// <summary>Drops what was kept of an image, so that it is judged anew.</summary>
    /// <exception cref="UnusableFileException">The folder cannot be written.</exception>
    public void Forget(RgbImage image, string file) => cache.Forget(KeyOf(image, file));

    private string KeyOf(RgbImage image, string file) =>
        judge is IReadsFiles && file.Length > 0 ? AnswerCache.KeyOf(file) : AnswerCache.KeyOf(image);
}

/// <summary>A question judge whose answers are kept.</summary>
public sealed class CachedQuestions(IQuestionJudge judge, AnswerCache cache) : IQuestionJudge
{
    public string Name => judge.Name;

    public string Identity => judge.Identity;

    public bool Official => judge.Official;

    public IReadOnlyList<string> Limits => judge.Limits;

    public IReadOnlyList<JudgeReply> Ask(RgbImage image, string file, IReadOnlyList<JudgeQuestion> questions,
        CancellationToken cancel) =>
        cache.Of(AnswerCache.KeyOf(image), [.. questions.Select(q => $"{q.Text} | {string.Join('|', q.Forms)}")],
            missing => judge.Ask(image, file, [.. missing.Select(i => questions[i])], cancel));
}
