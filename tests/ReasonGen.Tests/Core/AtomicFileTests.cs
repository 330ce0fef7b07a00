using ReasonGen.Files;
using Xunit;

namespace ReasonGen.Tests.Core;

public sealed class AtomicFileTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private string Target => Path.Combine(folder, "file.txt");

    [Fact]
    public void A_write_that_fails_half_way_leaves_the_earlier_file_and_nothing_else()
    {
        AtomicFile.Write(Target, "before");
        Assert.Throws<IOException>(() => AtomicFile.Write(Target, file =>
        {
            file.Write("half"u8);
            throw new IOException("the disk is full");
        }));
        Assert.Equal("before", File.ReadAllText(Target));
        Assert.Equal([Target], Directory.GetFiles(folder));
    }

    [Fact]
    public void A_link_at_the_target_is_replaced_and_not_followed()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a right there");
        var other = Path.Combine(folder, "other.txt");
        File.WriteAllText(other, "another's");
        File.CreateSymbolicLink(Target, other);
        AtomicFile.Write(Target, "mine");
        Assert.Equal(("another's", "mine"), (File.ReadAllText(other), File.ReadAllText(Target)));
        Assert.Null(new FileInfo(Target).LinkTarget);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_pipe_at_the_target_is_refused_before_the_work_and_after_it_and_stays(bool linked)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows keeps its pipes elsewhere");
        var pipe = linked ? Path.Combine(folder, "pipe") : Target;
        async Task Make() => Assert.Equal(0, (await Child.RunAsync(new("mkfifo", [pipe]))).Code);
        void Link() => _ = linked ? File.CreateSymbolicLink(Target, pipe) : null;
        using (var files = new AtomicFiles(folder))
        {
            files.Write("first.txt", file => file.Write("1"u8));
            files.Write("file.txt", file => file.Write("2"u8));
            await Make(); // meanwhile
            Link();
            var refused = Assert.Throws<IOException>(() => files.Commit());
            Assert.Equal($"'{Target}' is a pipe, not a file.", refused.Message);
        }

        Assert.Contains("is a pipe", Assert.Throws<IOException>(() =>
            AtomicFile.Write(Target, _ => Assert.Fail("nothing is written"))).Message);
        Assert.Equal(("a pipe", (string?)null), (FileTarget.NoFile(Target), FileTarget.NoFile(Target + "x")));
        Assert.Equal(new[] { Target, pipe }.Distinct(), Directory.GetFiles(folder).Order());
    }

    [Fact]
    public void A_file_that_is_there_stays_where_it_must_not_be_replaced()
    {
        AtomicFile.Write(Target, "before");
        Assert.Throws<IOException>(() => AtomicFile.Write(Target, "after", overwrite: false));
        Assert.Equal("before", File.ReadAllText(Target));
        Assert.Equal([Target], Directory.GetFiles(folder));
    }

    [Fact]
    public void Two_writers_of_one_file_do_not_meet()
    {
        string[] texts = [.. Enumerable.Range(0, 8).Select(i => new string((char)('a' + i), 100_000))];
        Parallel.ForEach(texts, text => AtomicFile.Write(Target, text));
        Assert.Contains(File.ReadAllText(Target), texts);
        Assert.Equal([Target], Directory.GetFiles(folder));
    }

    [Fact]
    public void Several_files_appear_together_or_not_at_all()
    {
        using (var files = new AtomicFiles(folder))
        {
            files.Write("a", file => file.Write("1"u8));
            Assert.Throws<InvalidDataException>(() => files.Write("b", _ => throw new InvalidDataException()));
        }

        Assert.Empty(Directory.GetFiles(folder));
    }

    [Fact]
    public void What_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not()
    {
        // no process has this id: it is above what any system gives
        File.WriteAllText(Path.Combine(folder, ".writing-2147483647-0123.tmp"), "half");
        var foreign = Path.Combine(folder, ".writing-by-somebody.tmp");
        File.WriteAllText(foreign, "not ours");
        using var files = new AtomicFiles(Directory.CreateDirectory(Path.Combine(folder, "later")).FullName);
        var living = Path.Combine(folder, $".writing-2147483647-4567.tmp");
        using (new FileStream(living, FileMode.CreateNew, FileAccess.Write, FileShare.None))
        {
            AtomicFiles.Sweep(folder);
            Assert.Equal(new[] { foreign, living }.Order(), Directory.GetFiles(folder).Order());
        }

        AtomicFiles.Sweep(folder);
        Assert.Equal([foreign], Directory.GetFiles(folder));
    }

    [Fact]
    public void An_error_names_the_target_and_not_the_file_beside_it()
    {
        var thrown =
            Assert.ThrowsAny<Exception>(() => AtomicFile.Write(Path.Combine(folder, new string('x', 300)), "1"));
        Assert.DoesNotContain(".writing-", thrown.Message);
    }

    [Fact]
    public void A_lock_has_one_holder_and_leaves_nothing()
    {
        var path = Path.Combine(folder, "below", ".lock");
        using (var first = ProcessLock.TryTake(path))
        {
            Assert.NotNull(first);
            Assert.Null(ProcessLock.TryTake(path));
        }

        using var second = ProcessLock.TryTake(path);
        Assert.NotNull(second);
        second.Dispose();
        Assert.False(File.Exists(path));
    }

    [Fact]
    public async Task A_lock_that_is_asked_for_while_it_is_given_back_throws_nothing_and_has_one_holder()
    {
        var (path, inside, several) = (Path.Combine(folder, ".lock"), 0, false);
        void TakeTurns()
        {
            for (var taken = 0; taken < 200;)
            {
                using var held = ProcessLock.TryTake(path);
                if (held is not null)
                {
                    taken++;
                    several |= Interlocked.Increment(ref inside) > 1;
                    Thread.Yield();
                    Interlocked.Decrement(ref inside);
                }
            }
        }

        await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => Task.Run(TakeTurns)));
        Assert.False(several);
        Assert.Empty(Directory.GetFiles(folder));
    }

    public void Dispose() => Directory.Delete(folder, true);
}
