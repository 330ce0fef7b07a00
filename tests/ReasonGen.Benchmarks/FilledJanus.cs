using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>A Janus on the CPU whose weights repeat one pool of random numbers: drawing them all would take longer than
/// what is measured.</summary>
internal static class FilledJanus
{
    internal static Janus Make(JanusConfig config, ScalarType type)
    {
        NativeRuntime.EnsureLoaded();
        using var free = no_grad();
        using var pool = randn(1 << 20).mul(0.02).to(type);
        var model = new Janus(config, new ComputeTarget(META, type));
        MetaTensors.Allocate(model, CPU);
        model.Target = new ComputeTarget(CPU, type);
        foreach (var weights in model.state_dict().Values.Where(tensor => tensor.is_floating_point()))
        {
            using var scope = NewDisposeScope();
            foreach (var part in weights.view(-1).split(pool.numel()))
            {
                part.copy_(pool.narrow(0, 0, part.numel()));
            }
        }

        return model;
    }
}
