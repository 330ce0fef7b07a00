using System.Reflection;
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// Memory for a module that was built on the meta device, where building costs nothing: so a model is neither initialised in vain nor
/// held twice before its weights are loaded.
/// </summary>
public static class BareWeights
{
    private const BindingFlags Members = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance;

    /// <summary>Gives every parameter and buffer of the module its memory on <paramref name="device"/>; what that holds is undefined.</summary>
    public static void Allocate(nn.Module module, Device device)
    {
        foreach (var part in module.modules())
        {
            foreach (var (name, parameter) in part.named_parameters(recurse: false).ToList())
            {
                var made = new Parameter(empty(parameter.shape, parameter.dtype, device), parameter.requires_grad);
                Replace(part, name, made, "ConditionallyRegisterParameter");
            }

            foreach (var (name, buffer) in part.named_buffers(recurse: false).ToList())
            {
                Replace(part, name, empty(buffer.shape, buffer.dtype, device), "ConditionallyRegisterBuffer");
            }
        }
    }

    private static unsafe nint Address(Tensor tensor)
    {
        using var first = tensor.view(-1).narrow(0, 0, 1);
        return (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref first.bytes[0]);
    }

    // TorchSharp's layers have a property of the parameter's name, modules of one's own a field
    private static void Replace(nn.Module part, string name, Tensor tensor, string registration)
    {
        tensor.DetachFromDisposeScope();
        if (tensor.device_type == DeviceType.CPU && tensor.numel() > 0)
        {
            AllocatorSettings.AdviseHugePages(Address(tensor), tensor.numel() * tensor.element_size());
        }

        if (part.GetType().GetProperty(name, BindingFlags.Public | BindingFlags.Instance) is { CanWrite: true } property)
        {
            property.SetValue(part, tensor);
            return;
        }

        var field = part.GetType().GetField(name, Members)
            ?? throw new InvalidOperationException($"{part.GetName()} has no field for its tensor '{name}'");
        var register = typeof(nn.Module).GetMethods(Members).Single(method => method.Name == registration
            && method.GetParameters()[1].ParameterType == (tensor is Parameter ? typeof(Parameter) : typeof(Tensor)));
        register.Invoke(part, [name, tensor, .. register.GetParameters().Skip(2).Select(parameter => parameter.DefaultValue)]);
        field.SetValue(part, tensor);
    }
}
