package worker

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/internal/worker/environ"
	"github.com/pipelined/pipelined/pipeline"
)

// processes says what the executor starts for an attempt. It holds what is the
// same for all attempts of the node.
type processes struct {
	worker string
	caches *caches
	// containers turns what has an image into a process in one.
	containers *containers
	// passThrough names variables of this machine that modules see.
	passThrough []string
	logLimit    int64
}

// of writes script and hooks into the attempt's directory, which is laid out
// already, and returns the process to start.
func (p *processes) of(a *attempt) (executor.Process, error) {
	s := &a.spec

	argv := s.Command
	if s.Script != "" {
		// A script that contains a secret lies outside of the directory that the module's
		// outputs are captured from, on tmpfs if there is one.
		write := a.dir.WriteScript
		if shows(s, s.Script) {
			write = a.dir.WriteHiddenScript
		}
		var err error
		if argv, err = write(s.Script, s.Shell); err != nil {
			return executor.Process{}, err
		}
	}
	hooks, err := writeHooks(a.dir, s)
	if err != nil {
		return executor.Process{}, err
	}
	env, err := p.environ(a.dir, s)
	if err != nil {
		return executor.Process{}, err
	}

	// The path was checked when the pipeline was compiled: it cannot leave the
	// directory.
	dir := a.dir.Work()
	if s.WorkingDir != "" {
		dir = filepath.Join(dir, filepath.FromSlash(s.WorkingDir))
	}
	proc := executor.Process{
		ID: a.key, Dir: string(a.dir), WorkDir: dir, Argv: argv, Env: env, Hooks: hooks,
		Timeout: s.Timeout, IdleTimeout: s.IdleTimeout, Grace: s.Grace, KillOnLapse: s.OnDisconnect == pipeline.DisconnectKill,
		Mask: masked(s, p.passThrough), Result: a.dir.Result(), LogLimit: p.logLimit, Memory: s.Resources.Memory, CPU: s.Resources.CPU,
	}
	if s.Container.Image != "" {
		err = p.containers.into(a, &proc)
	}
	return proc, err
}

// masked are the values that nothing an attempt leaves may show: those of its secrets, and
// of the variables of this machine that it sees and that look like credentials.
func masked(s *pipeline.Spec, passThrough []string) []string {
	values := slices.Clip(hidden(s))
	for _, name := range passThrough {
		if value := os.Getenv(name); value != "" && pipeline.CredentialName(name) {
			values = append(values, value)
		}
	}
	return values
}

// environ builds the environment and makes the caches that it names.
func (p *processes) environ(dir attemptdir.Dir, s *pipeline.Spec) ([]string, error) {
	cache, err := "", error(nil)
	switch {
	case len(s.Caches) == 0:
	case s.OwnCaches:
		cache = filepath.Join(dir.Tmp(), "caches")
		err = makeCaches(cache, s.Caches)
	default:
		cache, err = p.caches.open(s)
	}
	if err != nil {
		return nil, err
	}

	event, notice := "", ""
	if s.Notice != nil {
		event, notice = s.Notice.Event, dir.Notice()
	}

	return environ.Build(environ.Config{
		Dir: dir, Event: event, Notice: notice, Status: s.Status, Run: string(s.ID.Run), Pipeline: s.Pipeline, Module: s.ID.Module, Attempt: s.ID.Attempt,
		Worker: p.worker, Tick: s.Tick, Trace: s.Trace.Attempt(s.ID), Cache: cache, PassThrough: p.passThrough, Declared: withSecrets(s, cache),
	})
}

// writeHooks writes the scripts of the hooks and says how to start them.
func writeHooks(dir attemptdir.Dir, s *pipeline.Spec) ([]executor.Hook, error) {
	h := &s.Hooks
	if *h == (pipeline.Hooks{}) {
		return nil, nil
	}

	var hooks []executor.Hook
	for _, one := range []struct {
		when   executor.When
		script string
	}{
		{executor.HookBefore, h.Before},
		{executor.HookSuccess, h.OnSuccess},
		{executor.HookFailure, h.OnFailure},
		{executor.HookAfter, h.After},
	} {
		if one.script == "" {
			continue
		}
		argv, err := dir.WriteHook(one.when, one.script, s.Shell)
		if err != nil {
			return nil, err
		}
		hooks = append(hooks, executor.Hook{When: one.when, Argv: argv, WorkDir: dir.Work()})
	}
	return hooks, nil
}
