using System.Globalization;
using System.Text;
using ReasonGen.Core;
using static TorchSharp.torch;

namespace ReasonGen.Ranks;

/// <summary>Starts NCCL where every rank has it and a GPU of its own, and compares a sum and a broadcast with MPI's
/// before anything is trusted to it.</summary>
internal static class NcclStart
{
    private const int Numbers = 1000;
    private const double Tolerance = 1e-5;

    /// <param name="rank">Of this process.</param>
    /// <param name="size">How many there are.</param>
    /// <param name="gpu">What tells the GPU of this rank from all others: each may be its rank's number 0.</param>
    /// <param name="device">As libtorch calls it.</param>
    /// <param name="gather">What each rank gives, by MPI.</param>
    /// <param name="sumOnHost">Sums a tensor on the host, by MPI.</param>
    /// <returns>NCCL, or null for the way through the host; and words for people.</returns>
    internal static (Nccl? Nccl, string Words) Try(int rank, int size, string? gpu, Device device,
        Func<byte[], byte[][]> gather, Action<Tensor> sumOnHost)
    {
        string[] Tell(string mine) => [.. gather(Encoding.UTF8.GetBytes(mine)).Select(Encoding.UTF8.GetString)];
        var library = Nccl.Library.Load();
        var gpus = Tell(library is null ? "" : gpu ?? device.ToString());
        if (Array.IndexOf(gpus, "") is >= 0 and var without)
        {
            return ThroughHost($"rank {without} finds no libnccl.so.2");
        }

        if (gpus.Index().GroupBy(one => one.Item).FirstOrDefault(same => same.Count() > 1) is { } shared)
        {
            return ThroughHost($"ranks {string.Join(" and ", shared.Select(one => one.Index))} share a GPU");
        }

        Nccl? made = null;
        var trouble = "";
        var id = gather(rank == 0 ? library!.NewId() : [])[0];
        try
        {
            made = new Nccl(library!, rank, size, id);
            trouble = Compare(made, rank, size, device, sumOnHost);
        }
        catch (RankGroupException e)
        {
            trouble = e.Message;
        }

        if (Tell(trouble).Index().FirstOrDefault(one => one.Item.Length > 0) is { Item: { } first, Index: var where })
        {
            made?.Dispose();
            return ThroughHost($"rank {where}: {first.TrimEnd('.')}");
        }

        return (made, string.Create(CultureInfo.InvariantCulture,
            $"NCCL {library!.Version}, which agrees with MPI to {Tolerance:0e0}"));
    }

    private static (Nccl?, string) ThroughHost(string why) => (null, $"MPI through the host's memory, as {why}");

    // what is wrong with NCCL's sum or broadcast; empty where nothing is
    private static string Compare(Nccl nccl, int rank, int size, Device device, Action<Tensor> sumOnHost)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Torch(1, rank);
        using var expected = randn(Numbers, device: CPU, generator: generator);
        using var sent = expected.to(device).clone();
        using var broadcast = full(Numbers, (float)rank, device: device);
        nccl.Sum(sent);
        nccl.Broadcast(broadcast, size - 1);
        sumOnHost(expected);
        var (largest, far) = (expected.abs().max().item<float>(), (sent.cpu() - expected).abs().max().item<float>());
        return !(far <= Tolerance * largest)
            ? string.Create(CultureInfo.InvariantCulture, $"NCCL's sum is {far:0.0e0} from MPI's")
            : broadcast.cpu().ne(size - 1).any().item<bool>() ? "NCCL's broadcast is not what was sent" : "";
    }
}
