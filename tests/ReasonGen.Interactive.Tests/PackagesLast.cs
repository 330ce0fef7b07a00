using Xunit.Sdk;
using Xunit.v3;

namespace ReasonGen.Interactive.Tests;

/// <summary>Packages come last: what a kernel loads stays loaded in the process, and a kit that came from a package,
/// whose folder goes with its test, would stand before the one that was built.</summary>
public sealed class PackagesLast : ITestCollectionOrderer
{
    public IReadOnlyCollection<TTestCollection> OrderTestCollections<TTestCollection>(
        IReadOnlyCollection<TTestCollection> testCollections) where TTestCollection : ITestCollection =>
        [.. testCollections.OrderBy(collection =>
            collection.TestCollectionDisplayName.Contains(nameof(PackageTests), StringComparison.Ordinal))];
}
