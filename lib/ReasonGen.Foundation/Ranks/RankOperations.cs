using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Ranks;

/// <summary>What training asks of a group, made of its three calls.</summary>
public static class RankOperations
{
    private const long LargestBucket = 1 << 22; // elements
    private static readonly TimeSpan Beat = TimeSpan.FromSeconds(0.5);

    /// <summary>Whether it is so on any rank.</summary>
    public static bool Any(this IRankGroup ranks, bool mine, string what) =>
        ranks.Size == 1 ? mine : ranks.Gather([mine ? (byte)1 : (byte)0], what).Any(one => one[0] == 1);

    /// <summary>A text of each rank, in the order of ranks.</summary>
    public static string[] Texts(this IRankGroup ranks, string mine, string what) =>
        [.. ranks.Gather(Encoding.UTF8.GetBytes(mine), what).Select(Encoding.UTF8.GetString)];

    /// <summary>The items of a list that was dealt out, item i to rank i mod W, in the order of the list.</summary>
    /// <param name="ranks">The group.</param>
    /// <param name="mine">What this rank made of its items.</param>
    /// <param name="what">Names the call for people.</param>
    public static T[] Dealt<T>(this IRankGroup ranks, IReadOnlyList<T> mine, string what) where T : unmanaged
    {
        if (ranks.Size == 1)
        {
            return [.. mine];
        }

        var all = ranks.Gather(MemoryMarshal.AsBytes<T>(mine.ToArray()), what)
            .Select(bytes => MemoryMarshal.Cast<byte, T>(bytes).ToArray()).ToArray();
        return [.. Enumerable.Range(0, all.Sum(items => items.Length))
            .Select(i => all[i % ranks.Size][i / ranks.Size])];
    }

    /// <summary>Rows first to first + count − 1 of a list that is cut into W parts of nearly one length.</summary>
    public static (int First, int Count) Share(this IRankGroup ranks, int rows)
    {
        var first = (int)((long)rows * ranks.Rank / ranks.Size);
        return (first, (int)((long)rows * (ranks.Rank + 1) / ranks.Size) - first);
    }

    /// <summary>Adds the gradients of all ranks up. A weight without a gradient here that has one elsewhere counts as
    /// 0.</summary>
    public static void SumGradients(this IRankGroup ranks, IEnumerable<Parameter> parameters)
    {
        if (ranks.Size == 1)
        {
            return;
        }

        using var free = no_grad();
        using var scope = NewDisposeScope(); // each look at a gradient would keep its memory
        Parameter[] all = [.. parameters];
        byte[] have = [.. all.Select(parameter => parameter.grad is null ? (byte)0 : (byte)1)];
        var known = ranks.Gather(have, "which weights have gradients");
        Parameter[] summed = [.. all.Where((_, i) => known.Any(one => one[i] == 1))];
        Array.ForEach(summed, Widen);
        InBuckets(summed.Select(parameter => parameter.grad!), one => ranks.Sum(one, "sum of gradients"));
    }

    /// <summary>Replaces tensors by those of one rank.</summary>
    /// <param name="ranks">The group.</param>
    /// <param name="tensors">Of the same shapes and types everywhere.</param>
    /// <param name="from">The rank that has them.</param>
    /// <param name="what">Names the call for people.</param>
    public static void Broadcast(this IRankGroup ranks, IEnumerable<Tensor> tensors, int from, string what) =>
        InBuckets(tensors, one => ranks.Broadcast(one, from, what));

    // Small tensors side by side, since each call waits for all ranks; a large one by itself.
    private static void InBuckets(IEnumerable<Tensor> tensors, Action<Tensor> call)
    {
        using var free = no_grad();
        List<Tensor> bucket = [];
        foreach (var tensor in tensors)
        {
            if (bucket.Count > 0 && (bucket[0].dtype != tensor.dtype
                || bucket.Sum(one => one.numel()) + tensor.numel() > LargestBucket))
            {
                Call(bucket, call);
                bucket = [];
            }

            bucket.Add(tensor);
        }

        Call(bucket, call);
    }

    private static void Call(List<Tensor> bucket, Action<Tensor> call)
    {
        if (bucket.Count < 2)
        {
            bucket.ForEach(call);
            return;
        }

        using var scope = NewDisposeScope();
        var flat = cat(bucket.Select(one => one.detach().reshape(-1)).ToArray());
        call(flat);
        long at = 0;
        foreach (var tensor in bucket)
        {
            tensor.copy_(flat.narrow(0, at, tensor.numel()).view(tensor.shape));
            at += tensor.numel();
        }
    }

    // to the type that sums are made in: the same on all ranks, however many micro-batches each had
    private static void Widen(Parameter parameter)
    {
        var type = parameter.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        using var had = parameter.grad;
        if (had is null || had.dtype != type)
        {
            parameter.grad = had is null ? zeros(parameter.shape, type, parameter.device) : had.to(type);
        }
    }

