package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// external registers an external worker. The fake transport knows it, but it is no
// member and is not compared with.
func (c *cluster) external(id pipeline.NodeID, incarnation, endpoint string, tags ...string) *fakeWorker {
	c.tb.Helper()
	c.mu.Lock()
	w := c.workers[id]
	if w == nil {
		w = &fakeWorker{id: id, external: true, held: map[pipeline.AttemptID]pipeline.Spec{}, ended: map[pipeline.AttemptID]pipeline.AttemptState{}}
		c.workers[id] = w
	}
	c.mu.Unlock()
	c.must(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: id, Name: string(id), External: true, Endpoint: endpoint,
		Incarnation: incarnation, Capabilities: pipeline.Capabilities{OS: "linux", Arch: "arm64", MaxParallelModules: 2, Tags: tags}}}})
	return w
}

// beat sends heartbeats of an external worker while d passes.
func (c *cluster) beat(id pipeline.NodeID, d time.Duration) {
	c.tb.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); pass(2 * time.Second) {
		if known, _, err := c.orch.Load().Heartbeat(context.Background(), id, 0); err != nil || !known {
			c.tb.Fatalf("heartbeat: known %v, %v", known, err)
		}
	}
}

// needs returns a module that requires a tag.
func needs(name, tag string) pipeline.Module {
	return with(aModule(name), func(m *pipeline.Module) { m.Requires.Tags = []string{tag} })
}

// An external worker gets only modules that require one of its tags, and keeps its
// attempts while it sends heartbeats.
func TestExternal_heartbeats(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		w := c.external("e1", "i1", "https://e1", "gpu")
		id := c.submit("r", one(needs("train", "gpu"), aModule("plain")))
		if got, _ := c.attempt(id, "train"); got != w {
			t.Errorf("train runs on %s", got.id)
		}
		if got, _ := c.attempt(id, "plain"); got == w {
			t.Error("a module without a tag runs on an external worker")
		}
		c.beat("e1", time.Minute)
		if m := c.module(id, "train"); m.Losses != 0 {
			t.Error("lost while it sends heartbeats")
		}
		c.succeed(id, "train", "plain")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// Three missed heartbeats make an external worker offline and its attempts lost.
func TestExternal_silent(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		c.external("e1", "i1", "https://e1", "gpu")
		id := c.submit("r", one(needs("train", "gpu")))
		c.attempt(id, "train")
		c.beat("e1", 4*time.Second)
		pass(3 * time.Second)
		if m := c.module(id, "train"); m.Losses != 0 {
			t.Error("lost after one missed heartbeat")
		}
		pass(5 * time.Second)
		if m := c.module(id, "train"); m.Losses != 1 {
			t.Errorf("%d losses", m.Losses)
		}
		c.wantStatus("e1", pipeline.WorkerOffline)
		c.wantWhy(id, "train", "the only worker with tag gpu (e1) is offline")
	})
}

// One that is not registered is told so; one that drains hears it.
func TestExternal_heartbeatAnswers(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		if known, _, err := c.orch.Load().Heartbeat(t.Context(), "e9", 0); known || err != nil {
			t.Errorf("known %v, %v", known, err)
		}
		c.external("e1", "i1", "https://e1", "gpu")
		c.wantStatus("e1", pipeline.WorkerOnline)
		c.must(&fsm.Command{Worker: &fsm.Worker{Only: "drain", Record: fsm.WorkerRecord{ID: "e1", Draining: true}}})
		c.wantStatus("e1", pipeline.WorkerDraining)
		if known, drain, err := c.orch.Load().Heartbeat(t.Context(), "e1", 0); !known || !drain || err != nil {
			t.Errorf("known %v, drain %v, %v", known, drain, err)
		}
	})
}

