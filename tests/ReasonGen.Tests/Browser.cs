using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Tests;

/// <summary>Headless Chromium, driven by its DevTools protocol: one page, its console, its requests.</summary>
internal sealed class Browser : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly Process process;
    private readonly string profile;
    private readonly ClientWebSocket socket = new();
    private readonly Dictionary<int, TaskCompletionSource<JObject>> waiting = [];
    private int lastId;

    private Browser(Process process, string profile) => (this.process, this.profile) = (process, profile);

    /// <summary>Path of Chromium or Chrome; null where there is none.</summary>
    internal static string? Executable { get; } = new[] { "chromium", "chromium-browser", "google-chrome" }
        .SelectMany(name => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Select(folder => Path.Combine(folder, name))).FirstOrDefault(File.Exists);

    /// <summary>Errors that the page has written to the console or thrown.</summary>
    internal List<string> Errors { get; } = [];

    /// <summary>Addresses that were asked for.</summary>
    internal List<string> Requests { get; } = [];

    /// <param name="width">Of the window, in pixels.</param>
    /// <param name="height">Of the window, in pixels.</param>
    internal static async Task<Browser> StartAsync(int width, int height)
    {
        var profile = Directory.CreateTempSubdirectory("reasongen-browser").FullName;
        var start = new ProcessStartInfo(Executable!) { RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (var argument in new[]
        {
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--remote-debugging-port=0", $"--user-data-dir={profile}", $"--window-size={width},{height}", "about:blank",
        })
        {
            start.ArgumentList.Add(argument);
        }

        var browser = new Browser(Process.Start(start)!, profile);
        browser.process.ErrorDataReceived += (_, _) => { };
        browser.process.OutputDataReceived += (_, _) => { };
        browser.process.BeginErrorReadLine();
        browser.process.BeginOutputReadLine();
        await UntilAsync(() => Task.FromResult(File.Exists(Path.Combine(profile, "DevToolsActivePort"))), "Chromium to start");
        using var http = new HttpClient();
        var port = File.ReadLines(Path.Combine(profile, "DevToolsActivePort")).First();
        JToken? page = null;
        await UntilAsync(async () => (page = JArray.Parse(await http.GetStringAsync($"http://127.0.0.1:{port}/json")).FirstOrDefault(target => (string?)target["type"] == "page")) is not null, "a page");
        await browser.socket.ConnectAsync(new Uri((string)page!["webSocketDebuggerUrl"]!), CancellationToken.None);
        _ = browser.ListenAsync();
        foreach (var domain in new[] { "Page", "Runtime", "Network", "Log" })
        {
            await browser.SendAsync($"{domain}.enable");
        }

        await browser.SendAsync("Emulation.setDeviceMetricsOverride", new { width, height, deviceScaleFactor = 1, mobile = false });
        return browser;
    }

    /// <summary>Waits until something holds.</summary>
    /// <exception cref="TimeoutException">It does not.</exception>
    internal static async Task UntilAsync(Func<Task<bool>> holds, string what)
    {
        for (var watch = Stopwatch.StartNew(); !await holds(); await Task.Delay(100))
        {
            if (watch.Elapsed > Patience)
            {
                throw new TimeoutException($"waited in vain for {what}");
            }
        }
    }

    internal async Task OpenAsync(string address)
    {
        await SendAsync("Page.navigate", new { url = address });
        await UntilAsync(async () => (string?)await EvaluateAsync("document.readyState") == "complete", $"{address} to load");
    }

    /// <summary>Value of a JavaScript expression; a promise is awaited.</summary>
    internal async Task<JToken?> EvaluateAsync(string expression)
    {
        var answer = await SendAsync("Runtime.evaluate", new { expression, returnByValue = true, awaitPromise = true });
        return answer["exceptionDetails"] is { } thrown ? throw new InvalidOperationException(thrown.ToString()) : answer["result"]!["value"];
    }

    /// <summary>Waits until a JavaScript expression is true.</summary>
    internal Task UntilAsync(string expression) => UntilAsync(async () => (bool?)await EvaluateAsync($"!!({expression})") == true, expression);

    internal Task TypeAsync(string text) => SendAsync("Input.insertText", new { text });

    /// <summary>Presses a key, e.g. ("Tab", 9), with modifiers: 1 Alt, 2 Ctrl, 8 Shift.</summary>
    internal async Task PressAsync(string key, int code, int modifiers = 0)
    {
        foreach (var type in new[] { "rawKeyDown", "keyUp" })
        {
            await SendAsync("Input.dispatchKeyEvent", new { type, key, code = key, windowsVirtualKeyCode = code, modifiers });
        }
    }

    internal async Task ScreenshotAsync(string path) =>
        await File.WriteAllBytesAsync(path, Convert.FromBase64String((string)(await SendAsync("Page.captureScreenshot"))["data"]!));

    internal async Task<JObject> SendAsync(string method, object? parameters = null)
    {
        var answer = new TaskCompletionSource<JObject>(TaskCreationOptions.RunContinuationsAsynchronously);
        var id = Interlocked.Increment(ref lastId);
        lock (waiting)
        {
            waiting[id] = answer;
        }

        var message = JsonConvert.SerializeObject(new { id, method, @params = parameters ?? new { } });
        await socket.SendAsync(Encoding.UTF8.GetBytes(message), WebSocketMessageType.Text, true, CancellationToken.None);
        return await answer.Task.WaitAsync(Patience);
    }

    public async ValueTask DisposeAsync()
    {
        socket.Dispose();
        process.Kill(entireProcessTree: true);
        await process.WaitForExitAsync();
        process.Dispose();
        for (var tries = 0; Directory.Exists(profile) && tries < 20; tries++)
        {
            try
            {
                Directory.Delete(profile, true);
            }
            catch (IOException)
            {
                await Task.Delay(100); // its children are still ending
            }
        }
    }

    private async Task ListenAsync()
    {
        var (buffer, text) = (new byte[1 << 16], new MemoryStream());
        try
        {
            while (true)
            {
                var part = await socket.ReceiveAsync(buffer, CancellationToken.None);
                text.Write(buffer, 0, part.Count);
                if (part.EndOfMessage)
                {
                    Take(JObject.Parse(Encoding.UTF8.GetString(text.GetBuffer(), 0, (int)text.Length)));
                    text.SetLength(0);
                }
            }
        }
        catch (Exception e) when (e is WebSocketException or ObjectDisposedException or OperationCanceledException)
        {
            // closed
        }
    }

    private void Take(JObject message)
    {
        if (message["id"] is { } id)
        {
            lock (waiting)
            {
                if (waiting.Remove((int)id, out var answer))
                {
                    answer.TrySetResult(message["result"] as JObject ?? throw new InvalidOperationException(message.ToString()));
                }
            }

            return;
        }

        var said = message["params"]!;
        switch ((string?)message["method"])
        {
            case "Runtime.exceptionThrown":
                Errors.Add(said["exceptionDetails"]!.ToString());
                break;
            case "Log.entryAdded" when (string?)said["entry"]!["level"] == "error":
                Errors.Add((string)said["entry"]!["text"]! + " " + said["entry"]!["url"]);
                break;
            case "Runtime.consoleAPICalled" when (string?)said["type"] is "error" or "assert":
                Errors.Add(said["args"]!.ToString());
                break;
            case "Network.requestWillBeSent":
                Requests.Add((string)said["request"]!["url"]!);
                break;
        }
    }
}
