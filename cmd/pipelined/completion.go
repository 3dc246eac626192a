package main

import "github.com/urfave/cli/v3"

// completionCommand shows urfave/cli's command among the others and says what it
// is for.
func completionCommand(cmd *cli.Command) {
	cmd.Hidden = false
	cmd.Usage = "prints a shell completion script"
	cmd.ArgsUsage = "bash|zsh|fish|pwsh"
	cmd.Description = "bash: source <(pipelined completion bash), with the package bash-completion; zsh: the same with zsh; " +
		"fish: pipelined completion fish > ~/.config/fish/completions/pipelined.fish"
	cmd.Action = noCommand
	for _, sub := range cmd.Commands {
		sub.Usage = "prints the script for " + sub.Name
	}

	prepare(cmd)
}
