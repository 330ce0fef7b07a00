using System.Text.Json;
using ReasonGen.Checkpoints;
using ReasonGen.Host.Commands;
using ReasonGen.Scoring;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>Files beside what is scored, as strangers leave them.</summary>
public sealed class SideFileTests : IDisposable
{
    private const string Header = "Input.index,Input.caption,Input.object_0_name,Input.object_1_name,"
        + "Answer.task-count-0,Answer.task-count-1,Answer.task-color-0,Answer.task-color-1,Answer.task-position-x,"
        + "Answer.task-position-y\n";

    private const string Questions = "item_id,text,keywords,proposition_id,dependency,category_broad,"
        + "category_detailed,tuple,question_natural_language\n";

    private readonly TestFolder folder = new();

    [Theory]
    [InlineData("""{"settings": {"count": 4}, "about": {"model": "m"}}""", 4, "m", 0)]
    [InlineData("""{"settings": {"count": 1e20}, "about": {"model": {"a": 1}}}""", null, null, 2)]
    [InlineData("""{"settings": {"count": 100000000000000000000}, "about": {"model": 7}}""", null, null, 2)]
    [InlineData("""{"settings": {"count": -1}, "about": {"model": "2026-01-01T00:00:00"}}""", null,
        "2026-01-01T00:00:00", 1)]
    [InlineData("""{"settings": "x", "about": "y"}""", null, null, 2)]
    [InlineData("""{"settings": {"count": null}, "about": null}""", null, null, 0)]
    [InlineData("""[1]""", null, null, 2)]
    [InlineData("""{"settings": """, null, null, 2)]
    [InlineData(null, null, null, 0)]
    public void What_cannot_be_used_becomes_a_note(string? text, int? count, string? model, int notes)
    {
        var said = new List<string>();
        var path = text is null ? folder.At("none.json") : Written(text);
        Assert.Equal(count, SideFile.Count(path, "how many there are", said, "settings", "count"));
        Assert.Equal(model, SideFile.Text(path, "which model it was", said, "about", "model"));
        Assert.Equal(notes, said.Count);
    }

    [Theory]
    [InlineData("""{"prompt": "p", "include": [{"class": "bench", "count": 1}]}""", "'tag'")]
    [InlineData("""{"prompt": "p", "tag": "t"}""", "'include'")]
    [InlineData("""{"prompt": "p", "tag": "t", "include": [{"class": "bench"}]}""", "'count'")]
    [InlineData("""{"tag": "t", "include": [{"class": "bench", "count": 1}]}""", "'prompt'")]
    [InlineData("""{"prompt": "p", "tag": "t", "include": [{"class": "b", "count": 1, "position": ["on", 0]}]}""",
        "'position'")]
    [InlineData("""{"prompt": "p", "tag": "t", "include": [{"class": "b", "count": 1e20}]}""", "line 2")]
    [InlineData("7", "line 2")]
    public void Metadata_that_lack_something_are_refused_by_their_line(string line, string message)
    {
        var path = Written($"\n{line}\n");
        var thrown = Assert.Throws<UnusableFileException>(() => GenEvalAnnotations.ReadMetadata(path)).Message;
        Assert.Contains(message, thrown);
        Assert.Contains("line 2", thrown);
    }

    [Theory]
    [InlineData("a,b\n1,\"Is there a second d", 2)]
    [InlineData("a,b\n1,2\n3,\"x\"\"\n", 3)]
    public void A_table_that_ends_within_quotes_is_refused(string text, int line) => Assert.Contains($"on line {line} ",
        Assert.Throws<OfficialStopException>(() => CsvTable.Parse(text)).Message);

    [Fact]
    public void Questions_and_annotations_that_are_cut_short_are_named()
    {
        var questions = Written(Questions + "a,t,,1,0,,,entity,Is it?\nb,t,,1,0,,,entity,\"Is th");
        Assert.Contains(questions, Assert.Throws<UnusableFileException>(() => DpgQuestions.Read(questions)).Message);
        var people = Written(Header + "0_0,\"a pho");
        Assert.Contains(people, Assert.Throws<UnusableFileException>(() =>
            GenEvalAnnotations.Read(people, new Dictionary<string, JsonElement>())).Message);
    }

    [Fact]
    public void Items_whose_ids_are_all_numbers_are_read_as_text()
    {
        var read = DpgQuestions.Read(Written(Questions + "1,t,,1,0,,,entity,Lost?\n007,t,,1,0,,,entity,Is it?\n"
            + "007,t,,2,\"0,1\",,,entity,Is it red?\n"));
        Assert.Equal(["007"], read.Items.Keys);
        Assert.Equal([[0], [0, 1]], read.Items["007"].Select(question => question.Parents));
        Assert.Contains(read.Notes, note => note.Contains("finds no item in this file"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("1,t,,1,0,,,entity,Lost?\n")]
    public void A_table_without_an_item_holds_no_question(string rows) => Assert.Contains("it holds no question",
        Assert.Throws<UnusableFileException>(() => DpgQuestions.Read(Written(Questions + rows))).Message);

    [Fact]
    public void A_prompt_of_GenEval_2_with_other_questions_than_before_is_refused()
    {
        static string Line(string question) => $$"""
            {"prompt": "p", "atom_count": 3, "vqa_list": [["{{question}}", "Yes"]], "skills": ["object"]}
            """.Trim();
        Assert.Equal(2, GenEval2.Read(Written($"{Line("a?")}\n{Line("a?")}\n")).Count);
        var thrown = Assert.Throws<UnusableFileException>(() =>
            GenEval2.Read(Written($"{Line("a?")}\n\n{Line("b?")}\n"))).Message;
        Assert.Contains("line 3 ", thrown);
        Assert.Contains("line 1 asks other questions", thrown);
    }

    public void Dispose() => folder.Dispose();

    private string Written(string text) => folder.Write("side.json", text);
}
