using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Tests;

/// <summary>A headless Chromium, spoken to in its DevTools protocol. It may ask nothing of the network, and is told
/// what a page asks for.</summary>
internal sealed partial class Browser : IAsyncDisposable
{
    private static readonly string[] Names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    private readonly Child process;
    private readonly ClientWebSocket socket = new();
    private readonly string profile;
    private int lastId;

    private Browser(Child process, string profile) => (this.process, this.profile) = (process, profile);

    /// <summary>The browser of this machine, or null: REASONGEN_CHROMIUM, or the first known name on the
    /// path.</summary>
    internal static string? Executable { get; } =
        Environment.GetEnvironmentVariable("REASONGEN_CHROMIUM") is { Length: > 0 } named ? named
        : (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .SelectMany(folder => Names.Select(name => Path.Combine(folder, name))).FirstOrDefault(File.Exists);

    internal static async Task<Browser> StartAsync()
    {
        var profile = Directory.CreateTempSubdirectory("reasongen-chromium").FullName;
        var start = new ProcessStartInfo(Executable!) { RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (var argument in new[]
        {
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update", "--hide-scrollbars", "--remote-debugging-port=0",
            $"--user-data-dir={profile}", "about:blank",
        })
        {
            start.ArgumentList.Add(argument);
        }

        var browser = new Browser(Child.Start(start), profile);
        while (await browser.process.StandardError.ReadLineAsync() is { } line)
        {
            if (Address().Match(line) is { Success: true } match)
            {
                _ = browser.process.StandardError.ReadToEndAsync();
                _ = browser.process.StandardOutput.ReadToEndAsync();
                await browser.socket.ConnectAsync(new Uri(match.Value), CancellationToken.None);
                return browser;
            }
        }

        throw new InvalidOperationException("Chromium ended before it listened");
    }

    /// <summary>Opens a page and waits until it has loaded.</summary>
    /// <param name="url">Its address.</param>
    /// <param name="width">Of the window, in CSS pixels.</param>
    /// <param name="height">Of the window.</param>
    /// <param name="scripts">Whether the page's scripts run.</param>
    /// <param name="dark">Whether the reader prefers dark pages.</param>
    internal async Task<Page> OpenAsync(string url, int width, int height = 800, bool scripts = true, bool dark = false)
    {
        var target = (string)(await CallAsync("Target.createTarget", new { url = "about:blank" }))["targetId"]!;
        var session =
            (string)(await CallAsync("Target.attachToTarget", new { targetId = target, flatten = true }))["sessionId"]!;
        var page = new Page(this, session, url);
        foreach (var domain in new[] { "Page", "Runtime", "Log", "Network" })
        {
            await page.CallAsync(domain + ".enable", new { });
        }

        await page.CallAsync("Emulation.setDeviceMetricsOverride",
            new { width, height, deviceScaleFactor = 1, mobile = width < 500 });
        await page.CallAsync("Emulation.setScriptExecutionDisabled", new { value = !scripts });
        await page.CallAsync("Emulation.setEmulatedMedia",
            new { features = new[] { new { name = "prefers-color-scheme", value = dark ? "dark" : "light" } } });
        open = page;
        loaded = new TaskCompletionSource();
        await page.CallAsync("Page.navigate", new { url });
        while (!loaded.Task.IsCompleted)
        {
            Note(await ReceiveAsync());
        }

        return page;
    }

    private Page? open; // one page at a time
    private TaskCompletionSource loaded = new();

    internal async Task<JToken> CallAsync(string method, object parameters, string? session = null)
    {
        var request =
            new JObject { ["id"] = ++lastId, ["method"] = method, ["params"] = JObject.FromObject(parameters) };
        if (session is not null)
        {
            request["sessionId"] = session;
        }

        await socket.SendAsync(Encoding.UTF8.GetBytes(request.ToString(Newtonsoft.Json.Formatting.None)),
            WebSocketMessageType.Text, true, CancellationToken.None);
        while (true)
        {
            var message = await ReceiveAsync();
            if ((int?)message["id"] == lastId)
            {
                return message["result"] ?? throw new InvalidOperationException($"{method}: {message["error"]}");
            }

            Note(message);
        }
    }

    private void Note(JObject message)
    {
        var (method, about) = ((string?)message["method"], message["params"]!);
        if (method == "Page.loadEventFired")
        {
            loaded.TrySetResult();
        }
        else if (method == "Network.requestWillBeSent" && (string)about["request"]!["url"]! is var url
            && !url.StartsWith("data:") && !url.StartsWith("blob:") && url.Split('#')[0] != open?.Url)
        {
            open?.Requests.Add(url);
        }
        else if (method is "Runtime.exceptionThrown"
            || (method is "Runtime.consoleAPICalled" && (string?)about["type"] is "error" or "warning" or "assert")
            || (method is "Log.entryAdded" && (string?)about["entry"]!["level"] is "error" or "warning"))
        {
            open?.Complaints.Add(about.ToString());
        }
    }

    private async Task<JObject> ReceiveAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        using var text = new MemoryStream();
        var buffer = new byte[1 << 16];
        WebSocketReceiveResult part;
        do
        {
            part = await socket.ReceiveAsync(buffer, limit.Token);
            text.Write(buffer, 0, part.Count);
        }
        while (!part.EndOfMessage);
        return JObject.Parse(Encoding.UTF8.GetString(text.ToArray()));
    }

    public async ValueTask DisposeAsync()
    {
        socket.Dispose();
        process.Kill(entireProcessTree: true);
        await process.WaitForExitAsync();
        process.Dispose();
        try
        {
            Directory.Delete(profile, true);
        }
        catch (IOException)
        {
            // a helper process may still write; the folder lies among temporary files
        }
    }

    [GeneratedRegex(@"ws://\S+")]
    private static partial Regex Address();

    /// <summary>A page that is open.</summary>
    internal sealed class Page(Browser browser, string session, string url)
    {
        internal string Url => url;

        /// <summary>Addresses it asked for, besides its own.</summary>
        internal List<string> Requests { get; } = [];

        /// <summary>What stood in its console as an error or a warning.</summary>
        internal List<string> Complaints { get; } = [];

        internal Task<JToken> CallAsync(string method, object parameters) =>
            browser.CallAsync(method, parameters, session);

        /// <summary>Value of an expression, which may be a promise.</summary>
        internal async Task<JToken> EvaluateAsync(string expression)
        {
            var answer =
                await CallAsync("Runtime.evaluate", new { expression, awaitPromise = true, returnByValue = true });
            return answer["exceptionDetails"] is { } thrown ? throw new InvalidOperationException(thrown.ToString())
                : answer["result"]!["value"] ?? JValue.CreateNull();
        }

        /// <summary>Presses a key, as a keyboard does.</summary>
        internal async Task PressAsync(string key, int code)
        {
            await CallAsync("Input.dispatchKeyEvent",
                new
                {
                    type = "keyDown", key, code = key, windowsVirtualKeyCode = code, text = key == "Enter" ? "\r" : "",
                });
            await CallAsync("Input.dispatchKeyEvent",
                new { type = "keyUp", key, code = key, windowsVirtualKeyCode = code });
        }

        /// <summary>An image of the page, or of a part of it, as PNG.</summary>
        internal async Task<byte[]> ScreenshotAsync(double x = 0, double y = 0, double width = 0, double height = 0) =>
            Convert.FromBase64String((string)(await CallAsync("Page.captureScreenshot",
            width == 0 ? new { format = "png" } : new
            {
                format = "png", captureBeyondViewport = true, clip = new { x, y, width, height, scale = 1 },
            }))["data"]!);
    }
}
