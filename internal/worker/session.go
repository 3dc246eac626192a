package worker

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// SessionDir is where an interactive session of an attempt works.
type SessionDir struct {
	// Dir is the module's working directory, Env its environment without what
	// is secret; Omitted names what was left out.
	Dir     string
	Env     []string
	Omitted []string
	// Gone ends before the directory is removed.
	Gone context.Context
	// Leave ends the session. It must be called, once.
	Leave func()
}

// sessions opens the directories of attempts for interactive sessions, and ends
// the sessions before a directory is removed.
type sessions struct {
	name      string // of the node, for messages
	workDir   string
	keepWork  bool
	life      context.Context
	table     *table
	processes *processes
	log       hclog.Logger

	mu     sync.Mutex // guards following
	guests map[pipeline.AttemptID]*guests
}

// guests are the sessions in one directory; ctx ends when it is removed.
type guests struct {
	n      int
	ctx    context.Context
	cancel context.CancelFunc
}

// open opens the directory of an attempt that runs here, or whose directory was
// kept.
//
// The session is entered before the table is read: an attempt leaves the table
// first and evicts its sessions then, so either this finds it gone or evict finds
// the session.
func (s *sessions) open(id pipeline.AttemptID) (*SessionDir, error) {
	g := s.enter(id)
	d := &SessionDir{Gone: g.ctx, Leave: func() { s.leave(id, g) }}

	a := s.table.get(id)
	if a != nil && !a.hasProcess() {
		d.Leave()
		return nil, pipeline.Errorf(pipeline.Conflict, "attempt %s is being prepared on %s: its directory is not complete yet", id, s.name)
	}

	dir := attemptDir(s.workDir, id)
	var spec pipeline.Spec
	if a != nil {
		spec = a.spec
	} else {
		kept, err := s.kept(id, dir)
		if err != nil {
			d.Leave()
			return nil, err
		}
		spec, d.Omitted = kept.Spec, kept.Omitted
	}

	if err := s.furnish(d, dir, spec); err != nil {
		d.Leave()
		return nil, err
	}
	return d, nil
}

func (s *sessions) enter(id pipeline.AttemptID) *guests {
	s.mu.Lock()
	defer s.mu.Unlock()

	g := s.guests[id]
	if g == nil {
		g = &guests{}
		g.ctx, g.cancel = context.WithCancel(s.life)
		s.guests[id] = g
	}
	g.n++
	return g
}

func (s *sessions) leave(id pipeline.AttemptID, g *guests) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if g.n--; g.n > 0 {
		return
	}
	g.cancel()
	if s.guests[id] == g {
		delete(s.guests, id)
	}
}

// evict ends the sessions in the directory of an attempt, and reports whether
// there were any.
func (s *sessions) evict(id pipeline.AttemptID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	g := s.guests[id]
	if g == nil {
		return false
	}
	g.cancel()
	delete(s.guests, id)
	return true
}

// furnish says where the module works, and with which environment.
func (s *sessions) furnish(d *SessionDir, dir attemptdir.Dir, spec pipeline.Spec) error {
	shown := spec
	var omitted []string
	shown.Env, omitted = openEnv(&spec)
	shown.Secrets = nil
	d.Omitted = append(omitted, d.Omitted...)

	var err error
	if d.Env, err = s.processes.environ(dir, &shown); err != nil {
		return err
	}

	d.Dir = dir.Work()
	if spec.WorkingDir != "" {
		sub := filepath.Join(d.Dir, filepath.FromSlash(spec.WorkingDir))
		if st, err := os.Stat(sub); err == nil && st.IsDir() {
			d.Dir = sub
		}
	}
	return nil
}

// openEnv gives what a session may see of an environment, and the names of the
// rest: secrets, and what was made of sensitive variables.
func openEnv(s *pipeline.Spec) (env map[string]string, omitted []string) {
	env = maps.Clone(s.Env)
	secrets := mask.New(hidden(s))
	for name, value := range s.Env {
		if secrets.String(value) != value {
			delete(env, name)
			omitted = append(omitted, name)
		}
	}
	for name := range s.Secrets {
		delete(env, name)
		omitted = append(omitted, name)
	}
	if s.Sealed {
		omitted = append(omitted, "what env and secrets held")
	}

	slices.Sort(omitted)
	return env, slices.Compact(omitted)
}

// keptName is the file in a directory that is kept beyond its attempt.
const keptName = "kept.json"

// keptAttempt is what it holds: the attempt, without what must not reach a disk.
type keptAttempt struct {
	Spec    pipeline.Spec `json:"spec"`
	Omitted []string      `json:"omitted,omitempty"`
}

// writeKept describes an attempt in its directory, which is kept.
func writeKept(a *attempt) error {
	var k keptAttempt
	k.Spec = pipeline.Spec{ID: a.id, Pipeline: a.spec.Pipeline, WorkingDir: a.spec.WorkingDir, Caches: a.spec.Caches, Status: a.spec.Status}
	k.Spec.Env, k.Omitted = openEnv(&a.spec)

	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(string(a.dir), keptName), b, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the attempt never had a directory
	}
	return err
}

// kept describes an attempt whose directory was kept when it ended.
func (s *sessions) kept(id pipeline.AttemptID, dir attemptdir.Dir) (k keptAttempt, err error) {
	k.Spec.ID = id

	if _, err := os.Stat(dir.Work()); errors.Is(err, fs.ErrNotExist) {
		if s.keepWork {
			return k, pipeline.Errorf(pipeline.NotFound, "attempt %s has ended, and %s keeps the directories of failed attempts only", id, s.name)
		}
		return k, pipeline.Errorf(pipeline.NotFound, "attempt %s has ended, and %s has not kept its directory: "+
			"agents that are started with -keep-work keep those of failed attempts", id, s.name)
	} else if err != nil {
		return k, err
	}

	b, err := os.ReadFile(filepath.Join(string(dir), keptName))
	if err != nil {
		return k, nil // kept by an agent that was killed before it described it
	}
	if err := json.Unmarshal(b, &k); err != nil {
		s.log.Warn("read the description of a kept directory", "attempt", id.String(), "error", err)
		return keptAttempt{Spec: pipeline.Spec{ID: id}}, nil
	}
	return k, nil
}
