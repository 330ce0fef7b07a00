using System.Diagnostics;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Kernel;

/// <summary>
/// Questions that cells put to the person at a front end, one at a time: not every front end says to which one an
/// answer belongs. One that does is believed, so that an answer which comes too late is not taken for that of the next.
/// </summary>
internal sealed class CellQuestions
{
    private static readonly TimeSpan StdinComes = TimeSpan.FromSeconds(5);
    private readonly SemaphoreSlim turn = new(1);
    private readonly Lock gate = new();
    private (string Id, TaskCompletionSource<string> Answer)? open;

    /// <summary>Puts a question and waits for its answer.</summary>
    /// <param name="send">Sends it under an id; false while the front end is not connected to the stdin
    /// channel.</param>
    /// <param name="end">Ends the wait, that for other questions before it too: the cell was interrupted, or has
    /// ended.</param>
    /// <exception cref="OperationCanceledException">The wait was ended.</exception>
    /// <exception cref="InvalidOperationException">The question reaches nobody, or the answer cannot be
    /// read.</exception>
    internal string Ask(Func<string, bool> send, CancellationToken end)
    {
        try
        {
            return InTurn(send, end);
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            throw new OperationCanceledException(
                "nobody is asked for input any more: the cell that asks has ended, or was interrupted", end);
        }
    }

    private string InTurn(Func<string, bool> send, CancellationToken end)
    {
        turn.Wait(end);
        try
        {
            var (id, answer) = (Guid.NewGuid().ToString("N"),
                new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously));
            Open((id, answer));
            var since = Stopwatch.StartNew();
            while (!send(id))
            {
                end.ThrowIfCancellationRequested();
                Thread.Sleep(since.Elapsed < StdinComes ? 20
                    : throw new InvalidOperationException(
                        "the cell asks for input, and its front end is not connected to the stdin channel"));
            }

            return answer.Task.WaitAsync(end).GetAwaiter().GetResult();
        }
        finally
        {
            Open(null);
            turn.Release();
        }
    }

    /// <summary>Takes an answer.</summary>
    /// <returns>Whether the question is open that it names; of one that names none, whether any is.</returns>
    internal bool Take(JupyterMessage reply)
    {
        TaskCompletionSource<string> asked;
        lock (gate)
        {
            if (open is not var (id, answer)
                || (reply.Parent["msg_id"] is JValue { Value: string { Length: > 0 } named } && named != id))
            {
                return false;
            }

            (asked, open) = (answer, null);
        }

        try
        {
            asked.TrySetResult(reply.Damage is null ? reply.Content.Text("value")
                : throw new MalformedRequestException(reply.Damage));
        }
        catch (MalformedRequestException e)
        {
            asked.TrySetException(
                new InvalidOperationException($"the front end's answer cannot be read: {e.Message}"));
        }

        return true;
    }

    private void Open((string, TaskCompletionSource<string>)? question)
    {
        lock (gate)
        {
            open = question;
        }
    }
}
