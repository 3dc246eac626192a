package worker

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// A module sees the workspace, filtered by its inputs, and over it the outputs of
// its dependencies; a later one wins.
func TestLayout_files(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		ws := r.tree(map[string]string{"a/1": "ws", "a/2": "ws", "b/1": "ws"})
		one := r.tree(map[string]string{"a/2": "one", "out": "one"})
		two := r.tree(map[string]string{"out": "two"})
		upstream := func(s *pipeline.Spec) {
			s.Upstream = []pipeline.Upstream{{Module: "one", Outputs: one, Holders: []pipeline.NodeID{"n2"}}, {Module: "two", Outputs: two}}
		}
		for module, tc := range map[string]struct {
			change func(s *pipeline.Spec)
			want   map[string]string
		}{
			"nothing": {nil, map[string]string{}},
			"all":     {func(s *pipeline.Spec) { s.Workspace, s.InputsAll = ws, true }, map[string]string{"a/1": "ws", "a/2": "ws", "b/1": "ws"}},
			"some":    {func(s *pipeline.Spec) { s.Workspace, s.Inputs = ws, []string{"a/**"} }, map[string]string{"a/1": "ws", "a/2": "ws"}},
			"none":    {func(s *pipeline.Spec) { s.Workspace = ws }, map[string]string{}},
			"merged": {func(s *pipeline.Spec) {
				s.Workspace, s.Inputs = ws, []string{"a/**"}
				s.Upstream = []pipeline.Upstream{{Module: "one", Outputs: one}}
			},
				map[string]string{"a/1": "ws", "a/2": "one", "out": "one"}},
			"by module": {func(s *pipeline.Spec) { upstream(s); s.Layout = "by-module" }, map[string]string{"one/a/2": "one", "one/out": "one", "two/out": "two"}},
		} {
			r.take(r.spec(module, tc.change))
			if got := r.files(module); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%s sees %v, want %v", module, got, tc.want)
			}
			r.end(module, 0)
		}
	})
}

// Attempts that see the same files have the same key, others have not.
func TestBaseKey(t *testing.T) {
	key := func(ws pipeline.Digest, all bool, globs ...string) string {
		return baseKey(&pipeline.Spec{Workspace: ws, InputsAll: all, Inputs: globs})
	}
	if key("", true) != "" || key("w", false) != "" {
		t.Error("nothing has a key")
	}
	if key("w", true) != key("w", true, "a") {
		t.Error("globs count although all files are seen")
	}
	seen := map[string]bool{key("w", true): true, key("v", true): true, key("w", false, "a"): true, key("w", false, "a", "b"): true}
	if len(seen) != 4 || seen[""] {
		t.Errorf("keys %v", seen)
	}
}

// Files that are on no node that answers are looked for as long as a node takes to
// restart. Then the attempt is lost, and says whose outputs are missing.
func TestFetch_lost(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		have := r.tree(map[string]string{"f": "x"})
		lost := r.tree(map[string]string{"g": "y"})
		for d, content := range r.remote {
			if string(content) == "y" {
				delete(r.remote, d)
			}
		}
		begin := time.Now()
		r.take(r.spec("file", func(s *pipeline.Spec) {
			s.Upstream = []pipeline.Upstream{{Module: "m1", Outputs: have}, {Module: "m2", Outputs: lost}}
		}))
		if r.leader.committed("file") != nil {
			t.Error("given up at once")
		}
		elapse(2 * fetchLimit)
		o := r.wants("file", pipeline.AttemptLost, "is on no node")
		if !reflect.DeepEqual(o.LostOutputs, []string{"m2"}) {
			t.Errorf("lost outputs %q", o.LostOutputs)
		}
		if took := o.FinishedAt.Sub(begin); took < fetchLimit-fetchPause || took > fetchLimit || r.tries() < 20 {
			t.Errorf("given up after %s and %d tries", took, r.tries())
		}

		r.take(r.spec("listing", func(s *pipeline.Spec) {
			s.Upstream = []pipeline.Upstream{{Module: "m3", Outputs: pipeline.EmptyDigest[:60] + "0000"}}
		}))
		elapse(2 * fetchLimit)
		if o := r.wants("listing", pipeline.AttemptLost, "is on no node"); !reflect.DeepEqual(o.LostOutputs, []string{"m3"}) {
			t.Errorf("lost outputs %q", o.LostOutputs)
		}
	})
}

// A transfer that is cut is repeated; an error that no repetition changes is not.
func TestFetch_repeats(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		tries int
		state pipeline.AttemptState
	}{
		"cut":             {pipeline.Errorf(pipeline.Unavailable, "connection reset"), 4, pipeline.AttemptSucceeded},
		"not found yet":   {pipeline.Errorf(pipeline.NotFound, "nowhere"), 4, pipeline.AttemptSucceeded},
		"unknown":         {pipeline.Errorf(pipeline.Unknown, "timeout of a peer"), 4, pipeline.AttemptSucceeded},
		"cannot be right": {pipeline.Errorf(pipeline.Invalid, "digest of another length"), 1, pipeline.AttemptFailed},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, nil, func(t *testing.T, r *rig) {
				r.failFetch(func(try int) error {
					if try < 4 {
						return tc.err
					}
					return nil
				})
				r.take(r.spec("a", func(s *pipeline.Spec) { s.Workspace, s.InputsAll = r.tree(map[string]string{"f": "x"}), true }))
				if n := r.tries(); n != 1 {
					t.Errorf("%d tries at once", n)
				}
				elapse(10 * fetchPause)
				if tc.state == pipeline.AttemptSucceeded {
					r.end("a", 0)
					r.wants("a", tc.state, "")
				} else {
					r.wants("a", tc.state, tc.err.Error())
				}
				if r.tries() < tc.tries || tc.tries == 1 && r.tries() != 1 {
					t.Errorf("%d tries", r.tries())
				}
			})
		})
	}
}

// A stop does not wait for a fetch.
func TestFetch_stopped(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		r.failFetch(func(int) error { return pipeline.Errorf(pipeline.Unavailable, "away") })
		r.take(r.spec("a", func(s *pipeline.Spec) { s.Workspace, s.InputsAll = r.tree(map[string]string{"f": "x"}), true }))
		elapse(fetchLimit / 2)
		if err := r.w.Stop(t.Context(), peer.StopRequest{Term: 1, IDs: []pipeline.AttemptID{id("a")}, Reason: "enough"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.wants("a", pipeline.AttemptCancelled, "enough")
	})
}
