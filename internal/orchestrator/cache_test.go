package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// fakeResults answers the result cache. Its digest of files is the workspace's, with
// the globs.
type fakeResults struct {
	mu sync.Mutex // guards following
	// unreadable makes Files fail, broken makes no result whole.
	unreadable, broken bool
	asked              int
	// slow makes a lookup take this long.
	slow time.Duration
}

func (f *fakeResults) Salt() []byte { return []byte("salt") }

func (f *fakeResults) Files(ctx context.Context, x orchestrator.Files) (string, error) {
	f.mu.Lock()
	f.asked++
	slow, unreadable := f.slow, f.unreadable
	f.mu.Unlock()
	if slow > 0 {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(slow):
		}
	}
	if unreadable {
		return "", errors.New("no such tree")
	}
	return fmt.Sprint(x.Workspace, x.Globs, x.All), nil
}

func (f *fakeResults) Changed(_ context.Context, old, now orchestrator.Files, limit int) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unreadable {
		return nil, errors.New("no such tree")
	}
	return []string{fmt.Sprintf("input %s became %s (limit %d)", old.Workspace, now.Workspace, limit)}, nil
}

func (f *fakeResults) Whole(_ context.Context, list []*pipeline.CacheEntry) []bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]bool, len(list))
	for i := range out {
		out[i] = !f.broken
	}
	return out
}

