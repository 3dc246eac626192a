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

// What other programs call a command or a flag, and what it is called here.
var (
	otherCommands = map[string]string{"runs": "list", "ls": "list", "ps": "list", "log": "logs", "start": "submit", "stop": "cancel", "kill": "cancel",
		"nodes": "members", "lint": "validate", "check": "validate", "format": "fmt", "backup": "snapshot"}
	otherFlags = map[string]string{"list n": "-limit", "logs n": "-tail", "logs lines": "-tail"}
)

// usageError turns what urfave/cli says of a command line into one clear line.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	// urfave/cli has no types for these errors, only texts.
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		where := ""
		if cmd.Root() != cmd {
			where = " of " + commandPath(cmd)
		}

		if s := settingWithoutFlag(cmd, name); s != nil {
			return usagef("%s is a setting without a flag: write %s = … into the file of -config, or set %s", s.key(), s.key(), s.variable())
		}

		if other := otherFlags[cmd.Name+" "+strings.TrimLeft(name, "-")]; other != "" {
			return usagef("unknown flag -%s%s: did you mean %q?", name, where, other)
		}

		return usagef("unknown flag -%s%s%s", name, where, terminal.DidYouMean("-"+name, flagNames(cmd)))
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

// settingWithoutFlag finds the setting of an agent that was given as a flag; nil if it
// is none.
func settingWithoutFlag(cmd *cli.Command, name string) *setting {
	if cmd.Name != "agent" {
		return nil
	}

	name, _, _ = strings.Cut(strings.TrimLeft(name, "-"), "=")
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

	return usagef("%s: missing %s (see pipelined %[1]s -h)", commandPath(cmd), names[min(n, len(names)-1)])
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
		return usagef("%s: missing command: %s (see pipelined %[1]s -h)", commandPath(cmd), cmd.ArgsUsage)
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

	if other := otherCommands[name]; other != "" && cmd.Root() == cmd {
		return usagef("unknown %s %q: did you mean %q?", what, name, other)
	}

	if near := terminal.DidYouMean(name, names); near != "" {
		return usagef("unknown %s %q%s", what, name, near)
	}

	if cmd.Root() != cmd {
		return usagef("unknown %s %q: the commands are %s (see pipelined %s -h)", what, name, strings.Join(names, ", "), commandPath(cmd))
	}

	return usagef("unknown %s %q (see pipelined help)", what, name)
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
