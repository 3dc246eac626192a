package orchestrator_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// atMostOnce makes a module one that must not be started twice.
func atMostOnce(m *pipeline.Module) { m.OnLost = pipeline.LostFail }

// on_lost = "fail" repeats an attempt that surely never reached its worker.
func TestOnLostFail_unsent(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2*time.Second + 100*time.Millisecond)
		c.silence("w1", true, true) // its port refuses, and the leader has not noticed
		id := c.submit("r", one(with(aModule("a"), atMostOnce)))
		c.wantModule(id, "a", pipeline.ModuleRunning, "")
		c.silence("w1", true, false)
		c.wantModule(id, "a", pipeline.ModuleWaiting, "was lost")

		c.silence("w1", false, true)
		c.succeed(id, "a")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// A dispatch without an answer may have arrived: on_lost = "fail" does not repeat it.
func TestOnLostFail_unanswered(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)
		c.setWorker("w1", func(w *fakeWorker) { w.deaf = true })
		id := c.submit("r", one(with(aModule("a"), atMostOnce)))
		c.wantModule(id, "a", pipeline.ModuleRunning, "")
		settled()
		c.silence("w1", true, false)
		c.ends(id, pipeline.RunFailed)
		c.wantModule(id, "a", pipeline.ModuleFailed, `lost, and not repeated (on_lost = "fail")`)
	})
}

// A leader does not know what an earlier one dispatched. If the worker has lost its
// processes meanwhile, or its machine is gone, the attempt may have started.
func TestOnLostFail_anotherLeader(t *testing.T) {
	for name, gone := range map[string]func(c *cluster, w *fakeWorker){
		"daemon and keeper are back at once": func(c *cluster, w *fakeWorker) {
			c.setWorker(w.id, func(w *fakeWorker) { w.life = "-2"; clear(w.held) })
		},
		"the machine is gone": func(c *cluster, w *fakeWorker) { c.silence(w.id, true, false) },
	} {
		t.Run(name, func(t *testing.T) {
			scripted(t, []int{1, 1}, func(t *testing.T, c *cluster) {
				end := c.leads()
				id := c.submit("r", one(with(aModule("a"), atMostOnce)))
				w, _ := c.attempt(id, "a") // it runs, and no start was reported yet
				end()
				gone(c, w)
				c.leads()
				c.ends(id, pipeline.RunFailed)
				c.wantModule(id, "a", pipeline.ModuleFailed, `lost, and not repeated (on_lost = "fail")`)
				if n := c.starts(id, "a"); n != 1 {
					t.Errorf("%d starts", n)
				}
			})
		})
	}
}

// A worker that answers and takes nothing, because of its disk for example, keeps no
// module: what it does not take within its lease goes to another worker, and nothing
// more is assigned to it meanwhile although it is idle.
func TestDispatch_refused(t *testing.T) {
	scripted(t, []int{4, 1}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)
		c.setWorker("w1", func(w *fakeWorker) { w.deaf = true })
		id := c.submit("r", one(aModule("a")))
		c.wantModule(id, "a", pipeline.ModuleRunning, "")
		pass(time.Second)

		other := c.submit("s", one(aModule("b"), aModule("c")))
		if w, _ := c.attempt(other, "b"); w.id != "w2" {
			t.Errorf("b was assigned to %s, which takes nothing", w.id)
		}
		pass(3 * time.Second)
		if m := c.module(id, "a"); m.Losses != 0 {
			t.Error("given up within the lease")
		}
		pass(3 * time.Second)
		c.wantModule(id, "a", pipeline.ModuleWaiting, "worker w1 did not take it for")
		c.succeed(other, "b")

		if w, _ := c.attempt(id, "a"); w.id != "w2" {
			t.Errorf("a was repeated on %s", w.id)
		}
		if n := c.calls("w1"); n > 10 {
			t.Errorf("%d dispatches in 7 s to a worker that takes none", n)
		}
		c.succeed(id, "a")
		c.succeed(other, "c")
		c.ends(id, pipeline.RunSucceeded)
		c.ends(other, pipeline.RunSucceeded)
	})
}

// A worker that takes modules again gets them.
func TestDispatch_takenAgain(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		pass(2 * time.Second)
		c.setWorker("w1", func(w *fakeWorker) { w.deaf = true })
		id := c.submit("r", one(aModule("a"), aModule("b")))
		c.wantModule(id, "a", pipeline.ModuleWaiting, "worker w1 did not take it")
		c.wantWhy(id, "b", "takes nothing new: it did not take a module: no answer in time")
		c.setWorker("w1", func(w *fakeWorker) { w.deaf = false })
		c.succeed(id, "a", "b")
		c.ends(id, pipeline.RunSucceeded)
	})
}

// An external worker is not compared with, and given up all the same.
func TestDispatch_refusedExternal(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		c.external("e1", "i1", "https://e1", "gpu")
		c.setWorker("e1", func(w *fakeWorker) { w.deaf = true })
		id := c.submit("r", one(needs("a", "gpu")))
		c.wantModule(id, "a", pipeline.ModuleRunning, "")
		c.beat("e1", 7*time.Second)
		c.wantModule(id, "a", pipeline.ModuleWaiting, "worker e1 did not take it for 6s")
		if n := c.calls("e1"); n > 16 {
			t.Errorf("%d dispatches in 7 s", n)
		}
	})
}

// calls is how many dispatches a worker has got.
func (c *cluster) calls(id pipeline.NodeID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers[id].calls
}
