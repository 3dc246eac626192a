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

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// keptName is the file in a folder that is kept beyond its attempt: what the
// attempt was, without what must not reach a disk.
const keptName = "kept.json"

// keptAttempt is what it holds.
type keptAttempt struct {
	Spec    pipeline.Spec `json:"spec"`
	Omitted []string      `json:"omitted,omitempty"`
}

// Place is where somebody may look at an attempt.
type Place struct {
	// Dir is the module's working directory, Env its environment without what
	// is secret; Omitted names what was left out.
	Dir     string
	Env     []string
	Omitted []string
	// Gone ends before the folder is removed.
	Gone context.Context
	// Leave says that nobody looks any more.
	Leave func()
}

// visitors are those who look at the folder of an attempt.
type visitors struct {
	n    int
	ctx  context.Context // ends when the folder goes
	gone context.CancelFunc
}

// Visit opens the folder of an attempt that runs here, or whose folder was
// kept. The caller calls Leave.
func (w *Worker) Visit(id pipeline.AttemptID) (*Place, error) {
	w.mu.Lock()
	a := w.attempts[id]
	var omitted []string
	if a != nil && !a.running {
		w.mu.Unlock()
		return nil, pipeline.Errorf(pipeline.Conflict, "attempt %s is being prepared on %s: its folder is not complete yet", id, w.cfg.Name)
	}
	v := w.visits[id]
	if v == nil {
		v = &visitors{}
		v.ctx, v.gone = context.WithCancel(w.life)
		w.visits[id] = v
	}
	v.n++
	w.mu.Unlock()
	p := &Place{Gone: v.ctx, Leave: func() { w.leave(id, v) }}
	if a == nil {
		var err error
		if a, omitted, err = w.kept(id); err != nil {
			p.Leave()
			return nil, err
		}
	}
	if err := w.furnish(p, a); err != nil {
		p.Leave()
		return nil, err
	}
	p.Omitted = append(p.Omitted, omitted...)
	return p, nil
}

func (w *Worker) leave(id pipeline.AttemptID, v *visitors) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.n--; v.n == 0 {
		v.gone()
		if w.visits[id] == v {
			delete(w.visits, id)
		}
	}
}

// turnOut ends all visits of an attempt's folder and reports whether there were
// any.
func (w *Worker) turnOut(id pipeline.AttemptID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.visits[id]
	if v == nil {
		return false
	}
	v.gone()
	delete(w.visits, id)
	return true
}

// kept finds an attempt whose folder was kept when it ended.
func (w *Worker) kept(id pipeline.AttemptID) (a *attempt, omitted []string, err error) {
	a = &attempt{id: id, key: id.String(), dir: attemptDir(w.cfg.WorkDir, id), spec: pipeline.Spec{ID: id}}
	if _, err := os.Stat(a.dir.Work()); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		if w.cfg.KeepWork {
			return nil, nil, pipeline.Errorf(pipeline.NotFound, "attempt %s is over, and %s keeps the folders of failed attempts only", id, w.cfg.Name)
		}
		return nil, nil, pipeline.Errorf(pipeline.NotFound, "attempt %s is over, and %s has not kept its folder: agents that are started with -keep-work keep those of failed attempts", id, w.cfg.Name)
	}
	if b, err := os.ReadFile(filepath.Join(string(a.dir), keptName)); err == nil {
		var k keptAttempt
		if err := json.Unmarshal(b, &k); err != nil {
			w.log.Warn("read what a kept folder is of", "attempt", a.key, "error", err)
		} else {
			a.spec, omitted = k.Spec, k.Omitted
		}
	}
	return a, omitted, nil
}

// openly gives what a module may be shown of its environment, and the names of
// the rest: secrets, and what was made of sensitive variables.
func openly(s *pipeline.Spec) (env map[string]string, omitted []string) {
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

// furnish says where the module works, and with which environment.
func (w *Worker) furnish(p *Place, a *attempt) error {
	shown := &attempt{id: a.id, dir: a.dir, spec: a.spec}
	shown.spec.Env, p.Omitted = openly(&a.spec)
	shown.spec.Secrets = nil
	var err error
	if p.Env, err = w.environ(shown); err != nil {
		return err
	}
	p.Dir = a.dir.Work()
	if dir := filepath.Join(p.Dir, filepath.FromSlash(a.spec.WorkingDir)); a.spec.WorkingDir != "" {
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			p.Dir = dir
		}
	}
	return nil
}

// keep leaves in a folder that outlives its attempt what it is of.
func (w *Worker) keep(a *attempt) {
	var k keptAttempt
	k.Spec = pipeline.Spec{ID: a.id, Pipeline: a.spec.Pipeline, WorkingDir: a.spec.WorkingDir, Caches: a.spec.Caches, Status: a.spec.Status}
	k.Spec.Env, k.Omitted = openly(&a.spec)
	b, err := json.Marshal(k)
	if err == nil {
		err = os.WriteFile(filepath.Join(string(a.dir), keptName), b, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.log.Warn("write what a kept folder is of", "dir", a.dir, "error", err)
	}
}
