global using Xunit;
using Xunit.Sdk;
using Xunit.v3;

// .NET Interactive captures the console and resolves paths against the working directory, both of the whole process.
[assembly: Parallelization(Mode = ParallelMode.None)]
[assembly: TestCollectionOrderer(typeof(ReasonGen.Interactive.Tests.PackagesLast))]
