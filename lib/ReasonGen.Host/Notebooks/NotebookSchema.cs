using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Notebooks;

/// <summary>What must hold of a notebook before anything is done with it; each refusal names the cell.</summary>
internal static class NotebookSchema
{
    /// <exception cref="UsageException">It does not hold.</exception>
    internal static void Check(string path, JObject root)
    {
        void Demand(bool holds, string what)
        {
            if (!holds)
            {
                throw new UsageException(
                    $"{path} is not a notebook that can be run: {what}. Save it anew from VS Code or Jupyter.");
            }
        }

        if (root["worksheets"] is not null || root["nbformat"] is JValue { Value: long and < 4 })
        {
            throw new UsageException(
                $"{path} is in notebook format 3 or older. Convert it: jupyter nbconvert --to notebook --nbformat 4 "
                + $"FILE");
        }

        Demand(root["cells"] is JArray, "it has no list of cells");
        Demand(root["nbformat"] is null or JValue { Value: 4L },
            $"it is in notebook format {root["nbformat"]}, and this kit reads format 4");
        Demand(root["nbformat_minor"] is null or JValue { Value: long and >= 0 }, "its nbformat_minor is no number");
        Demand(root["metadata"] is null or JObject, "its metadata is no object");
        foreach (var (i, cell) in root["cells"]!.Index())
        {
            var name = $"cell {i + 1}";
            Demand(cell is JObject, $"{name} is no object");
            var members = (JObject)cell;
            Demand(members["cell_type"] is JValue { Value: "code" or "markdown" or "raw" },
                $"{name} is of type '{members["cell_type"]}', not code, markdown or raw");
            Demand(IsText(members["source"]), $"{name} has no source, as text or lines of text");
            Demand(members["metadata"] is null or JObject, $"the metadata of {name} is no object");
            Demand(members["metadata"]?["tags"] is null || AreTexts(members["metadata"]!["tags"]),
                $"the tags of {name} are no list of texts");
            Demand(members["id"] is null or JValue { Value: string }, $"the id of {name} is no text");
            Demand(members["attachments"] is null
                || (members["attachments"] is JObject named && named.Properties().All(one => one.Value is JObject)),
                $"the attachments of {name} are no object of objects");
            Demand(members["outputs"] is null
                || (members["outputs"] is JArray outputs && outputs.All(output => output is JObject)),
                $"the outputs of {name} are no list of objects");
            Demand(members["execution_count"] is null or JValue { Type: JTokenType.Null or JTokenType.Integer },
                $"the execution_count of {name} is no number");
        }
    }

    private static bool IsText(JToken? token) => token is JValue { Value: string } || AreTexts(token);

    private static bool AreTexts(JToken? token) =>
        token is JArray lines && lines.All(line => line is JValue { Value: string });
}