    /// <summary>The rank that keeps the optimizer's state of each weight: the largest first, each to whom has
    /// least.</summary>
    /// <param name="sizes">Elements of each weight.</param>
    /// <param name="ranks">How many ranks.</param>
    public static int[] Owners(IReadOnlyList<long> sizes, int ranks)
    {
        var (owners, load) = (new int[sizes.Count], new long[ranks]);
        foreach (var i in Enumerable.Range(0, sizes.Count).OrderByDescending(i => sizes[i]))
        {
            owners[i] = Array.IndexOf(load, load.Min());
            load[owners[i]] += sizes[i];
        }

        return owners;
    }

    /// <summary>Tensors that are spread over the ranks, all of them on the CPU of rank 0; the other ranks get
    /// none.</summary>
    /// <param name="ranks">The group.</param>
    /// <param name="mine">Those of this rank; no name is on two.</param>
    /// <param name="what">Names the call for people.</param>
    public static Dictionary<string, Tensor> Collect(this IRankGroup ranks, IReadOnlyDictionary<string, Tensor> mine,
        string what)
    {
        var lists = ranks.Texts(
            JsonConvert.SerializeObject(mine.Select(pair => new Held(pair.Key, pair.Value.shape, pair.Value.dtype))),
            what);
        var all = new Dictionary<string, Tensor>();
        for (var owner = 0; owner < ranks.Size; owner++)
        {
            foreach (var held in JsonConvert.DeserializeObject<Held[]>(lists[owner])!)
            {
                var tensor = owner == ranks.Rank ? mine[held.Name].detach().cpu() : empty(held.Shape, held.Type, CPU);
                ranks.Broadcast(tensor, owner, what);
                if (ranks.Rank == 0)
                {
                    all.Add(held.Name, tensor);
                }
                else if (owner != ranks.Rank || mine[held.Name].device_type != DeviceType.CPU)
                {
                    tensor.Dispose();
                }
            }
        }

        return all;
    }

    /// <summary>
    /// Does what may take long, such as asking a judge. Ranks that are ready wait for the others for as long as those
    /// live: who is still at it says so again and again, on another thread. One that stands still is missed as in any
    /// other call.
    /// </summary>
    /// <param name="ranks">The group.</param>
    /// <param name="work">What this rank does; it makes no call of the group.</param>
    /// <param name="what">Names the call for people.</param>
    public static T Awaited<T>(this IRankGroup ranks, Func<T> work, string what)
    {
        if (ranks.Size == 1)
        {
            return work();
        }

        using var ended = new ManualResetEventSlim();
        var (made, failed) = (default(T)!, true);
        var beats = Task.Factory.StartNew(() =>
        {
            bool over;
            do
            {
                over = ended.Wait(Beat);
            }
            while (!(over && failed) && ranks.Any(!over, what)); // who fails comes no more, and ends all
        }, TaskCreationOptions.LongRunning);
        try
        {
            made = work();
            failed = false;
        }
        finally
        {
            ended.Set();
            Task.WhenAny(beats).Wait();
        }

        beats.GetAwaiter().GetResult();
        return made;
    }

    /// <inheritdoc cref="Awaited{T}"/>
    public static void Awaited(this IRankGroup ranks, Action work, string what) => ranks.Awaited(() =>
    {
        work();
        return true;
    }, what);

    /// <summary>Does on rank 0 alone what the others wait for however long it takes, such as writing files.</summary>
    public static void ByFirst(this IRankGroup ranks, Action work, string what) => ranks.Awaited(() =>
    {
        if (ranks.Rank == 0)
        {
            work();
        }
    }, what);

    /// <summary>Does on rank 0 what makes files for all, then on the others; all wait however long it takes.</summary>
    public static T AfterFirst<T>(this IRankGroup ranks, Func<T> work)
    {
        const string what = "preparations";
        var first = ranks.Awaited(() => ranks.Rank == 0 ? work() : default, what);
        return ranks.Awaited(() => ranks.Rank == 0 ? first! : work(), what);
    }

    /// <summary>Refuses ranks that were not started alike.</summary>
    /// <param name="ranks">The group.</param>
    /// <param name="mine">All that must be the same: version, settings, data, the state to go on from.</param>
    /// <exception cref="ArgumentException">Thrown on every rank alike: a rank differs from rank 0, and in
    /// what.</exception>
    public static void Agree(this IRankGroup ranks, JObject mine)
    {
        if (ranks.Size == 1)
        {
            return;
        }

        mine = (JObject)mine.DeepClone();
        mine["kit"] = typeof(RankOperations).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?
            .InformationalVersion;
        (mine["torchSharp"], mine["mpi"]) =
            ($"{typeof(torch).Assembly.GetName().Version}", (ranks as MpiGroup)?.Library);
        var all = ranks.Texts(mine.ToString(Formatting.None), "comparing versions, settings and data")
            .Select(JObject.Parse).ToArray();
        for (var other = 1; other < all.Length; other++)
        {
            if (SettingsDifference.Of(all[0], all[other],
                $"{{0}} is {{1}} on rank 0 and {{2}} on rank {other}") is { Count: > 0 } different)
            {
                throw new ArgumentException($"The ranks were not started alike: {string.Join("; ", different)}. "
                    + "Start all of them with one version of the kit, one command line, and folders that all of them "
                    + "see.");
            }
        }
    }

    private sealed record Held(string Name, long[] Shape, ScalarType Type);
}
