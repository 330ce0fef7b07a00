using Xunit;

namespace ReasonGen.Tests;

/// <summary>Tests beside which no other runs: they hold numbers against others to the bit, and the matrix library has
/// one number of threads for a whole process, which other tests change for a while; or they count the memory that the
/// process takes.</summary>
[CollectionDefinition(DisableParallelization = true)]
public sealed class NothingBeside;
