using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Kernel;
using ReasonGen.Host.Notebooks;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>The kernel under the front ends that people use: nbconvert, nbclient, and Jupyter Notebook in a browser.
/// Skipped, with the reason, where they are not installed.</summary>
public sealed class JupyterClientTests : IDisposable
{
    private const string Missing = "Jupyter is not installed here (on Debian: apt-get install jupyter-nbconvert "
        + "python3-nbclient jupyter-notebook)";
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public JupyterClientTests() => KernelSpec.Install(Path.Combine(folder, "data", "kernels"), []);

    private static bool HasJupyter { get; } = Run("nbconvert", "--version", TimeSpan.FromMinutes(1), null).Code == 0;

    // 6 is the classic interface, which these tests know how to press
    private static bool HasNotebook { get; } = Run("notebook", "--version", TimeSpan.FromMinutes(1),
        null) is (0, var version) && version.TrimStart().StartsWith("6.");

    public void Dispose() => Directory.Delete(folder, true);

    // All of them run in CommandTests; here some, or all where REASONGEN_NBCONVERT is "all".
    [Fact]
    public void Nbconvert_executes_notebooks_of_the_kit()
    {
        Assert.SkipUnless(HasJupyter, Missing);
        var notebooks = Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "notebooks");
        File.Copy(Path.Combine(notebooks, "setup.cs"), Path.Combine(folder, "setup.cs"));
        var all = Environment.GetEnvironmentVariable("REASONGEN_NBCONVERT") == "all";
        string[] some = ["00", "06", "21"];
        foreach (var path in Directory.GetFiles(notebooks, "*.ipynb")
            .Where(path => all || some.Contains(Path.GetFileName(path)[..2])))
        {
            var notebook = NotebookFile.Read(path);
            notebook.SetParameters(new Dictionary<string, string> { ["preset"] = "smoke" });
            notebook.Write(Path.Combine(folder, Path.GetFileName(path)));
        }

