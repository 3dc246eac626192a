package service_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// record caches n results of pipeline p, of 100 bytes each, an hour apart. It
// gives their keys, oldest first.
func record(r *rig, n int) []pipeline.Digest {
	r.tb.Helper()
	var keys []pipeline.Digest
	for i := range n {
		key := blob.DigestOf(fmt.Append(nil, "key", i))
		id := r.assign(r.newRun(single), "m", "w1", func(a *fsm.Assign) { a.Cache = &pipeline.CacheLookup{Key: key} })
		r.finish(id, pipeline.Outcome{State: pipeline.AttemptSucceeded, OutputBytes: 70, LogSize: 20, Result: []byte(`{"n": 10}`), OutputCount: 3},
			pipeline.ModuleSucceeded)
		keys = append(keys, key)
		elapse(time.Hour)
	}
	return keys
}

// cacheKeys lists the keys of all cached results, page by page.
func cacheKeys(r *rig, limit int) []pipeline.Digest {
	r.tb.Helper()
	var got []pipeline.Digest
	for after := pipeline.Digest(""); ; {
		list, err := r.cache.CacheList(r.tb.Context(), "", limit, after)
		if err != nil {
			r.tb.Fatal(err)
		}
		for _, e := range list.Entries {
			got = append(got, e.Key)
		}
		if after = pipeline.Digest(list.Cursor); after == "" {
			return got
		}
	}
}

func TestCache_CacheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		keys := record(r, 3)
		slices.Sort(keys)
		for _, limit := range []int{1, 2, 3, 100} {
			if got := cacheKeys(r, limit); !slices.Equal(got, keys) {
				t.Errorf("in pages of %d: %v, want %v", limit, got, keys)
			}
		}

		list, err := r.cache.CacheList(t.Context(), "p", 1, "")
		if e := list.Entries[0]; err != nil || e.Pipeline != "p" || e.Module != "m" || e.Attempt != 1 || e.Worker != "w1" || e.Bytes != 99 || e.Files != 3 {
			t.Errorf("got %+v, %v", list.Entries, err)
		}
		if list, err := r.cache.CacheList(t.Context(), "q", 10, ""); err != nil || len(list.Entries) != 0 || list.Entries == nil || list.Cursor != "" {
			t.Errorf("another pipeline: %+v, %v", list, err)
		}
		if stats, err := r.cache.CacheStats(t.Context()); err != nil || stats.Entries != 3 || stats.Bytes != 3*99 || stats.Misses != 3 || stats.StateBytes == 0 {
			t.Errorf("got %+v, %v", stats, err)
		}
	})
}

// The least recently used go first, and a dry run deletes nothing.
func TestCache_CachePrune_selects(t *testing.T) {
	none, some := int64(0), int64(200)
	for what, tc := range map[string]struct {
		in   wire.CachePrune
		want int // how many of the oldest go
	}{
		"all":              {wire.CachePrune{All: true}, 4},
		"no condition":     {wire.CachePrune{}, 4},
		"unused":           {wire.CachePrune{UnusedSeconds: 2.5 * 3600}, 2},
		"down to bytes":    {wire.CachePrune{MaxBytes: &some}, 2},
		"down to none":     {wire.CachePrune{MaxBytes: &none}, 4},
		"unused or beyond": {wire.CachePrune{UnusedSeconds: 3.5 * 3600, MaxBytes: &some}, 2},
		"pipeline":         {wire.CachePrune{Pipeline: "p", UnusedSeconds: 3.5 * 3600}, 1},
		"another pipeline": {wire.CachePrune{Pipeline: "q"}, 0},
		"by kind":          {wire.CachePrune{Kind: wire.KindResults, MaxBytes: &some}, 2},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				keys := record(r, 4)
				dry := tc.in
				dry.DryRun = true
				if out, err := r.cache.CachePrune(t.Context(), sam, dry); err != nil || out.Removed != tc.want || out.Bytes != int64(99*tc.want) {
					t.Errorf("a dry run: %+v, %v; want %d", out, err, tc.want)
				}
				if got := cacheKeys(r, 100); len(got) != 4 {
					t.Errorf("%d results after a dry run", len(got))
				}

				out, err := r.cache.CachePrune(t.Context(), sam, tc.in)
				if err != nil || out.Removed != tc.want || out.Bytes != int64(99*tc.want) {
					t.Errorf("got %+v, %v; want %d", out, err, tc.want)
				}
				left := slices.Sorted(slices.Values(keys[tc.want:]))
				if got := cacheKeys(r, 100); !slices.Equal(got, left) {
					t.Errorf("left %v, want %v", got, left)
				}
			})
		})
	}
}

