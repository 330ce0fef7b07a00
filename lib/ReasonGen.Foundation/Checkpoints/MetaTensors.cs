using System.Reflection;
using ReasonGen.Native;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// Memory for a module that was built on the meta device, where building costs nothing: so a model is neither
/// initialised in vain nor held twice before its weights are loaded.
/// </summary>
public static class MetaTensors
{
    private const BindingFlags Members = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance;

    /// <summary>Gives every parameter and buffer of the module its memory on <paramref name="device"/>; what that holds
    /// is undefined.</summary>
    public static void Allocate(nn.Module module, Device device) => Allocate(module, device, (_, _) => null);

    /// <summary>The same, but for what <paramref name="given"/> has a tensor for: by full name and the tensor of the
    /// meta device.</summary>
    internal static void Allocate(nn.Module module, Device device, Func<string, Tensor, Tensor?> given)
    {
        foreach (var (path, part) in module.named_modules().Prepend(("", module)))
        {
            Tensor Memory(string name, Tensor bare) =>
                given(path.Length == 0 ? name : $"{path}.{name}", bare) ?? Fresh(bare, device);
            foreach (var (name, parameter) in part.named_parameters(recurse: false).ToList())
            {
                var made = new Parameter(Memory(name, parameter), parameter.requires_grad);
                Replace(part, name, made, "ConditionallyRegisterParameter");
            }

            foreach (var (name, buffer) in part.named_buffers(recurse: false).ToList())
            {
                Replace(part, name, Memory(name, buffer), "ConditionallyRegisterBuffer");
            }
        }
    }

    private static Tensor Fresh(Tensor bare, Device device)
    {
        var tensor = empty(bare.shape, bare.dtype, device);
        if (tensor.device_type == DeviceType.CPU && tensor.numel() > 0)
        {
            AllocatorSettings.AdviseHugePages(Address(tensor), tensor.numel() * tensor.element_size());
        }

        return tensor;
    }

    /// <summary>Where a contiguous tensor's first element lies.</summary>
    internal static unsafe nint Address(Tensor tensor)
    {
        using var flat = tensor.view(-1);
        using var first = flat.narrow(0, 0, 1);
        return (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref first.bytes[0]);
    }

    // TorchSharp's layers have a property of the parameter's name, modules of one's own a field
    private static void Replace(nn.Module part, string name, Tensor tensor, string registration)
    {
        tensor.DetachFromDisposeScope();
        if (part.GetType().GetProperty(name,
            BindingFlags.Public | BindingFlags.Instance) is { CanWrite: true } property)
        {
            property.SetValue(part, tensor);
            return;
        }

        var field = part.GetType().GetField(name, Members)
            ?? throw new InvalidOperationException($"{part.GetName()} has no field for its tensor '{name}'");
        var register = typeof(nn.Module).GetMethods(Members).Single(method => method.Name == registration
            && method.GetParameters()[1].ParameterType == (tensor is Parameter ? typeof(Parameter) : typeof(Tensor)));
        register.Invoke(part,
            [name, tensor, .. register.GetParameters().Skip(2).Select(parameter => parameter.DefaultValue)]);
        field.SetValue(part, tensor);
    }
}
