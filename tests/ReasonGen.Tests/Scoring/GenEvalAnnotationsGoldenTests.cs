using System.Text.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Scoring;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>People's verdicts on GenEval's images, as they were published.</summary>
[Trait("Category", "Golden")]
public sealed class GenEvalAnnotationsGoldenTests
{
    [Fact]
    public void Human_verdicts_are_those_of_the_published_annotations()
    {
        var metadata = new Dictionary<string, JsonElement>();
        var expected = Golden.Json("geneval/annotations/expected");
        foreach (var set in expected.Properties())
        {
            var path = Golden.Path($"geneval/annotations/annotations_{set.Name}.csv");
            var table = CsvTable.Parse(File.ReadAllText(path));
            int caption = table.Header.ToList().IndexOf("Input.caption"), index = table.Header.ToList()
                .IndexOf("Input.index");
            foreach (var row in table.Rows.Where(row => set.Value["pictures"]![row.Cells[index]] is not null))
            {
                metadata[row.Cells[caption]] = Rebuild(row.Cells, table.Header,
                    (string)set.Value["pictures"]![row.Cells[index]]!["tag"]!);
            }
        }

        Assert.All(expected.Properties(), set =>
        {
            var read = GenEvalAnnotations.Read(Golden.Path($"geneval/annotations/annotations_{set.Name}.csv"),
                metadata);
            Assert.Equal(set.Value["skipped"]!.Select(name => (string)name!),
                read.Skipped.Order(StringComparer.Ordinal));
            Assert.Equal(((JObject)set.Value["pictures"]!).Properties()
                .Select(p => (p.Name, (string)p.Value["tag"]!, (int)p.Value["votes"]!, (int)p.Value["yes"]!,
                (bool)p.Value["majority"]!)),
                read.Images.OrderBy(image => image.Image, StringComparer.Ordinal)
                    .Select(image => (image.Image, image.Tag, image.Votes, image.Yes, image.Majority)));
            Assert.Equal((int)set.Value["unanimous"]!, read.Images.Count(image => image.Unanimous));
            Assert.Equal((double)set.Value["pairwise_agreement_all"]!,
                Agreement(read.Images), 1e-12);
            var tasks = read.Images.GroupBy(image => image.Tag).ToDictionary(task => task.Key);
            Assert.Equal(((JObject)set.Value["majority_rate"]!).Properties().Select(p => p.Name).Order(),
                tasks.Keys.Order());
            Assert.All(tasks, task =>
            {
                Assert.Equal((double)set.Value["majority_rate"]![task.Key]!,
                    task.Value.Average(image => image.Majority ? 1.0 : 0), 1e-12);
                Assert.Equal((double)set.Value["pairwise_agreement"]![task.Key]!, Agreement(task.Value), 1e-12);
            });
        });
    }

    private static double Agreement(IEnumerable<HumanVerdict> images) =>
        images.Sum(image => image.Pairs.Agree) / (double)images.Sum(image => image.Pairs.All);

    // What GenEval's metadata says of a caption, in its own wording: "a photo of a dog right of a red teddy bear", "a
    // photo of four donuts".
    private static JsonElement Rebuild(string[] cells, IReadOnlyList<string> header, string tag)
    {
        string Cell(string name) => cells[header.ToList().IndexOf(name)];
        string[] names = [Cell("Input.object_0_name"), Cell("Input.object_1_name")], words = Cell("Input.caption")
            .Split(' ');
        var clauses = new JArray(names.Where(name => name.Length > 0)
            .Select(name => new JObject { ["class"] = name, ["count"] = 1 }));
        var metadata = new JObject { ["tag"] = tag, ["include"] = clauses };
        switch (tag)
        {
            case "counting":
                var count = Array.IndexOf(["zero", "one", "two", "three", "four"], words[3]);
                clauses[0]["count"] = count;
                metadata["exclude"] = new JArray(new JObject { ["class"] = names[0], ["count"] = count + 1 });
                break;
            case "position":
                var relation = new[] { "left of", "right of", "above", "below" }.First(r => Cell("Input.caption")
                    .Contains($" {r} "));
                clauses[1]["position"] = new JArray(relation, 0);
                break;
            case "colors" or "color_attr":
                for (var i = 0; i < clauses.Count; i++)
                {
                    var before = Cell("Input.caption").Split(" and ")[i].Replace("a photo of", "").Trim().Split(' ');
                    clauses[i]["color"] = before[1];
                }

                break;
        }

        return PythonJson.Parse(metadata.ToString());
    }
}
