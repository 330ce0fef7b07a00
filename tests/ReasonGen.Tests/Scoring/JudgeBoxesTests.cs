using ReasonGen.Imaging;
using ReasonGen.Notebook;
using ReasonGen.Qwen;
using ReasonGen.Scoring;
using ReasonGen.Served;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>Boxes that a model tells in words: what they are counted in, what they are of, and what is cut out by
/// them.</summary>
public sealed class JudgeBoxesTests
{
    [Theory]
    [InlineData("[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"dog\"}]", 1, "20 10 60 20")]
    [InlineData("```json\n[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"Dogs\"}, {\"bbox_2d\": [0, 0, 1, 1], "
        + "\"label\": \"cat\"}]\n```", 1, "20 10 60 20")]
    [InlineData("[]", 0, "")]
    [InlineData("There is no dog: []", 0, "")]
    [InlineData("I see a dog.", -1, "")]
    [InlineData("[{\"bbox_2d\": [10, 20", -1, "")]
    public void Boxes_are_scaled_back_and_unreadable_ones_are_refused(string answer, int count, string corners)
    {
        if (count < 0)
        {
            Assert.Contains("cannot be read", Assert.Throws<OfficialStopException>(() =>
                BoxQuestions.Read(answer, ["dog"], 2, 0.5)).Message);
            return;
        }

        var boxes = BoxQuestions.Read(answer, ["dog"], 2, 0.5);
        Assert.Equal(count, boxes.Count);
        Assert.All(boxes, box => Assert.Equal(corners, $"{box.X1} {box.Y1} {box.X2} {box.Y2}"));
    }

    [Theory]
    [InlineData("teddy bear", "bear,teddy bear", "teddy bear")]
    [InlineData("Brown teddy bears", "bear,teddy bear", "teddy bear")]
    [InlineData("teddy bear", "bear", null)]
    [InlineData("hot dog", "dog", null)]
    [InlineData("two hot dogs", "dog", null)]
    [InlineData("big red dogs", "cat,dog", "dog")]
    [InlineData("dining table", "table", "table")]
    [InlineData("knives", "knife", "knife")]
    [InlineData("buses", "bus", "bus")]
    [InlineData("benches", "bench", "bench")]
    [InlineData("people", "person", "person")]
    [InlineData("men", "woman,man", "man")]
    [InlineData("women", "man,woman", "woman")]
    [InlineData("puppies", "puppy", "puppy")]
    [InlineData("eiffel tower", "Eiffel Tower", "Eiffel Tower")]
    [InlineData("scar", "car", null)]
    public void A_box_is_of_the_asked_class_that_its_label_names(string label, string classes, string? expected) =>
        Assert.Equal(expected, BoxQuestions.Read($$"""[{"bbox_2d": [1, 2, 3, 4], "label": "{{label}}"}]""",
            classes.Split(','), 1, 1).SingleOrDefault()?.Class);

    [Theory]
    [InlineData(10, 5, 10.6, 380)]
    [InlineData(0, 200, 384, 200.5)]
    [InlineData(383.9, 0, 384, 384)]
    [InlineData(100, 100, 150, 120)]
    public void A_crop_of_any_shape_is_one_that_the_model_takes(float x1, float y1, float x2, float y2)
    {
        var crop = BoxQuestions.Cut(new RgbImage(384, 384, new byte[3 * 384 * 384]), new("dog", x1, y1, x2, y2, 1));
        var (height, width) = new QwenProcessor().SmartSize(crop.Height, crop.Width);
        Assert.True(height > 0 && width > 0);
    }

    [Theory]
    [InlineData(BoxUnit.Pixels, 440.8, 1)] // 384 pixels are sent as 392
    [InlineData(BoxUnit.Thousandths, 172.8, 0)]
    public void A_served_judges_boxes_are_counted_as_is_said(BoxUnit unit, double left, int outside)
    {
        using var endpoint = new FaultyEndpoint((_, _) =>
            Reply.Says("[{\"bbox_2d\": [450, 450, 650, 650], \"label\": \"dog\"}]"));
        using var client = ChatEndpoint.Connect(endpoint.Address, "m");
        ServedScorer judge = new(client, "m", new() { Tries = 1 }) { Boxes = unit }, usual = new(client, "m", new());
        var boxes = judge.Detect(new RgbImage(384, 384, new byte[3 * 384 * 384]), "a.png", ["dog"], default);
        Assert.Equal(left, boxes.Single().X1, 0.1);
        Assert.Equal(outside, BoxQuestions.Outside(boxes, 384, 384));
        Assert.Equal(unit == BoxUnit.Pixels, judge.Identity == usual.Identity); // their answers are kept apart
    }

    [Theory]
    [InlineData(-5, 0, 390, 384, 0)]
    [InlineData(0, 0, 392, 384, 1)]
    [InlineData(0, -20, 10, 10, 1)]
    public void A_box_may_reach_beyond_the_image_by_rounding(float x1, float y1, float x2, float y2, int outside) =>
        Assert.Equal(outside, BoxQuestions.Outside([new("dog", x1, y1, x2, y2, 1)], 384, 384));
}
