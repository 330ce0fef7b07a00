namespace ReasonGen.Grpo;

/// <summary>Too few groups have rewards that differ. Nothing was changed: the same prompts come again.</summary>
public sealed class TooFewGroupsException(string message) : InvalidOperationException(message);