        var (code, output) = Run("nbconvert",
            $"--to notebook --execute --ExecutePreprocessor.timeout=600 "
            + $"--output-dir {folder}/out {string.Join(' ', Directory.GetFiles(folder, "*.ipynb").Order())}",
            TimeSpan.FromMinutes(20), folder);
        Assert.True(code == 0, output);
        foreach (var executed in Directory.GetFiles(Path.Combine(folder, "out")).Select(NotebookFile.Read))
        {
            Assert.True(executed.Cells.SelectMany(cell => cell["outputs"] as JArray ?? [])
                .Any(shown => (string?)shown["output_type"] is "execute_result" or "display_data"), executed.Path);
        }
    }

    [Fact]
    public void Nbclient_executes_and_tells_of_an_error()
    {
        Assert.SkipUnless(HasJupyter && Run("execute", "--help", TimeSpan.FromMinutes(1), null).Code == 0, Missing);
        Write("good.ipynb", "var x = 20;", $"System.IO.File.WriteAllText(\"{folder}/written\", $\"{{x + 22}}\"); x");
        Write("bad.ipynb", "throw new Exception(\"deliberate\");");
        var (code, output) = Run("execute", $"{folder}/good.ipynb", TimeSpan.FromMinutes(3), folder);
        Assert.True(code == 0, output);
        Assert.Equal("42", File.ReadAllText(Path.Combine(folder, "written")));
        (code, output) = Run("execute", $"{folder}/bad.ipynb", TimeSpan.FromMinutes(3), folder);
        Assert.NotEqual(0, code);
        Assert.Contains("deliberate", output);
    }

    [Fact]
    public async Task Jupyter_in_a_browser_runs_completes_interrupts_and_shows()
    {
        Assert.SkipUnless(HasNotebook, Missing + " in version 6");
        Assert.SkipWhen(Browser.Executable is null,
            "Chromium is not installed here (on Debian: apt-get install chromium)");
        Write("page.ipynb", "1 + 41", "while (true) { }", "Console.Wri", """
            #r "../ReasonGen.Notebook.dll"
            using ReasonGen.Notebook;
            using ReasonGen.Imaging;
            display(Show.Images(new[] { new RgbImage(2, 2, new byte[12]) }));
            Plot.Lines("a figure", "x", "y", new Series("s", new[] { 1.0, 2.0, 3.0 }))
            """);
        var port = KernelClient.NewConnection().Shell;
        using var server = Child.Start(Start("notebook",
            $"--no-browser --allow-root --ip=127.0.0.1 --port={port} --NotebookApp.token=t --notebook-dir={folder}",
            folder));
        server.OutputDataReceived += (_, _) => { };
        server.ErrorDataReceived += (_, _) => { };
        server.BeginOutputReadLine();
        server.BeginErrorReadLine();
        try
        {
            using var http = new HttpClient();
            await UntilAsync(async () =>
            {
                try
                {
                    return (await http.GetAsync($"http://127.0.0.1:{port}/api?token=t")).IsSuccessStatusCode;
                }
                catch (HttpRequestException)
                {
                    return false;
                }
            }, "the notebook server");
            await using var browser = await Browser.StartAsync();
            var page = await browser.OpenAsync($"http://127.0.0.1:{port}/notebooks/page.ipynb?token=t", 1280, 1000);
            Task Shows(string expression) =>
                UntilAsync(async () => (bool?)await page.EvaluateAsync($"!!({expression})") == true, expression);
            await Shows(
                "window.Jupyter && Jupyter.notebook && Jupyter.notebook.kernel && "
                + "Jupyter.notebook.kernel.is_connected() && Jupyter.notebook.kernel.info_reply.protocol_version");
            Assert.Equal("C#",
                (string?)await page.EvaluateAsync("Jupyter.notebook.kernel.info_reply.language_info.name"));

            await page.EvaluateAsync("Jupyter.notebook.execute_cells([0])");
            await Shows(
                "document.querySelectorAll('.cell')[0].querySelector('.output_area') && "
                + "document.querySelectorAll('.cell')[0].querySelector('.output').innerText.includes('42')");

            await page.EvaluateAsync("Jupyter.notebook.execute_cells([1])");
            await Shows("Jupyter.notebook.get_cell(1).element.hasClass('running')");
            await Task.Delay(500);
            await page.EvaluateAsync("Jupyter.notebook.kernel.interrupt()");
            await Shows("Jupyter.notebook.get_cell(1).element.find('.output').text().includes('interrupted')");

            await page.EvaluateAsync(
                "Jupyter.notebook.select(2); Jupyter.notebook.edit_mode(); "
                + "Jupyter.notebook.get_cell(2).code_mirror.setCursor(0, 11); "
                + "Jupyter.notebook.get_cell(2).focus_editor()");
            await page.PressAsync("Tab", 9);
            await Shows(
                "[...document.querySelectorAll('.completions option')].some(o => o.textContent.includes('WriteLine'))");
            await page.PressAsync("Escape", 27);

            await page.EvaluateAsync("Jupyter.notebook.execute_cells([3])");
            await Shows(
                "Jupyter.notebook.get_cell(3).element.find('.output img').length == 1 && "
                + "Jupyter.notebook.get_cell(3).element.find('.output img')[0].naturalWidth == 2");
            await Shows("Jupyter.notebook.get_cell(3).element.find('.output svg').length > 0");
            if (Environment.GetEnvironmentVariable("REASONGEN_SCREENSHOTS") is { Length: > 0 } shots)
            {
                await page.EvaluateAsync("Jupyter.notebook.scroll_to_cell(0)");
                await File.WriteAllBytesAsync(Path.Combine(shots, "jupyter-notebook.png"),
                    await page.ScreenshotAsync());
            }
        }
        finally
        {
            server.Kill(entireProcessTree: true);
        }
    }

    private static async Task UntilAsync(Func<Task<bool>> holds, string what)
    {
        for (var watch = Stopwatch.StartNew(); !await holds(); await Task.Delay(100))
        {
            Assert.True(watch.Elapsed < TimeSpan.FromMinutes(1), $"waited in vain for {what}");
        }
    }

    private static ProcessStartInfo Start(string command, string arguments, string? folder)
    {
        var start = new ProcessStartInfo("jupyter", $"{command} {arguments}")
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
            WorkingDirectory = folder ?? Path.GetTempPath(),
        };
        if (folder is not null)
        {
            start.Environment["JUPYTER_DATA_DIR"] = Path.Combine(folder, "data");
            start.Environment["JUPYTER_CONFIG_DIR"] = Path.Combine(folder, "config");
            start.Environment["JUPYTER_RUNTIME_DIR"] = Path.Combine(folder, "runtime");
            start.Environment["IPYTHONDIR"] = Path.Combine(folder, "ipython");
        }

        return start;
    }

    private static (int Code, string Output) Run(string command, string arguments, TimeSpan limit, string? folder)
    {
        try
        {
            using var process = Process.Start(Start(command, arguments, folder))!;
            var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
            if (!process.WaitForExit(limit))
            {
                process.Kill(entireProcessTree: true);
                return (-1, "it took too long");
            }

            return (process.ExitCode, output.Result + error.Result);
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return (-1, e.Message);
        }
    }

    private void Write(string name, params string[] cells) =>
        SmallNotebook.Write(Path.Combine(folder, name), [.. cells.Select(cell => (cell, "code"))]);
}
