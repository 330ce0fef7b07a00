namespace ReasonGen.Host;

/// <summary>Something the user gave is wrong: one paragraph that says what and how to mend it. The command ends with exit code 2.</summary>
public sealed class UsageException(string message) : Exception(message);
