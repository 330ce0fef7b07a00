using System.CommandLine;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen completion: what a shell needs to complete commands, options and their values.</summary>
internal static class CompletionCommand
{
    private const string Help = """
        Prints a script that completes commands, options and values in a shell. Where no 'reasongen' is on the path, the script also defines it.

        Examples:
          eval "$(dotnet run -c Release --project lib/ReasonGen.Host -- completion bash)"
          reasongen completion zsh >> ~/.zshrc
          reasongen completion fish > ~/.config/fish/completions/reasongen.fish
          reasongen completion pwsh >> $PROFILE
        """;

    internal static Command Create()
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh, fish or pwsh." };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish", "pwsh");
        var command = new Command("completion", Help) { shell };
        command.SetAction(parsed => Console.WriteLine(Script(parsed.GetValue(shell)!)));
        return command;
    }

    // The program is asked what fits (the [suggest] directive of System.CommandLine). Where nothing does, or only
    // options do that nobody began to type, the shell offers files.
    private static string Script(string shell) => shell switch
    {
        "bash" => $$"""
            type -t reasongen >/dev/null || reasongen() { {{Program(SelfProcess.Quote)}} "$@"; }
            _reasongen() {
              local line=${COMP_LINE:0:COMP_POINT} word=${COMP_WORDS[COMP_CWORD]} found
              COMPREPLY=()
              while IFS= read -r found; do
                [[ $found == "$word"* && ( $found != -* || $word == -* ) ]] && COMPREPLY+=("$found")
              done < <(reasongen "[suggest:${#line}]" "$line" 2>/dev/null </dev/null)
            }
            complete -o default -F _reasongen reasongen
            """,
        "zsh" => $$"""
            (( $+commands[reasongen] || $+functions[reasongen] )) || reasongen() { {{Program(SelfProcess.Quote)}} "$@" }
            _reasongen() {
              local -a found
              found=("${(@f)$(reasongen "[suggest:$CURSOR]" "$BUFFER" 2>/dev/null </dev/null)}")
              [[ $PREFIX == -* ]] || found=(${found:#-*})
              compadd -- $found || _files
            }
            (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
            compdef _reasongen reasongen
            """,
        "fish" => $$"""
            type -q reasongen; or function reasongen; {{Program(SelfProcess.Quote)}} $argv; end
            complete -c reasongen -a '(set -l line (commandline -cp); reasongen "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null </dev/null)'
            """,
        _ => $$"""
            if (-not (Get-Command reasongen -ErrorAction SilentlyContinue)) { function global:reasongen { & {{Program(Doubled)}} @args } }
            Register-ArgumentCompleter -Native -CommandName reasongen -ScriptBlock {
              param($word, $line, $at)
              reasongen "[suggest:$at]" "$line" | Where-Object { $_ -like "$word*" } | ForEach-Object { [System.Management.Automation.CompletionResult]::new($_) }
            }
            """,
    };

    // this program, each part quoted for the shell
    private static string Program(Func<string, string> quote) =>
        string.Join(' ', SelfProcess.Command().Select(quote));

    private static string Doubled(string text) => $"'{text.Replace("'", "''")}'";
}
