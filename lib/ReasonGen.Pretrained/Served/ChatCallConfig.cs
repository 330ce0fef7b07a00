namespace ReasonGen.Served;

/// <summary>Settings of calls to a chat endpoint.</summary>
public sealed record ChatCallConfig
{
    /// <summary>Calls under way at once. Default 16; at least 1.</summary>
    public int ConcurrentCalls { get; init; } = 16;

    /// <summary>Times a question is asked before it counts as failed. Default 4; at least 1.</summary>
    public int Tries { get; init; } = 4;

    /// <summary>Longest wait before the second try; it doubles with each. Default 1 s; at least 0.</summary>
    public TimeSpan FirstDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Longest wait before any try, unless the server asks for a longer one. Default 30 s; at least
    /// <see cref="FirstDelay"/>.</summary>
    public TimeSpan LongestDelay { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Longest wait that a server may ask for (Retry-After); one that asks for more has failed. Default 10
    /// min; at least 0.</summary>
    public TimeSpan LongestAskedWait { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Time for which an endpoint that has answered before and is away (no connection, or HTTP 502 to 504) is
    /// asked again, however many <see cref="Tries"/> that takes. Default 0; at least 0.</summary>
    public TimeSpan LongestOutage { get; init; }

    /// <summary>Time one call may take. Default 2 min; above 0.</summary>
    public TimeSpan TimeOut { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>Calls started a minute, evenly spread. Default 0, which sets no bound; at least 0.</summary>
    public int CallsPerMinute { get; init; }

    /// <summary>Seed of the waits. Default 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>What these settings are called where they are given, for messages. Default: their names here.</summary>
    public ChatCallNames Names { get; init; } = new();

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        static void Require(bool holds, string name, object value, string range)
        {
            if (!holds)
            {
                throw new ArgumentException($"{nameof(ChatCallConfig)}.{name} is {value}; it must be {range}");
            }
        }

        Require(ConcurrentCalls >= 1, nameof(ConcurrentCalls), ConcurrentCalls, "at least 1");
        Require(Tries >= 1, nameof(Tries), Tries, "at least 1");
        Require(FirstDelay >= TimeSpan.Zero, nameof(FirstDelay), FirstDelay, "at least 0");
        Require(LongestDelay >= FirstDelay, nameof(LongestDelay), LongestDelay,
            $"at least {nameof(FirstDelay)}, {FirstDelay}");
        Require(LongestAskedWait >= TimeSpan.Zero, nameof(LongestAskedWait), LongestAskedWait, "at least 0");
        Require(LongestOutage >= TimeSpan.Zero, nameof(LongestOutage), LongestOutage, "at least 0");
        Require(TimeOut > TimeSpan.Zero, nameof(TimeOut), TimeOut, "above 0");
        Require(CallsPerMinute >= 0, nameof(CallsPerMinute), CallsPerMinute, "at least 0");
    }
}

/// <summary>What settings of calls are called where they are given, such as <c>--tries</c>; null for one that cannot be
/// given there.</summary>
public sealed record ChatCallNames
{
    /// <summary>Of <see cref="ChatCallConfig.ConcurrentCalls"/>.</summary>
    public string? ConcurrentCalls { get; init; } = nameof(ChatCallConfig.ConcurrentCalls);

    /// <summary>Of <see cref="ChatCallConfig.Tries"/>.</summary>
    public string? Tries { get; init; } = nameof(ChatCallConfig.Tries);

    /// <summary>Of <see cref="ChatCallConfig.LongestAskedWait"/>.</summary>
    public string? LongestAskedWait { get; init; } = nameof(ChatCallConfig.LongestAskedWait);

    /// <summary>Of <see cref="ChatCallConfig.LongestOutage"/>.</summary>
    public string? LongestOutage { get; init; } = nameof(ChatCallConfig.LongestOutage);

    /// <summary>Of <see cref="ChatCallConfig.TimeOut"/>.</summary>
    public string? TimeOut { get; init; } = nameof(ChatCallConfig.TimeOut);

    /// <summary>Of <see cref="ChatCallConfig.CallsPerMinute"/>.</summary>
    public string? CallsPerMinute { get; init; } = nameof(ChatCallConfig.CallsPerMinute);
}
