package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
)

// The commands that take a FILE, that follow a run, and that read with -json.
const (
	fileCommands   = "run, submit, validate, plan, graph"
	selectCommands = "run, submit, plan, graph"
	jsonCommands   = "list, status, why, history, approvals, waiting, members, workers, nodes, locks, plan, wait, watch, logs"
)

// flagHint says what takes the place of a flag that a command does not have.
type flagHint struct {
	// flags are names without dashes, separated by spaces; commands are those for which
	// it holds, separated by commas; "" is every command.
	flags, commands string
	// hint is the flag here, with its dash, or a sentence; COMMAND in it is the command.
	hint string
}

// flagHints are the flags that people know from other programs, or expect at another
// command. The first one that fits is taken.
var flagHints = []flagHint{
	{"detach d background bg daemon async no-wait no-follow", "run", "pipelined submit -detach gives the run to a cluster and returns at once"},
	{"detach d background bg daemon", "agent", "an agent stays in the foreground: a service manager, or & of the shell, starts it in the background"},
	{"background bg daemon async no-wait no-follow d", "submit, retry", "-detach"},
	{"wait w follow watch", "run, submit, retry, watch", "not needed: COMMAND follows the run to its end"},
	{"f", "watch, wait", "not needed: COMMAND follows the run to its end"},
	{"wait w", "cancel, approve, reject", "pipelined wait RUN waits for the end of a run"},
	{"f follow w watch", "list, status, why, waiting, approvals, history, members, workers, nodes", "pipelined watch RUN follows a run, pipelined top shows everything live"},
	{"f follow", "artifacts", "pipelined logs RUN -f follows the output"},
	{"f file filename pipeline config", fileCommands, "FILE is an argument: pipelined COMMAND FILE"},
	{"f file o out output", "snapshot save, snapshot restore, snapshot inspect", "FILE is an argument: pipelined COMMAND FILE"},

	{"n dry-run dryrun check whatif noop simulate", "run, submit", "pipelined plan shows what would run, and runs nothing"},
	{"v verbose debug show-output stream", "run, submit, retry, watch", "-logs prints every line of output on a terminal too"},
	{"v verbose debug", "agent", "-log-level debug logs more"},
	{"j jobs parallel parallelism concurrency workers slots", "run, agent", "-max-parallel"},
	{"j jobs parallel parallelism concurrency workers max-parallel slots", "submit",
		"max_parallel = N in the pipeline limits a run; pipelined agent -max-parallel sets how many modules a node runs"},
	{"only module modules job task step", selectCommands, "-target"},
	{"exclude except ignore", selectCommands, "-skip"},
	{"force fresh rebuild always-make B", "run, submit, plan", "-refresh runs every module, and replaces cached results"},
	{"e env", fileCommands, "-var NAME=VALUE sets a variable of the pipeline; modules get what env and env_from in the pipeline name"},
	{"set define D param input p", fileCommands, "-var"},
	{"vars values", fileCommands, "-var-file"},
	{"y force", "leave", "-yes"},
	{"y", "run, submit", "-yes"},
	{"o out output output-dir artifacts", "run, submit, retry, watch", "pipelined artifacts RUN -o DIR downloads the outputs"},
	{"only module modules failed", "retry", "retry resumes what failed; -from MODULE runs that module again, and what depends on it"},
	{"force f now kill 9", "cancel", "not needed: a second pipelined cancel RUN also stops modules with always_run"},
	{"force f", "init", "init never overwrites a file: rename pipeline.hcl first"},

	{"o output format", jsonCommands, "-json"},
	{"format output", "graph, validate, events", "-o"},
	{"n num count max last", "list, events, history", "-limit"},
	{"all a", "list", "-limit 0 lists all runs"},
	{"status failed running", "list", "-state, as in -state failed"},
	{"n lines num", "logs", "-tail"},
	{"module m", "logs, why", "MODULE is an argument: pipelined COMMAND RUN MODULE"},
	{"run r id", "logs, status, why, watch, wait, cancel, retry, artifacts", "RUN is an argument: pipelined COMMAND RUN"},
	{"d dir dest out output output-dir directory download", "artifacts", "-o"},
	{"out output file f", "keygen", "-o"},
	{"m message reason", "approve", "-comment"},
	{"m message comment", "reject, cancel", "-reason"},
	{"disable end undo stop resume", "drain", "-off"},
	{"w write i in-place", "fmt", "not needed: fmt writes the files, unless -check or -diff is given"},
	{"d", "fmt", "-diff"},
	{"r R", "fmt", "-recursive"},
	{"l list c", "fmt", "-check"},
	{"i it ti tty interactive", "exec", "not needed: exec allocates a terminal if it is on one; -no-tty does not"},

	{"value v data literal from-literal body stdin", "secrets set", secretValueHint},
	{"expires expiry expire exp lifetime days", "token create", "-ttl"},
	{"age older older-than keep days", "cache prune", "-unused"},
	{"size keep-size max", "cache prune", "-max-size"},
	{"n", "cache prune", "-dry-run"},

	{"port p http", "agent", "-http-port"},
	{"listen bind-addr host ip addr", "agent", "-bind"},
	{"peers peer servers retry-join start-join cluster seeds seed initial-cluster", "agent", "-join"},
	{"bootstrap bootstrap-expect nodes replicas", "agent", "-expect N makes a cluster as soon as N new nodes see each other; a node without -join is a cluster of its own"},
	{"server client role worker orchestrator standalone", "agent", "-mode"},
	{"id node node-name hostname", "agent", "-name"},
	{"data dir state-dir", "agent", "-data-dir"},
	{"labels label attributes meta", "agent", "-tag"},
	{"cert", "agent", "-tls-cert"},
	{"log-file", "agent", "the log goes to standard error: write 2> FILE"},
	{"log-format", "agent", "-log-json"},

	{"host H server url addr endpoint hostname u", "", "-address"},
	{"q silent s", "", "-quiet"},
	{"user username password auth bearer", "", "-token"},
	{"k insecure skip-verify tls-skip-verify no-verify", "", "-ca-file FILE names the authority of the server's certificate"},
	{"key identity", "", "-key-file"},
	{"ca cacert cafile", "", "-ca-file"},
	{"color colour colors", "", "colours are for terminals; -no-color switches them off"},
	{"V v", "", "pipelined version prints the version; pipelined help COMMAND has the flags"},
}

