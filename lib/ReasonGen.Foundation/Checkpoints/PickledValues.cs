using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

internal enum PickledKind
{
    Tuple,
    List,
    Dictionary,
}

/// <summary>A tuple, list or dictionary; a dictionary's items are key, value, key, value …</summary>
internal sealed class PickledGroup(PickledKind kind)
{
    private const int DeepestNesting = 32;

    private readonly List<object?> items = [];
    private HashSet<object>? keys;
    private bool visiting;
    private int height; // once known

    // a file chooses its numbers, so that plain hashes of them could be made to collide
    private static readonly IEqualityComparer<object> ByValue = EqualityComparer<object>.Create(
        (one, other) => Equals(one, other), key => key is long number ? HashCode.Combine(number) : key.GetHashCode());

    internal PickledKind Kind => kind;

    internal IReadOnlyList<object?> Items => items;

    internal void Add(object? item) => items.Add(item);

    /// <summary>Makes sure that it can be walked: a group may be reached by two ways, but none holds itself, and none
    /// lies very deep.</summary>
    /// <returns>Levels of groups, itself included.</returns>
    /// <exception cref="FormatException">It cannot.</exception>
    internal int CheckNesting(int depth = 1)
    {
        if (visiting)
        {
            throw new FormatException("one of its values holds itself");
        }

        if (height == 0)
        {
            visiting = true;
            var below = depth > DeepestNesting ? DeepestNesting
                : items.OfType<PickledGroup>().Select(group => group.CheckNesting(depth + 1))
                .DefaultIfEmpty(0).Max();
            (visiting, height) = (false, below + 1);
        }

        return height <= DeepestNesting ? height
            : throw new FormatException($"its values are nested deeper than {DeepestNesting} levels");
    }

    /// <summary>Adds a pair to a dictionary. A key that names no tensor, such as True or a tuple of numbers, is kept as
    /// it is; see <see cref="Names"/>.</summary>
    internal void Add(object? key, object? value)
    {
        if (kind != PickledKind.Dictionary || !(Names(key) ? (keys ??= new(ByValue)).Add(key!) : IsPlain(key)
            || key is PickledGroup { Kind: PickledKind.Tuple } tuple && tuple.Items.All(IsPlain)))
        {
            throw new FormatException(kind != PickledKind.Dictionary
                ? "it sets a key of something that is no dictionary"
                : Names(key) ? $"the name '{key}' stands twice in one dictionary"
                : "a dictionary has a key that is neither text nor a number");
        }

        items.Add(key);
        Add(value);
    }

    /// <summary>Whether a key can be a part of a tensor's name.</summary>
    internal static bool Names(object? key) => key is string or long;

    private static bool IsPlain(object? key) => key is null or string or long or double or bool or PickledInert;
}

/// <summary>A storage that tensors view: elements of one type under a key.</summary>
internal sealed record PickledStorage(string Key, ScalarType Type, long Elements)
{
    /// <summary>First element and number of elements of the part that is viewed (legacy container only).</summary>
    internal (long First, long Count)? View { get; init; }
}

/// <summary>Storage, offset, size and stride as the file gives them, unchecked: errors wait until the tensor has a
/// name.</summary>
internal sealed record PickledTensor(IReadOnlyList<object?> Arguments);

/// <summary>Stands where a file of weights has something that is no weight; it holds nothing.</summary>
internal sealed class PickledInert;
