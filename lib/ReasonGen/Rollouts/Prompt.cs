namespace ReasonGen.Rollouts;

/// <summary>One thing a prompt asks for, in GenEval's terms (its metadata key <c>include</c>).</summary>
/// <param name="Class">What, for example "circle".</param>
/// <param name="Count">How many, exactly; at least 1.</param>
/// <param name="Color">Which colour, or null when any will do.</param>
/// <param name="Relation">"left of", "right of", "above" or "below" <paramref name="Target"/>, or null.</param>
/// <param name="Target">Index of the clause that <paramref name="Relation"/> refers to.</param>
public sealed record Clause(string Class, int Count = 1, string? Color = null, string? Relation = null, int Target = 0);

/// <summary>A prompt, and what an image must show to satisfy it.</summary>
/// <param name="Text">The prompt as the policy and the judge read it.</param>
/// <param name="Task">GenEval's tag: single_object, two_object, counting, colors, position, color_attr; empty for a
/// free prompt.</param>
/// <param name="Include">What must be there; empty for a free prompt, which only a vision-language judge can
/// score.</param>
public sealed record Prompt(string Text, string Task, IReadOnlyList<Clause> Include);