// secretValueHint says how the value of a secret is given.
const secretValueHint = "the value is read from standard input, or from the file of -file"

// unknownFlag is the error of a flag that a command does not have. name has no dashes.
func unknownFlag(cmd *cli.Command, name string) error {
	name, _, _ = strings.Cut(name, "=")
	of := ""
	if cmd.Root() != cmd {
		of = " of " + commandPath(cmd)
	}
	return usagef("unknown flag -%s%s%s", name, of, insteadOf(cmd, name))
}

// insteadOf says what to write instead of a flag that a command does not have: what
// flagHints have for it, the nearest of the command's own flags, or else the commands
// that have it.
func insteadOf(cmd *cli.Command, name string) string {
	path := commandPath(cmd)
	for _, h := range flagHints {
		if !h.isFor(path, name) {
			continue
		}
		if strings.HasPrefix(h.hint, "-") && !strings.Contains(h.hint, " ") {
			return fmt.Sprintf(": did you mean %q?", h.hint)
		}
		return ": " + strings.ReplaceAll(h.hint, "COMMAND", path)
	}

	if near := terminal.DidYouMean("-"+name, flagNames(cmd)); near != "" && len(name) > 1 {
		return near
	}
	if others := commandsWith(cmd.Root(), name); len(others) > 0 && len(name) > 1 {
		if cmd.Root() == cmd {
			return fmt.Sprintf(": it stands behind its command, as in pipelined %s -%s", others[0], name)
		}
		return fmt.Sprintf(": %s it (see pipelined %s -h)", takesFlag(others), path)
	}
	return seeHelp(cmd)
}

// seeHelp names the help of a command.
func seeHelp(cmd *cli.Command) string {
	if cmd.Root() == cmd {
		return " (see pipelined help)"
	}
	return fmt.Sprintf(" (see pipelined %s -h)", commandPath(cmd))
}

// isFor reports whether a hint is for a flag of a command.
func (h *flagHint) isFor(command, flag string) bool {
	return slices.Contains(strings.Fields(h.flags), flag) && (h.commands == "" || slices.Contains(strings.Split(h.commands, ", "), command))
}

// commandsWith lists the visible commands that have a flag of their own.
func commandsWith(cmd *cli.Command, flag string) []string {
	var list []string
	for _, sub := range cmd.VisibleCommands() {
		if slices.ContainsFunc(sub.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) }) {
			list = append(list, commandPath(sub))
		}
		list = append(list, commandsWith(sub, flag)...)
	}
	return list
}

// takesFlag says which commands take a flag: "submit and retry take".
func takesFlag(commands []string) string {
	const most = 4
	switch n := len(commands); {
	case n == 1:
		return commands[0] + " takes"
	case n > most:
		return "other commands take"
	default:
		return fmt.Sprintf("%s and %s take", strings.Join(commands[:n-1], ", "), commands[n-1])
	}
}