func (f *fakeResults) set(change func(*fakeResults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// cached returns a module with cache = true.
func cached(name string, deps ...string) pipeline.Module {
	return with(aModule(name, deps...), func(m *pipeline.Module) { m.Cache = true })
}

// caching runs a test with a result cache.
func caching(t *testing.T, slots []int, play func(t *testing.T, c *cluster, f *fakeResults)) {
	t.Helper()
	scripted(t, slots, func(t *testing.T, c *cluster) {
		f := &fakeResults{}
		c.results = f
		play(t, c, f)
	})
}

// missed returns why the last attempt of a module used no cached result.
func (c *cluster) missed(run pipeline.RunID, module string) string {
	m := c.module(run, module)
	if a := m.Last(); a != nil && a.Cache != nil {
		return strings.Join(a.Cache.Missed, "; ")
	}
	return ""
}

// A result is used again for the same work, with its files, result and exit code.
func TestCache_hit(t *testing.T) {
	caching(t, []int{1}, func(t *testing.T, c *cluster, _ *fakeResults) {
		c.leads()
		first := c.submit("r1", one(cached("a"), aModule("b", "a")))
		c.end(first, "a", pipeline.Outcome{State: pipeline.AttemptSucceeded, Outputs: "d1", OutputPaths: []string{"x"}, Result: []byte(`{"v":1}`)})
		c.succeed(first, "b")
		c.ends(first, pipeline.RunSucceeded)
		if got := c.missed(first, "a"); got != "it has no cached result yet" {
			t.Errorf("the first run missed because %q", got)
		}

		second := c.submit("r2", one(cached("a"), aModule("b", "a")))
		_, s := c.attempt(second, "b")
		if len(s.Upstream) != 1 || s.Upstream[0].Outputs != "d1" {
			t.Errorf("b gets %+v", s.Upstream)
		}
		c.succeed(second, "b")
		m := c.ends(second, pipeline.RunSucceeded)["a"]
		if m.State != pipeline.ModuleCached || string(m.Result) != `{"v":1}` || m.Reason != "result of run r1" {
			t.Errorf("a is %s with %s because %q", m.State, m.Result, m.Reason)
		}
		if n := c.starts(second, "a"); n != 0 {
			t.Errorf("%d starts of a cached module", n)
		}
	})
}

// What keeps a module from a cached result, and what it says then.
func TestCache_miss(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(c *cluster, f *fakeResults, p *pipeline.Pipeline, head *pipeline.Run)
		want   string
	}{
		{"another command", func(_ *cluster, _ *fakeResults, p *pipeline.Pipeline, _ *pipeline.Run) {
			p.Modules[0].Command = []string{"false"}
		}, "against run r1: command changed"},
		{"another variable", func(_ *cluster, _ *fakeResults, p *pipeline.Pipeline, _ *pipeline.Run) {
			p.Modules[0].Env = map[string]string{"X": "1"}
		}, "X is new"},
		{"other files", func(_ *cluster, _ *fakeResults, _ *pipeline.Pipeline, head *pipeline.Run) { head.Workspace = "w2" },
			"against run r1: input w1 became w2 (limit 12)"},
		{"files that cannot be read", func(_ *cluster, f *fakeResults, _ *pipeline.Pipeline, _ *pipeline.Run) {
			f.set(func(f *fakeResults) { f.unreadable = true })
		}, "its input files cannot be read, so its result is not cached: no such tree"},
		{"lost bytes", func(_ *cluster, f *fakeResults, _ *pipeline.Pipeline, _ *pipeline.Run) {
			f.set(func(f *fakeResults) { f.broken = true })
		}, "the outputs of run r1 are damaged, or on no reachable node"},
		{"refresh", func(_ *cluster, _ *fakeResults, _ *pipeline.Pipeline, head *pipeline.Run) {
			head.Cache = pipeline.CacheRefresh
		},
			"the run uses no cached results, and caches its own (-refresh)"},
		{"off", func(_ *cluster, _ *fakeResults, _ *pipeline.Pipeline, head *pipeline.Run) {
			head.Cache = pipeline.CacheOff
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			caching(t, []int{1}, func(t *testing.T, c *cluster, f *fakeResults) {
				c.leads()
				head := pipeline.Run{Workspace: "w1"}
				c.submitAs("r1", one(cached("a")), head)
				c.succeed("r1", "a")
				c.ends("r1", pipeline.RunSucceeded)

				p := one(cached("a"))
				tc.change(c, f, &p, &head)
				c.submitAs("r2", p, head)
				c.succeed("r2", "a")
				c.ends("r2", pipeline.RunSucceeded)
				if got := c.missed("r2", "a"); !strings.Contains(got, tc.want) || tc.want == "" && got != "" {
					t.Errorf("missed because %q, want %q", got, tc.want)
				}
			})
		})
	}
}

// The digests of a module's image and of its services' are part of the key, and only
// the result of an attempt that ran with these is kept.
func TestCache_images(t *testing.T) {
	caching(t, []int{1}, func(t *testing.T, c *cluster, _ *fakeResults) {
		var digests atomic.Value
		digests.Store([]string{"tool v1", "db v1"})
		c.images = func(_ context.Context, _ pipeline.NodeID, x pipeline.Container) ([]string, error) {
			if x.Image != "tool" || len(x.Services) != 1 || x.Services[0].Image != "db" {
				return nil, fmt.Errorf("asked for the images of %+v", x)
			}
			return digests.Load().([]string), nil
		}
		c.leads()
		contained := with(cached("a"), func(m *pipeline.Module) {
			m.Container = pipeline.Container{Image: "tool", Services: []pipeline.Service{{Name: "x", Image: "db"}}}
		})
		runs := func(name string, with ...string) string {
			id := c.submit(name, one(contained))
			c.end(id, "a", pipeline.Outcome{State: pipeline.AttemptSucceeded, Image: with[0], ServiceImages: with[1:]})
			c.ends(id, pipeline.RunSucceeded)
			return c.missed(id, "a")
		}
		runs("r1", "tool v1", "db v1")
		r2 := c.submit("r2", one(contained))
		if m := c.ends(r2, pipeline.RunSucceeded)["a"]; m.State != pipeline.ModuleCached {
			t.Errorf("with the same images it is %s: %s", m.State, c.missed(r2, "a"))
		}

		digests.Store([]string{"tool v1", "db v2"})
		for _, name := range []string{"r3", "r4"} { // r3 ran beside another image, so its result is not kept
			if got, want := runs(name, "tool v1", "db v1"), "against run r1: service x changed"; got != want {
				t.Errorf("%s missed because %q, want %q", name, got, want)
			}
		}
	})
}

// Modules that do the same work at the same time run once: one leads, the others
// wait and use its result.
func TestCache_leader(t *testing.T) {
	caching(t, []int{8}, func(t *testing.T, c *cluster, _ *fakeResults) {
		c.leads()
		c.submit("r1", one(cached("a"))) // first: runs that are submitted together have no order
		c.attempt("r1", "a")
		for i := 2; i <= 4; i++ {
			c.submit(fmt.Sprintf("r%d", i), one(cached("a")))
		}
		for _, id := range []pipeline.RunID{"r2", "r3", "r4"} {
			c.wantWhy(id, "a", "waits for a of run r1, which does the same work")
		}
		c.succeed("r1", "a")
		for _, id := range []pipeline.RunID{"r2", "r3", "r4"} {
			if m := c.ends(id, pipeline.RunSucceeded)["a"]; m.State != pipeline.ModuleCached || m.Reason != "result of run r1" {
				t.Errorf("%s: a is %s because %q", id, m.State, m.Reason)
			}
		}
	})
}

// An untrusted run takes cached results. No other run waits for it or takes its own,
// another untrusted one included, and it waits for none.
func TestCache_untrusted(t *testing.T) {
	caching(t, []int{8}, func(t *testing.T, c *cluster, _ *fakeResults) {
		c.leads()
		other := func(name string) pipeline.Module {
			return with(cached(name), func(m *pipeline.Module) { m.Command = []string{"other"} })
		}
		p := one(cached("a"), other("b"))
		c.submit("r1", one(cached("a")))
		c.succeed("r1", "a")
		c.ends("r1", pipeline.RunSucceeded)

		c.submitAs("u1", p, pipeline.Run{Untrusted: true})
		c.attempt("u1", "b")
		c.submitAs("u2", p, pipeline.Run{Untrusted: true})
		c.attempt("u2", "b")
		c.submit("r2", p)
		c.attempt("r2", "b") // does not wait for those of u1 and u2
		for _, id := range []pipeline.RunID{"u1", "u2"} {
			c.succeed(id, "b")
			if m := c.ends(id, pipeline.RunSucceeded); m["a"].State != pipeline.ModuleCached || m["b"].State != pipeline.ModuleSucceeded {
				t.Errorf("%s: a is %s, b is %s", id, m["a"].State, m["b"].State)
			}
			if got := c.missed(id, "b"); !strings.Contains(got, "submitted with an untrusted token") {
				t.Errorf("%s: missed because %q", id, got)
			}
		}

		c.submit("r3", p)
		c.wantWhy("r3", "b", "waits for b of run r2, which does the same work")
		c.succeed("r2", "b")
		if m := c.ends("r3", pipeline.RunSucceeded)["b"]; m.Reason != "result of run r2" {
			t.Errorf("r3: b is %s because %q", m.State, m.Reason)
		}
	})
}

// If the leader fails or is cancelled, one of the waiters becomes the leader.
func TestCache_leaderFails(t *testing.T) {
	for name, end := range map[string]func(c *cluster){
		"failed":    func(c *cluster) { c.fail("r1", "a") },
		"cancelled": func(c *cluster) { c.cancel("r1", ""); c.ends("r1", pipeline.RunCancelled) },
		"lost": func(c *cluster) {
			c.end("r1", "a", pipeline.Outcome{State: pipeline.AttemptLost, Reason: "gone"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			caching(t, []int{8}, func(t *testing.T, c *cluster, _ *fakeResults) {
				c.leads()
				c.submit("r1", one(cached("a")))
				c.attempt("r1", "a")
				c.submit("r2", one(cached("a")))
				c.submit("r3", one(cached("a")))
				c.wantWhy("r2", "a", "waits for a of run r1")
				c.wantWhy("r3", "a", "waits for a of run r1")
				end(c)

				var leader pipeline.RunID
				testutil.Eventually(t, 20*time.Second, func() error {
					for _, id := range []pipeline.RunID{"r1", "r2", "r3"} {
						if len(c.runningModules(id)) == 1 {
							leader = id
							return nil
						}
					}
					return errors.New("no module leads")
				})
				settled()
				if n := len(c.runningModules("r1")) + len(c.runningModules("r2")) + len(c.runningModules("r3")); n != 1 {
					t.Errorf("%d modules do the same work at once", n)
				}
				c.succeed(leader, "a")
				c.ends("r2", pipeline.RunSucceeded)
				c.ends("r3", pipeline.RunSucceeded)
			})
		})
	}
}

// A leader that gets no worker does not keep others waiting.
func TestCache_leaderWithoutWorker(t *testing.T) {
	caching(t, []int{2}, func(t *testing.T, c *cluster, _ *fakeResults) {
		c.leads()
		p := one(cached("hog"), cached("a"))
		p.MaxParallel = 1
		p.Modules[0].Command, p.Modules[0].Priority = []string{"hog"}, 1
		c.submit("r1", p)
		c.attempt("r1", "hog")
		c.wantWhy("r1", "a", "max_parallel")
		c.submit("r2", one(cached("a")))
		c.wantWhy("r2", "a", "waits for a of run r1")
		pass(3 * time.Second)
		c.succeed("r2", "a")
		c.ends("r2", pipeline.RunSucceeded)

		// It has been looked up already, and runs.
		c.succeed("r1", "hog")
		c.succeed("r1", "a")
		c.ends("r1", pipeline.RunSucceeded)
	})
}

// The next leader of the cluster finds the same leader of a work.
func TestCache_nextLeader(t *testing.T) {
	caching(t, []int{4}, func(t *testing.T, c *cluster, _ *fakeResults) {
		end := c.leads()
		c.submit("r1", one(cached("a")))
		c.attempt("r1", "a")
		c.submit("r2", one(cached("a")))
		c.wantWhy("r2", "a", "waits for a of run r1")
		end()
		c.leads()
		c.wantWhy("r2", "a", "waits for a of run r1")
		c.succeed("r1", "a")
		if m := c.ends("r2", pipeline.RunSucceeded)["a"]; m.State != pipeline.ModuleCached {
			t.Errorf("a of r2 is %s", m.State)
		}
	})
}

// A lookup that takes too long is given up: the module runs and is not cached.
func TestCache_slowLookup(t *testing.T) {
	caching(t, []int{1}, func(t *testing.T, c *cluster, f *fakeResults) {
		f.set(func(f *fakeResults) { f.slow = time.Hour })
		c.leads()
		pass(2 * time.Second)
		c.submit("r1", one(cached("a"), aModule("b")))
		c.wantWhy("r1", "a", "the result cache is being searched")
		c.succeed("r1", "b") // does not wait for the lookup
		pass(15 * time.Second)
		c.succeed("r1", "a")
		c.ends("r1", pipeline.RunSucceeded)
		if got := c.missed("r1", "a"); !strings.Contains(got, "its input files cannot be read") {
			t.Errorf("missed because %q", got)
		}
	})
}

// A module that no worker fits is not looked up: its platform is not known.
func TestCache_noPlatform(t *testing.T) {
	caching(t, []int{1}, func(t *testing.T, c *cluster, f *fakeResults) {
		c.leads()
		pass(2 * time.Second)
		c.submit("r1", one(with(cached("a"), func(m *pipeline.Module) { m.Requires.Tags = []string{"gpu"} })))
		c.wantWhy("r1", "a", "no worker has tag gpu (there is none)")
		f.set(func(f *fakeResults) {
			if f.asked != 0 {
				t.Errorf("%d lookups", f.asked)
			}
		})
		c.setWorker("w1", func(w *fakeWorker) { w.tags = []string{"gpu"} })
		c.succeed("r1", "a")
		c.ends("r1", pipeline.RunSucceeded)
	})
}

// A module that had succeeded and was selected to run again does not use the result
// of its own first run.
func TestCache_rerun(t *testing.T) {
	caching(t, []int{1}, func(t *testing.T, c *cluster, _ *fakeResults) {
		c.leads()
		c.submit("r1", one(cached("a"), aModule("b", "a")))
		c.succeed("r1", "a")
		c.fail("r1", "b")
		c.ends("r1", pipeline.RunFailed)
		c.retry("r1", "a", "b")
		c.succeed("r1", "a")
		if got := c.missed("r1", "a"); got != "it had succeeded and was started again" {
			t.Errorf("missed because %q", got)
		}
		c.succeed("r1", "b")
		c.ends("r1", pipeline.RunSucceeded)
	})
}

// A forecast says what the cache would do, without running anything.
func TestForecast(t *testing.T) {
	caching(t, []int{1}, func(t *testing.T, c *cluster, _ *fakeResults) {
		c.leads()
		pass(2 * time.Second)
		made := with(cached("made"), func(m *pipeline.Module) { m.Outputs = []string{"x"} })
		other := with(cached("other"), func(m *pipeline.Module) { m.Command = []string{"other"}; m.Outputs = []string{"y"} })
		p := one(made, cached("uses", "made"), other, cached("after", "other"),
			with(cached("gpu"), func(m *pipeline.Module) { m.Requires.Tags = []string{"gpu"} }), aModule("plain"))
		first := one(made, cached("uses", "made"))
		c.submit("r1", first)
		c.end("r1", "made", pipeline.Outcome{State: pipeline.AttemptSucceeded, Outputs: "d1"})
		c.succeed("r1", "uses")
		c.ends("r1", pipeline.RunSucceeded)

		list, err := c.orch.Load().Forecast(context.Background(), pipeline.Run{ID: "x", Pipeline: "p", Modules: len(p.Modules)}, &p)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range list {
			switch {
			case f.CachedFrom != nil:
				got = append(got, f.Name+" from "+string(f.CachedFrom.Run)+"/"+f.CachedFrom.Module)
			case f.Unknown != "":
				got = append(got, f.Name+": "+f.Unknown)
			default:
				got = append(got, f.Name+" missed: "+strings.Join(f.Missed, "; "))
			}
		}
		want := []string{"made from r1/made", "uses from r1/uses", "other missed: it has no cached result yet",
			"after: known after other", "gpu: no worker has tag gpu (there is none)"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if n := c.starts("x", "made"); n != 0 {
			t.Error("a forecast ran something")
		}

		off, err := c.orch.Load().Forecast(context.Background(), pipeline.Run{ID: "x", Pipeline: "p", Modules: len(p.Modules), Cache: pipeline.CacheOff}, &p)
		if err != nil || off != nil {
			t.Errorf("with the cache off: %v, %v", off, err)
		}
	})
}
