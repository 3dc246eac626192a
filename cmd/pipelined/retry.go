package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
)

// retryCommand is `pipelined retry`.
type retryCommand struct{ env *environment }

func (c retryCommand) command() *cli.Command {
	return &cli.Command{
		Name: "retry", Usage: "resumes a finished run where it failed, and follows it", ArgsUsage: "RUN",
		Description: "Modules that succeeded are kept; the others run again, with new attempts. With -from a module runs again even if it succeeded, and so does everything that depends on it. With -var or -var-file a new run is made, of the same source and files: it takes over the results of modules whose work stays the same.",
		Flags: append(variableFlags("value of a variable (`NAME=VALUE`), for a new run; may be repeated"),
			&cli.StringSliceFlag{Name: "from", Usage: "`MODULE` that runs again with everything that depends on it; may be repeated", Local: true},
			&cli.BoolFlag{Name: "dry-run", Usage: "print which modules would run again, and why", HideDefault: true, Local: true},
			&cli.BoolFlag{Name: "detach", Usage: "do not follow the run", HideDefault: true, Local: true},
			logsFlag(), jsonFlag(),
		),
		Action: c.env.action(1, 1, c.run),
	}
}

func (c retryCommand) run(ctx context.Context, cmd *cli.Command) error {
	ref, err := runArg(cmd, 0)
	if err != nil {
		return err
	}

	for _, m := range cmd.StringSlice("from") {
		if !wire.ValidModule(m) {
			return usagef("-from %.80q: cannot be the name of a module", m)
		}
	}

	variables, err := c.env.variablesOf(cmd)
	if err != nil {
		return c.env.explain(err)
	}
	in := wire.RetryRequest{From: cmd.StringSlice("from"), Variables: variables}
	if cmd.Bool("dry-run") {
		return c.plan(ctx, ref, in, cmd.Bool("json"))
	}

	own, api, err := c.connect(ctx)
	if err != nil {
		return err
	}

	id, err := api.Runs().Find(ctx, ref)
	if err != nil {
		return err
	}

	if own != nil && cmd.Bool("detach") {
		return usagef("retry: -detach is for runs of a cluster; a run of `pipelined run` ends with its process")
	}

	before, err := api.Runs().Get(ctx, id)
	if err != nil {
		return err
	}

	in.Env = c.credentials(&before, in)
	run, err := api.Runs().Retry(ctx, id, in)
	if err != nil {
		return c.env.explain(err)
	}

	// Who retries after a change of the files expects them to be used.
	submitted := before.SubmittedAt.Local().Format("2006-01-02 15:04:05")
	known := &before
	if id == run.ID {
		c.env.tell("run %s resumes with the files of its submission at %s; %d of %d modules are kept", run.ID, submitted, run.ModulesDone, run.ModuleCount)
	} else {
		c.env.tell("run %s retries run %d with the files of its submission at %s; %d of %d results are taken over", run.ID, before.Number, submitted, run.ModulesDone, run.ModuleCount)
		id, known = run.ID, nil
	}

	if cmd.Bool("detach") {
		if cmd.Bool("json") {
			return c.env.printJSON(run)
		}

		fmt.Fprintln(c.env.stdout, run.ID)
		return nil
	}

	signals, back := c.env.signals()
	defer back()
	watch := watchOptions{json: cmd.Bool("json"), logs: cmd.Bool("logs"), known: known, signals: signals}
	if own != nil {
		watch.address, watch.gone, watch.ctrlC = own.address, own.address != runAddress, cancelsRun
		f := &runFollower{env: c.env, node: own, api: api, id: id}
		return f.follow(ctx, watch, false)
	}

	watch.ctrlC, watch.health, watch.election = leavesRunning, api.Health, newestElection(api)
	_ = c.env.reach(ctx, api) // without it the page's address is not known, at worst
	watch.page = c.env.page(api, fmt.Sprint(run.Number))
	c.env.tellPage(string(id), watch.page())
	watch.interrupt = func(ctx context.Context, _ os.Signal) error { return watcher(c).detachOrCancel(ctx, api, id, signals) }
	_, err = watcher(c).watch(ctx, api.Runs(), id, watch)
	return err
}

// credentials are those that the run took from the environment of its submitter
// (env_from), as they are here: a new run needs them again.
func (c retryCommand) credentials(run *wire.Run, in wire.RetryRequest) map[string]string {
	if len(in.Variables) == 0 {
		return nil
	}
	names := language.Credentials(&pipeline.Scope{Sensitive: run.Sensitive})
	out := map[string]string{}
	for _, kv := range c.env.environ() {
		if name, value, ok := strings.Cut(kv, "="); ok && slices.Contains(names, name) {
			out[name] = value
		}
	}
	return out
}

// plan prints what a retry would run again.
func (c retryCommand) plan(ctx context.Context, ref pipeline.RunRef, in wire.RetryRequest, asJSON bool) error {
	api, id, err := c.env.connectRun(ctx, ref)
	if err != nil {
		return err
	}
	before, err := api.Runs().Get(ctx, id)
	if err != nil {
		return err
	}
	in.Env = c.credentials(&before, in)
	plan, err := api.Runs().PlanRetry(ctx, id, in)
	if err != nil {
		return c.env.explain(err)
	}
	if asJSON {
		return c.env.printJSON(plan)
	}

	t := terminal.NewTable(c.env.stdout, "MODULE", "RETRY", "BECAUSE")
	for _, m := range plan.Modules {
		does := "kept"
		if m.Again {
			does = "runs"
		}
		t.Row(m.Name, does, m.Because)
	}
	return t.Flush()
}

// connect finds the cluster. For what `pipelined run` has stored it starts a node
// that runs the modules, and returns it too.
func (c retryCommand) connect(ctx context.Context) (*embedded, *client.Client, error) {
	if c.env.flags.address != runAddress {
		api, err := c.env.connect(ctx)
		if !c.env.isOnlyHistory(err) {
			return nil, api, err
		}
	}
	return history(c).runner(ctx)
}

// shown are the positions behind all output of a run that has finished; nil for
// none.
func shown(r *wire.Run) map[string]wire.LogPosition {
	if r == nil {
		return nil
	}

	at := map[string]wire.LogPosition{}
	for i := range r.Modules {
		m := &r.Modules[i]
		if n := len(m.Attempts); n > 0 {
			at[m.Name] = wire.LogPosition{Attempt: m.Attempts[n-1].Number, Offset: m.Attempts[n-1].LogSize, Ended: true}
		}
	}

	return at
}
