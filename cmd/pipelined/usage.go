package main

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// sharedFlags stand anywhere on the command line, before and after the command.
func (p *program) sharedFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "address", Usage: "`ADDRESS` of a node: host:port or a URL; a comma list is tried in turn (default: the agent of this machine)",
			Sources: p.env("PIPELINED_ADDR"), Destination: &p.address},
		&cli.StringFlag{Name: "token", Usage: "`TOKEN` to present (default: one made from the cluster key)",
			Sources: p.env("PIPELINED_TOKEN"), Destination: &p.token},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` that holds the token",
			Sources: p.env("PIPELINED_TOKEN_FILE"), Destination: &p.tokenFile, TakesFile: true},
		&cli.StringFlag{Name: "key-file", Usage: "`FILE` that holds the cluster key",
			Sources: p.env("PIPELINED_KEY_FILE"), Destination: &p.keyFile, TakesFile: true},
		&cli.DurationFlag{Name: "timeout", Usage: "give up after this `DURATION`, with exit code 6 (default: never)", HideDefault: true, Destination: &p.timeout},
		&cli.BoolFlag{Name: "quiet", Usage: "no progress on stderr", HideDefault: true, Sources: p.env("PIPELINED_QUIET"), Destination: &p.quiet},
		&cli.BoolFlag{Name: "no-color", Usage: "no colour and no live display, even on a terminal (NO_COLOR does the same)", HideDefault: true,
			Sources: p.env("PIPELINED_NO_COLOR"), Destination: &p.noColor},
	}
}

// envSource looks a flag's value up in the program's environment.
type envSource struct {
	name string
	get  func(string) string
}

func (e *envSource) Lookup() (string, bool) {
	v := e.get(e.name)
	return v, v != ""
}
func (e *envSource) String() string   { return "environment variable " + e.name }
func (e *envSource) GoString() string { return e.String() }
func (e *envSource) IsFromEnv() bool  { return true }
func (e *envSource) Key() string      { return e.name }

// env gives the environment variables that stand in for a flag. An empty one
// counts as absent.
func (p *program) env(names ...string) cli.ValueSourceChain {
	var chain cli.ValueSourceChain
	for _, n := range names {
		chain.Chain = append(chain.Chain, &envSource{name: n, get: p.getenv})
	}
	return chain
}

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
		line += " (default: " + text + ")"
	} else if v := strings.Trim(doc.GetValue(), `"`); doc.IsDefaultVisible() && doc.TakesValue() && v != "" && v != "0" && v != "0s" && v != "[]" {
		line += " (default: " + v + ")"
	}
	if env := doc.GetEnvVars(); len(env) > 0 {
		line += " [$" + strings.Join(env, ", $") + "]"
	}
	return line
}

// usageError turns what urfave/cli says of a command line into one clear line.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	// urfave/cli has no types for these errors, only texts.
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		where := ""
		if cmd.Root() != cmd {
			where = " of " + commandPath(cmd)
		}
		return usagef("unknown flag -%s%s%s", name, where, terminal.DidYouMean("-"+name, flagNames(cmd)))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return usagef("flag -%s needs a value", strings.TrimLeft(name, "-"))
	}
	if rest, ok := strings.CutPrefix(text, "invalid value "); ok {
		value, rest, _ := strings.Cut(rest, " for flag -")
		name, why, _ := strings.Cut(rest, ": ")
		if want := wanted(cmd, name); want != "" {
			why = "want " + want
		}
		return usagef("-%s %s: %s", name, value, why)
	}
	return usagef("%w", err)
}

// wanted says what a flag's value looks like.
func wanted(cmd *cli.Command, name string) string {
	for _, c := range cmd.Lineage() {
		for _, f := range c.Flags {
			if !slices.Contains(f.Names(), name) {
				continue
			}
			switch f.(type) {
			case *cli.IntFlag:
				return "a whole number"
			case *cli.DurationFlag:
				return "a duration such as 90s or 5m"
			case *cli.BoolFlag:
				return "true or false"
			}
		}
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

// noCommand is what a command does that only has sub-commands.
func noCommand(_ context.Context, cmd *cli.Command) error {
	name := cmd.Args().First()
	if name == "" {
		if cmd.Root() == cmd {
			cmd.Writer = cmd.ErrWriter
			if err := cli.ShowRootCommandHelp(cmd); err != nil {
				return err
			}
			return exit(exitUsage)
		}
		return usagef("%s: it wants %s (pipelined %[1]s -help tells more)", commandPath(cmd), cmd.ArgsUsage)
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
	if near := terminal.DidYouMean(name, names); near != "" {
		return usagef("unknown %s %q%s", what, name, near)
	}
	return usagef("unknown %s %q: pipelined help lists them", what, name)
}

// commandPath is the name of a command below the root: "token create".
func commandPath(cmd *cli.Command) string {
	_, path, _ := strings.Cut(cmd.FullName(), " ")
	return path
}

// helpCommand is `pipelined help [COMMAND…]`.
func (p *program) helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "shows the help of a command", ArgsUsage: "[COMMAND]",
		Action: p.action(0, 2, func(ctx context.Context, cmd *cli.Command) error {
			at := cmd.Root()
			for _, name := range cmd.Args().Slice() {
				sub := at.Command(name)
				if sub == nil {
					return unknownCommand(at, name)
				}
				at = sub
			}
			if at == cmd.Root() {
				return cli.ShowRootCommandHelp(at)
			}
			if len(at.VisibleCommands()) > 0 {
				return cli.ShowSubcommandHelp(at)
			}
			parent := at.Lineage()[1]
			return cli.ShowCommandHelp(ctx, parent, at.Name)
		}),
	}
}

// runArg reads the argument that names a run.
func runArg(cmd *cli.Command, i int) (pipeline.RunID, error) {
	return pipeline.ParseRunID(cmd.Args().Get(i))
}
