namespace ReasonGen.Host;

/// <summary>Something the user gave is wrong: one paragraph that says what and how to mend it. The command ends with
/// exit code 2.</summary>
/// <param name="message">It may quote what the user gave: terminal escapes in it are spelt out.</param>
public sealed class UsageException(string message) : Exception(Terminal.Plain(message));
