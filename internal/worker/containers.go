package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/executor/container"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// engineInterval is how often the node looks whether there is an engine, sweepInterval
	// how often it looks for what a process left that was killed while it made a container.
	engineInterval = 5 * time.Second
	sweepInterval  = time.Minute
	// sweepTime bounds the removal of containers that earlier daemons or keepers left.
	sweepTime = 30 * time.Second
	// containerReport is the file, in an attempt's directory, of what its process in a
	// container says besides its exit code.
	containerReport = "container.json"
)

// containers runs modules with an image: it knows the engine of this machine, has
// images there, and turns a process into one that runs in a container. It is safe for
// concurrent use.
type containers struct {
	// find connects to the engine; nil if this node runs no containers.
	find func(ctx context.Context) (*container.Engine, error)
	// program is this binary, which keeps containers as the runner's process.
	program string
	node    pipeline.NodeID
	table   *table
	log     hclog.Logger

	mu     sync.Mutex // guards following
	engine *container.Engine
	// why is why there is none.
	why string
}

// look finds out whether there is an engine.
func (c *containers) look(ctx context.Context) {
	c.mu.Lock()
	old := c.engine
	c.mu.Unlock()
	if c.find == nil || old != nil && old.Alive(ctx) {
		return
	}

	e, err := c.find(ctx)
	if ctx.Err() != nil {
		if e != nil {
			e.Close()
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engine = e
	switch {
	case err == nil:
		c.why = ""
		c.log.Info("found a container engine", "engine", e.String(), "host", e.Host)
	case old != nil:
		c.why = err.Error()
		c.log.Warn("the container engine does not answer any more", "engine", old.String(), "error", err)
	default:
		c.why = err.Error()
	}
	if old != nil {
		old.Close()
	}
}

// watch looks for the engine until ctx ends, and removes what is of no attempt any
// more: a process that was killed while its container was made leaves one.
func (c *containers) watch(ctx context.Context) {
	if c.find == nil {
		return
	}
	look, sweep := time.NewTicker(engineInterval), time.NewTicker(sweepInterval)
	defer look.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			c.close()
			return
		case <-look.C:
			old, _ := c.current()
			c.look(ctx)
			if e, _ := c.current(); e != old { // its sweeps failed while it did not answer
				c.sweep(ctx, c.isLive)
			}
		case <-sweep.C:
			c.sweep(ctx, c.isLive)
		}
	}
}

func (c *containers) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.engine != nil {
		c.engine.Close()
	}
}

func (c *containers) current() (e *container.Engine, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.engine, c.why
}

// name describes the engine; "" if there is none.
func (c *containers) name() string {
	if e, _ := c.current(); e != nil {
		return e.String()
	}
	return ""
}

// isLive reports whether an attempt may have containers.
func (c *containers) isLive(key string) bool {
	id, err := pipeline.ParseAttemptID(key)
	if err != nil {
		return false
	}
	a := c.table.get(id)
	return a != nil && !a.ended()
}

// sweep removes what attempts that are not live have left.
func (c *containers) sweep(ctx context.Context, live func(key string) bool) {
	e, _ := c.current()
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	if err := e.Sweep(ctx, string(c.node), live); err != nil && ctx.Err() == nil {
		c.log.Warn("remove containers of attempts that have ended", "error", err)
	}
}

// removeOf removes the containers of one attempt, whose keeper has died.
func (c *containers) removeOf(ctx context.Context, a *attempt) {
	if a.spec.Container.Image != "" {
		c.sweep(ctx, func(key string) bool { return key != a.key })
	}
}

// prepare has the images of an attempt on this machine.
func (c *containers) prepare(ctx context.Context, a *attempt) error {
	s := &a.spec.Container
	if s.Image == "" {
		return nil
	}
	e, why := c.current()
	if e == nil {
		return pipeline.Errorf(pipeline.Unavailable, "%s", why)
	}

	began := time.Now()
	a.images = a.images[:0]
	for _, ref := range s.Images() {
		auth := ""
		if container.SameRegistry(ref, s.Image) {
			auth = a.spec.Secrets[s.RegistryAuth]
		}
		image, err := e.Image(ctx, ref, s.Pull, auth)
		if err != nil {
			return err
		}
		a.images = append(a.images, image)
	}
	a.fetched.add(began, 0)
	return nil
}

