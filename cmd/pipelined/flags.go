package main

import (
	"time"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/submission"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// cacheFlags say what a run does with cached results.
func cacheFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "no-cache", Usage: "neither use nor store cached results", HideDefault: true, Local: true},
		&cli.BoolFlag{Name: "refresh", Usage: "run every module, and replace cached results", HideDefault: true, Local: true},
	}
}

// cacheMode is wire.SubmitRequest.Cache.
func cacheMode(cmd *cli.Command) (string, error) {
	off, refresh := cmd.Bool("no-cache"), cmd.Bool("refresh")
	switch {
	case off && refresh:
		return "", usagef("-no-cache and -refresh exclude each other")
	case off:
		return pipeline.CacheOff, nil
	case refresh:
		return pipeline.CacheRefresh, nil
	}

	return "", nil
}

// jsonFlag is -json, of every command that reads.
func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON", HideDefault: true, Local: true}
}

// varFlags give values to a pipeline's variables.
func varFlags() []cli.Flag {
	return variableFlags("value of a variable (`NAME=VALUE`); may be repeated (also " + submission.VariablePrefix + "NAME in the environment)")
}

// variableFlags are varFlags with another text for -var.
func variableFlags(usage string) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "var", Usage: usage, Local: true},
		&cli.StringSliceFlag{Name: "var-file", Usage: "`FILE` with values of variables: NAME = value lines, or a JSON object in a FILE.json; may be repeated, the last wins", TakesFile: true, Local: true},
	}
}

// variablesOf are the values that -var and -var-file give, for a pipeline that the
// cluster has. What the environment has is for submissions.
func (env *environment) variablesOf(cmd *cli.Command) (map[string]string, error) {
	o := submission.Options{Vars: cmd.StringSlice("var"), VarFiles: cmd.StringSlice("var-file"), ReadFile: env.readFile}
	list, err := o.ReadInputs()
	if err != nil || len(list) == 0 {
		return nil, err
	}

	values := make(map[string]string, len(list))
	for _, v := range list {
		values[v.Name] = v.Text
	}
	return values, nil
}

// selectFlags select modules of a pipeline.
func selectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "target", Usage: "only this `MODULE` and what it needs; may be repeated", Local: true},
		&cli.StringSliceFlag{Name: "tag", Usage: "only modules with this `TAG` and what they need; may be repeated", Local: true},
		&cli.StringSliceFlag{Name: "skip", Usage: "skip this `MODULE`; may be repeated", Local: true},
	}
}

// snapshotFlags say how the snapshot is taken.
func (env *environment) snapshotFlags() []cli.Flag {
	return []cli.Flag{&cli.BoolFlag{Name: "no-stat-cache", Usage: "read every file of the workspace, even if unchanged since the last snapshot",
		HideDefault: true, Sources: env.variables("PIPELINED_NO_STAT_CACHE"), Local: true}}
}

// sharedFlags stand anywhere on the command line, before and after the command.
func (env *environment) flagsOfEveryCommand() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "address", Usage: "`ADDRESS` of a node: host:port or a URL; several, separated by commas, are tried in turn (default the agent of this machine)",
			Sources: env.variables("PIPELINED_ADDR"), Destination: &env.flags.address},
		&cli.StringFlag{Name: "token", Usage: "`TOKEN` to authenticate with (default one made from the cluster key)",
			Sources: env.variables("PIPELINED_TOKEN"), Destination: &env.flags.token},
		&cli.StringFlag{Name: "token-file", Usage: "`FILE` that holds the token",
			Sources: env.variables("PIPELINED_TOKEN_FILE"), Destination: &env.flags.tokenFile, TakesFile: true},
		&cli.StringFlag{Name: "key-file", Usage: "`FILE` that holds the cluster key",
			Sources: env.variables("PIPELINED_KEY_FILE"), Destination: &env.flags.keyFile, TakesFile: true},
		&cli.StringFlag{Name: "ca-file", Usage: "`FILE` of PEM certificates: authorities that vouch for the server, besides the cluster's own",
			Sources: env.variables("PIPELINED_CA_FILE"), Destination: &env.flags.caFile, TakesFile: true},
		&cli.DurationFlag{Name: "timeout", Usage: "`DURATION` after which the command gives up with exit code 6 (default never)", HideDefault: true, Destination: &env.flags.timeout},
		&cli.BoolFlag{Name: "quiet", Usage: "print no progress", HideDefault: true, Sources: env.variables("PIPELINED_QUIET"), Destination: &env.flags.quiet},
		&cli.BoolFlag{Name: "no-color", Usage: "use neither colours nor a live display (like NO_COLOR)", HideDefault: true,
			Sources: env.variables("PIPELINED_NO_COLOR"), Destination: &env.flags.noColor},
	}
}

// spanFlag is the value of a flag that takes a time, which may be in days; 0 if it is
// not given.
func spanFlag(cmd *cli.Command, name string) (time.Duration, error) {
	if !cmd.IsSet(name) {
		return 0, nil
	}
	d, err := wire.ParseSpan(cmd.String(name))
	if err != nil {
		return 0, usagef("-%s %q: %w", name, cmd.String(name), err)
	}
	return d, nil
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

func (e *envSource) String() string { return "environment variable " + e.name }

func (e *envSource) GoString() string { return e.String() }

func (e *envSource) IsFromEnv() bool { return true }

func (e *envSource) Key() string { return e.name }

// variables gives the environment variables that stand in for a flag. An empty one
// counts as absent.
func (env *environment) variables(names ...string) cli.ValueSourceChain {
	var chain cli.ValueSourceChain
	for _, n := range names {
		chain.Chain = append(chain.Chain, &envSource{name: n, get: env.getenv})
	}

	return chain
}

// submission reads the flags that say what a submission is made of.
func (env *environment) submission(cmd *cli.Command) (*submission.Options, error) {
	cache, err := cacheMode(cmd)
	if err != nil {
		return nil, err
	}

	file, err := env.file(cmd)
	if err != nil {
		return nil, err
	}

	return env.submissionOf(cmd, file, cache)
}

// submissionOf is submission for a file.
func (env *environment) submissionOf(cmd *cli.Command, file, cache string) (*submission.Options, error) {
	o := &submission.Options{
		File: file, Vars: cmd.StringSlice("var"), VarFiles: cmd.StringSlice("var-file"),
		Targets: cmd.StringSlice("target"), Tags: cmd.StringSlice("tag"), Skip: cmd.StringSlice("skip"),
		Cache: cache, Environ: env.environ(), ReadFile: env.readFile,
		Warn: func(text string) { env.tell("warning: %s", text) },
	}
	o.Private, o.Secrets = env.private(cmd)
	if !cmd.Bool("no-stat-cache") {
		o.Known = storage.SnapshotsDir(cmd.String("data-dir"))
	}

	return o, nil
}
