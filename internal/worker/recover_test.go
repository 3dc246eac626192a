package worker

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/journal"
)

// A daemon that starts again adopts what runs, captures what ended meanwhile, and
// starts neither again.
func TestRecover_adopts(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		out := func(s *pipeline.Spec) { s.Outputs = []string{"out"} }
		r.take(r.spec("runs", out), r.spec("ended", out))
		r.restart(func() {
			r.write("ended", "work/out", "made")
			r.runner.exit("ended", nil)
		})

		o := r.wants("ended", pipeline.AttemptSucceeded, "")
		if o.OutputCount != 1 || o.StartedAt.IsZero() {
			t.Errorf("%+v", o)
		}
		if res, err := r.w.Sync(t.Context(), peer.SyncRequest{Term: 1}); err != nil || len(res.Attempts) != 1 || res.Attempts[0].StartedAt.IsZero() {
			t.Errorf("%+v, %v", res, err)
		}
		r.write("runs", "work/out", "made later")
		r.end("runs", 0)
		r.wants("runs", pipeline.AttemptSucceeded, "")
		r.wantEvents("runs", "put start outcome commit delete forget")
	})
}

// A daemon that ends before the outcome is in the journal has deleted nothing of
// what the next one captures: result, output, files.
func TestRecover_capturesAgain(t *testing.T) {
	inRig(t, func(r *rig) { r.leader.away = true }, func(t *testing.T, r *rig) {
		r.take(r.spec("a", func(s *pipeline.Spec) { s.Outputs = []string{"out"} }))
		p, _ := r.runner.process("a")
		if err := os.WriteFile(p.Result, []byte("n=1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.write("a", "output.log", "said")
		r.write("a", "work/out", "made")
		r.journal.outcomeErr = errors.New("the daemon is killed here")
		r.end("a", 0)
		r.restart(func() {
			r.journal.outcomeErr = nil
			r.leader.set(false)
		})
		r.quiesce()

		o := r.wants("a", pipeline.AttemptSucceeded, "")
		if string(o.Result) != `{"n":"1"}` || o.OutputCount != 1 || o.LogSize != 4 {
			t.Errorf("result %s, %d outputs, log of %d bytes", o.Result, o.OutputCount, o.LogSize)
		}
		if _, err := os.Lstat(p.Result); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the result of a committed outcome is left: %v", err)
		}
	})
}

// An outcome that was not committed is reported by the next daemon, and those
// queued behind it begin.
func TestRecover_reportsAgain(t *testing.T) {
	inRig(t, func(r *rig) { r.leader.away = true }, func(t *testing.T, r *rig) {
		r.take(r.spec("good", nil), r.spec("bad", nil), r.spec("behind good", behind("good")))
		r.failFetch(func(int) error { return pipeline.Errorf(pipeline.Unavailable, "away") })
		r.take(r.spec("behind bad", func(s *pipeline.Spec) {
			behind("bad")(s)
			s.Workspace, s.InputsAll = r.tree(map[string]string{"f": "x"}), true
		}))
		r.restart(func() {
			r.failFetch(nil)
			r.leader.set(false)
			for module, state := range map[string]pipeline.AttemptState{"good": pipeline.AttemptSucceeded, "bad": pipeline.AttemptFailed} {
				o := pipeline.Outcome{ID: id(module), Fence: 7, Worker: "w1", State: state, Reason: "as recorded"}
				if err := r.journal.SetOutcome(o); err != nil {
					t.Fatal(err)
				}
			}
		})

		r.wants("good", pipeline.AttemptSucceeded, "as recorded")
		r.wants("bad", pipeline.AttemptFailed, "as recorded")
		r.wants("behind bad", pipeline.AttemptCancelled, "not started")
		r.wantEvents("behind good", "put start")
		r.end("behind good", 0)
	})
}

// What another incarnation of the keeper had is lost; what was not begun starts.
func TestRecover_otherIncarnation(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.take(r.spec("had", nil))
		r.restart(func() {
			r.runner.replace("life-2")
			spec := r.spec("new", nil)
			raw, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.journal.Put(journal.Entry{ID: spec.ID, Fence: 7, Incarnation: "life-2", Spec: raw}); err != nil {
				t.Fatal(err)
			}
		})
		r.quiesce()
		r.wants("had", pipeline.AttemptLost, "the keeper of worker w1 died, and its processes with it")
		r.wantEvents("new", "put start")
		r.end("new", 0)
		r.wants("new", pipeline.AttemptSucceeded, "")
	})
}

// Secrets are in memory only. An attempt that had not begun is forgotten, so that
// the leader sends it again; one that runs needs them no more.
func TestRecover_sealed(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		withSecret := func(s *pipeline.Spec) { s.Secrets = map[string]string{"S": secret} }
		r.take(r.spec("runs", withSecret), r.spec("waits", func(s *pipeline.Spec) { withSecret(s); behind("runs")(s) }))
		for _, e := range r.journal.All() {
			if strings.Contains(string(e.Spec), secret) || strings.Contains(string(e.Spec), "true\"") && strings.Contains(string(e.Spec), `"script"`) {
				t.Errorf("the journal holds %s", e.Spec)
			}
		}

		r.restart(nil)
		r.wantEvents("waits", "put delete")
		r.take(r.spec("waits", withSecret))
		r.wantEvents("waits", "put delete put start")
		r.end("runs", 0)
		r.end("waits", 0)
		r.wants("runs", pipeline.AttemptSucceeded, "")
		r.wants("waits", pipeline.AttemptSucceeded, "")
	})
}

// Processes that no journal entry names are stopped, their exits forgotten.
func TestRecover_orphans(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.restart(func() {
			for module, state := range map[string]executor.State{"runs": executor.Running, "ended": executor.Exited} {
				key := id(module).String()
				r.runner.statuses[key] = executor.Status{ID: key, State: state}
			}
		})
		if r.runner.stopped("runs") != "unknown to this node" || r.runner.stopped("ended") != "" {
			t.Errorf("stopped %q", r.runner.stops)
		}
		r.runner.exit("runs", nil)
		r.quiesce()
		r.wantEvents("runs", "forget")
	})
}

// What cannot be read at the start is an error, and nothing is left running.
func TestOpen_errors(t *testing.T) {
	for name, change := range map[string]func(r *rig){
		"keeper does not answer": func(r *rig) { r.runner.listErr = errors.New("no answer") },
		"entry cannot be read":   func(r *rig) { r.journal.entries = []journal.Entry{{ID: id("a"), Spec: []byte("{")}} },
		"pool cannot be made": func(r *rig) {
			if err := os.WriteFile(r.dir+"/file", nil, 0o600); err != nil {
				r.tb.Fatal(err)
			}
			r.cfg.WorkDir = r.dir + "/file"
		},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, nil, func(t *testing.T, r *rig) {
				r.shutdown()
				change(r)
				w, err := Open(t.Context(), r.cfg)
				if err == nil || w != nil {
					t.Error("opened")
				}
				elapse(time.Second)
			})
		})
	}
}
