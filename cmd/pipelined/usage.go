package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// flagHelp is a flag's line in the help, with one dash.
func flagHelp(f cli.Flag) string {
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}

	usage, value := doc.GetUsage(), ""
	if before, rest, ok := strings.Cut(usage, "`"); ok {
		if word, after, ok := strings.Cut(rest, "`"); ok {
			usage, value = before+word+after, word
		}
	}

	names := slices.Clone(f.Names())
	for i := range names {
		names[i] = "-" + names[i]
	}

	line := strings.Join(names, ", ")
	if value != "" && doc.TakesValue() {
		line += " " + value
	}

	line += "\t" + usage
	if text := doc.GetDefaultText(); text != "" {
		line += " (default " + text + ")"
	} else if v := strings.Trim(doc.GetValue(), `"`); doc.IsDefaultVisible() && doc.TakesValue() && v != "" && v != "0" && v != "0s" && v != "[]" {
		line += " (default " + v + ")"
	}

	if env := doc.GetEnvVars(); len(env) > 0 {
		line += " [$" + strings.Join(env, ", $") + "]"
	}

	return line
}

// otherCommands is what other programs call a command, and what it is called here.
var otherCommands = map[string]string{
	"runs": "list", "ls": "list", "ps": "list", "jobs": "list", "get": "list", "describe": "status", "show": "status", "inspect": "status", "info": "status",
	"log": "logs", "tail": "logs", "output": "logs", "start": "submit", "apply": "submit", "enqueue": "submit", "build": "run", "make": "run",
	"stop": "cancel", "kill": "cancel", "abort": "cancel", "restart": "retry", "rerun": "retry", "resume": "retry",
	"server": "agent", "daemon": "agent", "node": "members", "join": "agent -join HOST", "lint": "validate", "check": "validate",
	"format": "fmt", "backup": "snapshot", "restore": "snapshot", "login": "token", "auth": "token", "secret": "secrets", "dashboard": "ui", "web": "ui",
	"new": "init", "create": "init", "delete": "cancel", "rm": "cancel", "explain": "why", "download": "artifacts", "fetch": "artifacts", "queue": "waiting", "monitor": "top",
}

// sameCommands are words for the same among the commands of a command.
var sameCommands = [][]string{{"ls", "list", "show"}, {"rm", "remove", "delete", "del", "revoke"}, {"create", "set", "add", "new", "put"}}

// usageError turns what urfave/cli says of a command line into one clear line.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	// urfave/cli has no types for these errors, only texts.
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		name = strings.TrimLeft(name, "-")
		if s := settingWithoutFlag(cmd, name); s != nil {
			return usagef("%s is a setting without a flag: write %s = … into the file of -config, or set %s", s.key(), s.key(), s.variable())
		}

		return unknownFlag(cmd, name)
	}

	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return usagef("-%s needs a value", strings.TrimLeft(name, "-"))
	}

	if rest, ok := strings.CutPrefix(text, "invalid value "); ok {
		value, rest, _ := strings.Cut(rest, " for flag -")
		name, why, _ := strings.Cut(rest, ": ")
		if want := wanted(cmd, name); want != "" {
			why = "expected " + want
		}

		return usagef("-%s %s: %s", name, value, why)
	}

	return usagef("%w", err)
}

// settingWithoutFlag finds the setting of an agent that was given as a flag, by its name
// without dashes; nil if it is none.
func settingWithoutFlag(cmd *cli.Command, name string) *setting {
	if cmd.Name != "agent" {
		return nil
	}

	name, _, _ = strings.Cut(name, "=")
	i := slices.IndexFunc(agentTable, func(s setting) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return &agentTable[i]
}

// wanted says what a flag's value looks like.
func wanted(cmd *cli.Command, name string) string {
	for _, c := range cmd.Lineage() {
		for _, f := range c.Flags {
			if slices.Contains(f.Names(), name) {
				return wantedBy(f)
			}
		}
	}
	return ""
}

// wantedBy is wanted for a flag; "" if it takes any text.
func wantedBy(f cli.Flag) string {
	switch f.(type) {
	case *cli.IntFlag:
		return "a whole number"
	case *cli.Uint64Flag:
		return "a whole number, 0 or more"
	case *cli.DurationFlag:
		return "a duration such as 90s or 5m"
	case *cli.BoolFlag:
		return "true or false"
	}
	return ""
}

// flagNames lists the flags that a command takes, with a dash.
func flagNames(cmd *cli.Command) []string {
	var names []string
	for _, c := range cmd.Lineage() {
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				names = append(names, "-"+n)
			}
		}
	}

	return names
}

// missingArgument says which argument of a command is missing; n were given.
func missingArgument(cmd *cli.Command, n int) error {
	names := strings.Fields(cmd.ArgsUsage)

	return usagef("%s: missing %s%s", commandPath(cmd), names[min(n, len(names)-1)], seeHelp(cmd))
}

// takes says which arguments a command takes: "one FILE".
func takes(cmd *cli.Command) string {
	switch {
	case cmd.ArgsUsage == "":
		return "no argument"
	case strings.HasPrefix(cmd.ArgsUsage, "[") && !strings.ContainsAny(cmd.ArgsUsage, " ."):
		return "at most one " + strings.Trim(cmd.ArgsUsage, "[]")
	case !strings.ContainsAny(cmd.ArgsUsage, " ["):
		return "one " + cmd.ArgsUsage
	}

	return cmd.ArgsUsage
}

// noCommand is what a command does that only has sub-commands.
func noCommand(_ context.Context, cmd *cli.Command) error {
	name := cmd.Args().First()
	if name == "" {
		if cmd.Root() == cmd {
			fmt.Fprint(cmd.ErrWriter, firstHelp, platformNote(runtime.GOOS))
			return exit(exitUsage)
		}
		return usagef("%s: missing command: %s%s", commandPath(cmd), cmd.ArgsUsage, seeHelp(cmd))
	}

	return unknownCommand(cmd, name)
}

func unknownCommand(cmd *cli.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}

	what := "command"
	if cmd.Root() != cmd {
		what = commandPath(cmd) + " command"
	}

	if other := otherCommand(cmd, name, names); other != "" {
		return usagef("unknown %s %q: did you mean %q?", what, name, other)
	}

	if near := terminal.DidYouMean(name, names); near != "" {
		return usagef("unknown %s %q%s", what, name, near)
	}

	if cmd.Root() != cmd {
		return usagef("unknown %s %q: the commands are %s%s", what, name, strings.Join(names, ", "), seeHelp(cmd))
	}

	return usagef("unknown %s %q%s", what, name, seeHelp(cmd))
}

// otherCommand is what a command is called here that other programs call name; "" for
// none. names are the commands of cmd.
func otherCommand(cmd *cli.Command, name string, names []string) string {
	if cmd.Root() == cmd {
		if strings.HasSuffix(name, ".hcl") {
			return "run " + name
		}
		return otherCommands[name]
	}
	for _, words := range sameCommands {
		if slices.Contains(words, name) {
			if i := slices.IndexFunc(names, func(n string) bool { return slices.Contains(words, n) }); i >= 0 {
				return names[i]
			}
		}
	}
	return ""
}

// commandPath is the name of a command below the root: "token create".
func commandPath(cmd *cli.Command) string {
	_, path, _ := strings.Cut(cmd.FullName(), " ")
	return path
}

// runArg reads the argument that names a run.
func runArg(cmd *cli.Command, i int) (pipeline.RunRef, error) {
	return pipeline.ParseRunRef(cmd.Args().Get(i))
}