// digests finds the digests of a module's images, and pulls them as the module says.
// Those whose registry needs a secret are not pulled: only attempts get secrets.
func (c *containers) digests(ctx context.Context, s *pipeline.Container) ([]string, error) {
	e, why := c.current()
	if e == nil {
		return nil, pipeline.Errorf(pipeline.Unavailable, "%s", why)
	}
	var list []string
	for _, ref := range s.Images() {
		policy := s.Pull
		if s.RegistryAuth != "" && container.SameRegistry(ref, s.Image) {
			policy = pipeline.PullNever
		}
		image, err := e.Image(ctx, ref, policy, "")
		if err != nil {
			return nil, err
		}
		list = append(list, image.Digest)
	}
	return list, nil
}

// into turns the process of an attempt, and its hooks, into ones that run in
// containers. scripts are the files of those that are scripts.
func (c *containers) into(a *attempt, p *executor.Process) error {
	e, why := c.current()
	if e == nil {
		return pipeline.Errorf(pipeline.Unavailable, "%s", why)
	}
	s := &a.spec
	job := container.Job{Engine: e.Facts, Node: string(c.node), Attempt: a.key, Image: a.images[0].ID, Name: s.Container.Image, Digest: a.images[0].Digest,
		WorkDir: p.WorkDir, Mounts: []string{a.dir.Work(), a.dir.Home(), a.dir.Tmp(), p.Result}, Memory: p.Memory, CPU: p.CPU, Report: reportOf(a.dir)}
	for i := range s.Container.Services {
		job.Services = append(job.Services, container.Service{Service: s.Container.Services[i], ImageID: a.images[i+1].ID, Digest: a.images[i+1].Digest})
	}

	// The module makes its result by itself, but only what is there can be mounted.
	f, err := os.OpenFile(p.Result, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make the file of the result: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make the file of the result: %w", err)
	}

	// The limits are the container's, not those of the process that keeps it.
	p.Memory, p.CPU = 0, 0
	p.Env = slices.DeleteFunc(p.Env, func(kv string) bool { return s.Env["PATH"] == "" && strings.HasPrefix(kv, "PATH=") })
	for _, kv := range p.Env {
		// Caches of its own lie in its directory.
		if dir, ok := strings.CutPrefix(kv, "PIPELINED_CACHE="); ok && !strings.HasPrefix(dir, string(a.dir)+"/") {
			for _, name := range s.Caches {
				job.Mounts = append(job.Mounts, filepath.Join(dir, name))
			}
		}
	}

	if p.Cleanup, err = job.Remove(c.program); err != nil {
		return err
	}
	main := job
	if s.Script != "" {
		main.ReadOnly = p.Argv[len(p.Argv)-1:]
	}
	if p.Argv, err = main.Run(c.program, p.Argv); err != nil {
		return err
	}
	for i := range p.Hooks {
		h := &p.Hooks[i]
		hook := job
		hook.ReadOnly, hook.WorkDir = h.Argv[len(h.Argv)-1:], h.WorkDir
		if h.When != executor.HookBefore {
			hook.Report = "" // how it ends is said by its exit code
		}
		if h.Argv, err = hook.Run(c.program, h.Argv); err != nil {
			return err
		}
	}
	return nil
}

func reportOf(dir attemptdir.Dir) string { return string(dir) + "/" + containerReport }

// reported adds to a status and to an outcome what the process in the container has said.
func (c *containers) reported(a *attempt, st *executor.Status, o *pipeline.Outcome) {
	if a.spec.Container.Image == "" {
		return
	}
	r, err := container.ReadReport(reportOf(a.dir))
	if err != nil {
		c.log.Warn("read the report of a container", a.spec.LogFields("error", err)...)
		return
	}
	st.OutOfMemory = st.OutOfMemory || r.OutOfMemory
	if r.Problem != "" && !st.Stopped && !st.TimedOut && !st.Lapsed {
		st.StartError, st.MachineFault = r.Problem, r.Machine
	}
	o.Image, o.ServiceImages = r.Digest, r.Services
}
