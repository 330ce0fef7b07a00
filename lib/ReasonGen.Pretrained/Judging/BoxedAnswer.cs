// A judge's verdict (mathruler's extract_boxed_content, fsdp_workers.py get_score_from_output): what stands in the last
// \boxed{…}, up to the brace that closes it, stripped as Python strips; "None" when there is no box, or the last one is
// never closed.
using ReasonGen.Tokenizers;

namespace ReasonGen.Judging;

/// <summary>Reads the verdict out of a judge's answer.</summary>
public static class BoxedAnswer
{
    private const string Box = @"\boxed{";

    /// <summary>Content of the last box, or "None".</summary>
    public static string Parse(string answer)
    {
        var start = answer.LastIndexOf(Box, StringComparison.Ordinal);
        var depth = start < 0 ? 0 : 1;
        for (var i = start + Box.Length; depth > 0 && i < answer.Length; i++)
        {
            depth += answer[i] switch { '{' => 1, '}' => -1, _ => 0 };
            if (depth == 0)
            {
                return PythonText.Strip(answer[(start + Box.Length)..i]);
            }
        }

        return "None";
    }

    /// <summary>1 when the last box holds just "1", else 0.</summary>
    public static float Score(string answer) => Parse(answer) == "1" ? 1 : 0;
}