// A new registration has lost what the former one had.
func TestExternal_registersAgain(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		c.external("e1", "i1", "https://e1", "gpu")
		id := c.submit("r", one(needs("train", "gpu")))
		c.attempt(id, "train")
		c.setWorker("e1", func(w *fakeWorker) { w.life = "-2"; clear(w.held) })
		c.external("e1", "i2", "https://e1", "gpu")
		c.wantModule(id, "train", pipeline.ModuleRunning, "")
		testutil.Eventually(t, 20*time.Second, func() error {
			if m := c.module(id, "train"); m.Losses != 1 || m.Attempts[0].Reason != "worker e1 registered again" {
				return fmt.Errorf("%+v", m)
			}
			return nil
		})
		c.succeed(id, "train")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// A dispatch to an external worker that failed is repeated, though it is not
// compared with.
func TestExternal_redispatch(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		c.external("e1", "i1", "https://e1", "gpu")
		c.setWorker("e1", func(w *fakeWorker) { w.deaf = true })
		id := c.submit("r", one(needs("train", "gpu")))
		c.wantModule(id, "train", pipeline.ModuleRunning, "")
		pass(time.Second)
		c.setWorker("e1", func(w *fakeWorker) { w.deaf = false })
		c.succeed(id, "train")
		c.ends(id, pipeline.RunSucceeded)
		if n := c.starts(id, "train"); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
}

// What a worker's token does not admit is not placed there, and status says so.
func TestExternal_scope(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.vault = &fakeVault{secrets: map[string]string{"KEY": "s3cret"}}
		c.leads()
		c.external("e1", "i1", "https://e1", "gpu")
		c.wantStatus("e1", pipeline.WorkerOnline)
		c.must(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: "e1", Name: "e1", External: true, Endpoint: "https://e1", Incarnation: "i1",
			Capabilities: pipeline.Capabilities{MaxParallelModules: 2, Tags: []string{"gpu"}}, NoSecrets: true, Pipelines: []string{"train-*"}}}})

		secret := one(with(needs("train", "gpu"), func(m *pipeline.Module) { m.Secrets = []string{"KEY"} }))
		secret.Name = "train-1"
		c.wantWhy(c.submit("a", secret), "train", "it has secrets, and the token of worker e1 does not admit them (token create -secrets)")
		other := one(needs("train", "gpu"))
		other.Name = "release"
		c.wantWhy(c.submit("b", other), "train", "the token of worker e1 admits other pipelines only (token create -pipeline)")
		allowed := one(needs("train", "gpu"))
		allowed.Name = "train-2"
		id := c.submit("c", allowed)
		c.succeed(id, "train")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// Secrets go to no worker over plain HTTP.
func TestExternal_secrets(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.vault = &fakeVault{secrets: map[string]string{"KEY": "s3cret"}}
		c.leads()
		c.external("e1", "i1", "http://e1", "gpu")
		c.wantStatus("e1", pipeline.WorkerOnline)
		id := c.submit("r", one(with(needs("train", "gpu"), func(m *pipeline.Module) { m.Secrets = []string{"KEY"} })))
		c.wantWhy(id, "train", "its secrets are not sent over plain http, and worker e1 has no https endpoint")
		c.external("e1", "i1", "https://e1", "gpu")
		_, s := c.attempt(id, "train")
		if s.Secrets["KEY"] != "s3cret" || !s.Private {
			t.Errorf("it gets %v, private %v", s.Secrets, s.Private)
		}
		c.succeed(id, "train")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// Why modules are not placed, as the workers are.
func TestWhy_workers(t *testing.T) {
	type setup func(c *cluster)
	set := func(id pipeline.NodeID, change func(*fakeWorker)) setup {
		return func(c *cluster) { c.setWorker(id, change) }
	}
	large := func(change func(*pipeline.Module)) pipeline.Module {
		return with(aModule("a"), func(m *pipeline.Module) { m.Resources.CPU = 64; change(m) })
	}
	for _, tc := range []struct {
		name   string
		slots  []int
		setup  setup
		module pipeline.Module
		want   string
	}{
		{"no worker at all", nil, nil, aModule("a"), "the cluster has no worker"},
		{"no such tag", []int{1}, nil, needs("a", "js"), "no worker has tag js (there is none)"},
		{"the only one is away from gossip", []int{1}, set("w1", func(w *fakeWorker) { w.mute, w.alive = true, false }), aModule("a"), "the only worker (w1) is offline"},
		{"the only one with its tag", []int{1, 1}, func(c *cluster) {
			c.setWorker("w1", func(w *fakeWorker) { w.closed = "its disk is full" })
		}, needs("a", "js"), "the only worker with tag js (w1) takes nothing new: its disk is full"},
		{"two that do not take work", []int{1, 1}, func(c *cluster) {
			c.setWorker("w1", func(w *fakeWorker) { w.closed = "its disk is full" })
			c.setWorker("w2", func(w *fakeWorker) { w.mute, w.alive = true, false })
		}, aModule("a"), "no worker is available: w1 takes nothing new: its disk is full, w2 is offline"},
		{"too large", []int{1}, nil, large(func(*pipeline.Module) {}), "no worker has 64 processors; the largest has 4 processors"},
		{"too large, with a lock", []int{1}, nil, large(func(m *pipeline.Module) { m.Locks = []string{"k"} }), "no worker has 64 processors; the largest has 4 processors"},
		{"too large, with the cache", []int{1}, nil, large(func(m *pipeline.Module) { m.Cache = true }), "no worker has 64 processors; the largest has 4 processors"},
		{"more than are named", make([]int, 6), func(c *cluster) {
			c.setAll(func(w *fakeWorker) { w.slots, w.closed = 1, "its disk is full" })
		}, aModule("a"), "w4 takes nothing new: its disk is full, …"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scripted(t, tc.slots, func(t *testing.T, c *cluster) {
				c.setAll(func(w *fakeWorker) { w.cpu, w.memory = 4, 8<<30 })
				c.results = &fakeResults{}
				if len(tc.slots) > 0 && tc.name != "no such tag" {
					c.setWorker("w1", func(w *fakeWorker) { w.tags = []string{"js"} })
				}
				c.leads()
				pass(2 * time.Second)
				if tc.setup != nil {
					tc.setup(c)
					c.memberChange()
					pass(3 * time.Second)
				}
				id := c.submit("r", one(tc.module))
				c.wantWhy(id, "a", tc.want)
			})
		})
	}
}

