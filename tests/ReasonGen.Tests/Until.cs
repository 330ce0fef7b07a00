using System.Diagnostics;
using Xunit;

namespace ReasonGen.Tests;

/// <summary>Waits for what comes by itself, and not for ever.</summary>
internal static class Until
{
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(5);

    /// <summary>Waits until something holds.</summary>
    /// <param name="holds">Looked at many times a second.</param>
    /// <param name="what">What is waited for, in the words of a failed test.</param>
    internal static async Task HoldsAsync(Func<bool> holds, string what)
    {
        for (var since = Stopwatch.StartNew(); !holds(); await Task.Delay(20))
        {
            Assert.True(since.Elapsed < Longest, $"waited in vain for {what}");
        }
    }
}