func TestCache_CachePrune_refuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		record(r, 1)
		limit := int64(1)
		_, err := r.cache.CachePrune(t.Context(), sam, wire.CachePrune{All: true, MaxBytes: &limit})
		wantError(t, "all, and a limit", err, pipeline.Invalid, "leave out all")

		r.leader.refuse = pipeline.ErrNoLeader
		out, err := r.cache.CachePrune(t.Context(), sam, wire.CachePrune{All: true})
		wantError(t, "the proposal fails", err, pipeline.Unavailable, "no leader")
		if out.Removed != 0 {
			t.Errorf("got %+v", out)
		}
		r.loseLeader()
		_, err = r.cache.CachePrune(t.Context(), sam, wire.CachePrune{All: true, DryRun: true})
		wantError(t, "no leader", err, pipeline.Unavailable, "no leader")
	})
}

// A lookup compiles the submission as a run would, and stores nothing.
func TestCache_CacheLookup(t *testing.T) {
	r := newRig(t)
	in := source(chain)
	in.Workspace, in.Cache = blob.DigestOf([]byte("files")), pipeline.CacheRefresh
	got, err := r.cache.CacheLookup(t.Context(), sam, in)
	if err != nil || len(got.Modules) != 4 || got.Modules[0].Name != "a" || got.Modules[0].Unknown != "workspace "+string(in.Workspace) {
		t.Errorf("got %+v, %v", got, err)
	}
	if asked := r.planner.asked[0]; asked.Pipeline != "p" || asked.Modules != 4 || asked.Cache != pipeline.CacheRefresh || asked.ID == "" {
		t.Errorf("asked for %+v", asked)
	}
	if n := r.leader.commits.Load(); n != 0 {
		t.Errorf("%d entries of the log", n)
	}

	in.Workspace = "files"
	_, err = r.cache.CacheLookup(t.Context(), sam, in)
	wantError(t, "no digest", err, pipeline.Invalid, "workspace: digest")
	_, err = r.cache.CacheLookup(t.Context(), sam, source(`  module "a" { comand = 1 }`))
	wantError(t, "a mistake", err, pipeline.Invalid, "test.hcl:2")
	r.planner.fail = pipeline.ErrNotLeader
	_, err = r.cache.CacheLookup(t.Context(), sam, source(chain))
	wantError(t, "not the leader", err, pipeline.Unavailable)
}

// Entries of remote caches are counted by kind: those of Bazel are in two spaces.
func TestCache_CacheStats_remote(t *testing.T) {
	r := newRig(t)
	key := string(blob.DigestOf([]byte("key")))
	var puts []fsm.ToolPut
	for i, space := range []pipeline.ToolSpace{pipeline.ToolActions, pipeline.ToolContents, pipeline.ToolTurbo} {
		puts = append(puts, fsm.ToolPut{Key: pipeline.ToolKey{Space: space, Key: key}, Digest: blob.DigestOf(nil), Size: int64(10 * (i + 1))})
	}
	r.apply(&fsm.Command{Tools: &fsm.Tools{Puts: puts}})
	stats, err := r.cache.CacheStats(t.Context())
	want := []wire.ToolCount{{Kind: wire.KindOfTool(pipeline.ToolActions), Entries: 2, Bytes: 30}, {Kind: wire.KindOfTool(pipeline.ToolTurbo), Entries: 1, Bytes: 30}}
	if err != nil || !slices.Equal(stats.Tools, want) {
		t.Errorf("got %+v, %v; want %+v", stats.Tools, err, want)
	}
}