// What a module waits for among workers that it fits.
func TestWhy_busy(t *testing.T) {
	scripted(t, []int{1, 2}, func(t *testing.T, c *cluster) {
		c.setAll(func(w *fakeWorker) { w.cpu, w.memory = 4, 8<<30 })
		c.leads()
		pass(2 * time.Second)
		hog := with(aModule("hog"), func(m *pipeline.Module) { m.Resources = pipeline.Resources{CPU: 3, Memory: 1 << 30} })
		big := with(aModule("big"), func(m *pipeline.Module) { m.Resources.CPU = 2 })
		c.submit("r1", one(hog))
		w, _ := c.attempt("r1", "hog")
		if w.id != "w2" {
			t.Fatalf("hog runs on %s", w.id)
		}
		c.submit("r2", one(aModule("small")))
		c.attempt("r2", "small")
		c.submit("r3", one(big))
		c.wantWhy("r3", "big", "waits for 2 processors: w1 has 0 of 4 processors reserved, w2 has 3 of 4 processors reserved")
		c.submit("r4", one(aModule("a"), aModule("b")))
		c.attempt("r4", "a")
		c.wantWhy("r4", "b", "waits for a free slot: w1 has 1 of 1 in use, w2 has 2 of 2 in use")
	})
}

// A class that waits long for processors gets a worker reserved.
func TestWhy_reserved(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.setAll(func(w *fakeWorker) { w.cpu = 4 })
		c.leads()
		pass(2 * time.Second)
		cpu := func(name string, n float64) pipeline.Module {
			return with(aModule(name), func(m *pipeline.Module) { m.Resources.CPU = n })
		}
		c.submit("r1", one(cpu("one", 1), cpu("two", 1)))
		c.attempt("r1", "two")
		c.submit("r2", one(cpu("all", 4)))
		c.wantWhy("r2", "all", "waits for 4 processors: w1 has 2 of 4 processors reserved")
		pass(16 * time.Second)
		c.submit("r3", one(cpu("small", 1)))
		c.wantWhy("r3", "small", "waits: w1 is reserved for all of run r2, which has waited long for 4 processors")
		c.succeed("r1", "one", "two")
		c.attempt("r2", "all")
		c.succeed("r2", "all")
		c.succeed("r3", "small")
		c.ends("r3", pipeline.RunSucceeded)
	})
}

// The workers as the API shows them.
func TestWorkers_list(t *testing.T) {
	scripted(t, []int{3, 1}, func(t *testing.T, c *cluster) {
		c.setAll(func(w *fakeWorker) { w.cpu, w.memory, w.tags = 4, 8<<30, []string{"x"} })
		c.leads()
		pass(2 * time.Second)
		id := c.submit("r", one(with(aModule("a"), func(m *pipeline.Module) { m.Resources = pipeline.Resources{CPU: 1.5, Memory: 1 << 20} })))
		w, _ := c.attempt(id, "a")
		list, err := c.orch.Load().Workers(t.Context())
		if err != nil || len(list) != 2 || list[0].Name != "w1" {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, x := range list {
			load, cpu := 0, 0.0
			if x.ID == w.id {
				load, cpu = 1, 1.5
			}
			if x.CurrentLoad != load || x.Reserved.CPU != cpu || x.Status != pipeline.WorkerOnline || x.Capabilities.CPU != 4 {
				t.Errorf("%+v", x)
			}
		}
		names, of, err := c.orch.Load().Able(t.Context(), &pipeline.Module{Requires: pipeline.Requires{Tags: []string{"X"}}})
		if err != nil || of != 2 || fmt.Sprint(names) != "[w1 w2]" {
			t.Errorf("able: %v of %d, %v", names, of, err)
		}
		names, of, err = c.orch.Load().Able(t.Context(), &pipeline.Module{Resources: pipeline.Resources{CPU: 5}})
		if err != nil || of != 2 || len(names) != 0 {
			t.Errorf("able: %v of %d, %v", names, of, err)
		}
	})
}

// A worker that says with its reports that it is full gets nothing new until it
// answers a comparison.
func TestWorkers_full(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)
		id := c.submit("r", one(aModule("a"), aModule("b", "a")))
		w, s := c.attempt(id, "a")
		c.setWorker(w.id, func(w *fakeWorker) { w.closed = "its disk is full" })
		c.finishFull(w, s.ID, "its disk is full")
		c.wantWhy(id, "b", "the only worker (w1) takes nothing new: its disk is full")
		pass(time.Minute)
		if n := c.starts(id, "b"); n != 0 {
			t.Error("started on a full worker")
		}
		c.setWorker(w.id, func(w *fakeWorker) { w.closed = "" })
		c.succeed(id, "b")
		c.ends(id, pipeline.RunSucceeded)
	})
}
