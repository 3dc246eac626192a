package orchestrator_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// locked returns a module with keys of not_in_parallel.
func locked(name string, keys ...string) pipeline.Module {
	return with(aModule(name), func(m *pipeline.Module) { m.Locks = keys })
}

// wantLocks waits until the keys, their holders and their waiters are these: "key:
// holder <- waiter waiter".
func (c *cluster) wantLocks(want ...string) {
	c.tb.Helper()
	testutil.Eventually(c.tb, 20*time.Second, func() error {
		list, err := c.orch.Load().Locks(context.Background())
		if err != nil {
			return err
		}
		var got []string
		for _, l := range list {
			text := l.Key + ":"
			if l.Limit > 1 || len(l.Holders) > 1 {
				text += fmt.Sprintf(" %d of %d", len(l.Holders), l.Limit)
			}
			for _, u := range l.Holders {
				text += " " + string(u.Run) + "/" + u.Module
			}
			if len(l.Waiters) > 0 {
				text += " <-"
			}
			for _, u := range l.Waiters {
				text += " " + string(u.Run) + "/" + u.Module
			}
			got = append(got, text)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("locks are %q, want %q", got, want)
		}
		return nil
	})
}

// A key goes to the module that has been ready longest, across all runs.
func TestLocks_order(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		first := c.submit("r1", one(locked("a", "k")))
		c.attempt(first, "a")
		for _, id := range []string{"r2", "r3", "r4"} {
			pass(time.Second)
			c.submit(id, one(locked("a", "k")))
		}
		c.wantLocks("k: r1/a <- r2/a r3/a r4/a")
		c.wantWhy("r3", "a", `waits for lock "k", which a of run r1 holds`)
		for i, id := range []pipeline.RunID{"r1", "r2", "r3", "r4"} {
			if got := c.starts(id, "a"); got != 1 && i == 0 {
				t.Errorf("%s has %d starts", id, got)
			}
			c.succeed(id, "a")
			c.ends(id, pipeline.RunSucceeded)
		}
		c.wantLocks()
	})
}

// A module gets all its keys or none, and one that is ahead keeps others from keys
// that it waits for.
func TestLocks_all(t *testing.T) {
	scripted(t, []int{8}, func(t *testing.T, c *cluster) {
		c.leads()
		c.submit("r1", one(locked("a", "x")))
		c.attempt("r1", "a")
		pass(time.Second)
		c.submit("r2", one(locked("both", "x", "y")))
		pass(time.Second)
		c.submit("r3", one(locked("y", "y")))
		c.submit("r4", one(locked("z", "z")))
		c.attempt("r4", "z") // has nothing to do with them
		c.wantLocks("x: r1/a <- r2/both", "y: <- r2/both r3/y", "z: r4/z")
		c.wantWhy("r3", "y", "waits for its locks: other modules are ahead of it")
		settled()
		if n := c.starts("r3", "y"); n != 0 {
			t.Error("it went ahead of one that waits for the same key")
		}

		c.succeed("r1", "a")
		c.attempt("r2", "both")
		c.wantLocks("x: r2/both", "y: r2/both <- r3/y", "z: r4/z")
		c.succeed("r2", "both")
		c.succeed("r3", "y")
		c.succeed("r4", "z")
		for _, id := range []pipeline.RunID{"r1", "r2", "r3", "r4"} {
			c.ends(id, pipeline.RunSucceeded)
		}
	})
}

// shared returns a module with a key that may have n holders.
func shared(name, key string, n int) pipeline.Module {
	return with(locked(name, key), func(m *pipeline.Module) { m.LockHolders = map[string]int{key: n} })
}

// A key with several holders is full when one of them, or the one that wants it, allows
// no more. One that allows few is not passed by those behind it that allow more.
func TestLocks_holders(t *testing.T) {
	scripted(t, []int{8}, func(t *testing.T, c *cluster) {
		end := c.leads()
		for i, n := range []int{3, 3, 1, 3, 2} {
			c.submit(fmt.Sprintf("r%d", i+1), one(shared("a", "gpu", n)))
			pass(time.Second)
		}
		c.wantLocks("gpu: 2 of 3 r1/a r2/a <- r3/a r4/a r5/a")
		c.wantWhy("r3", "a", `waits for lock "gpu": 2 of 3 holders, and it allows 1 (a of run r1, a of run r2)`)
		c.wantWhy("r4", "a", "waits for its locks: other modules are ahead of it")

		// The next leader knows the same.
		end()
		c.leads()
		c.wantLocks("gpu: 2 of 3 r1/a r2/a <- r3/a r4/a r5/a")
		c.succeed("r1", "a")
		settled()
		c.wantLocks("gpu: 1 of 3 r2/a <- r3/a r4/a r5/a")
		c.succeed("r2", "a")
		c.attempt("r3", "a")
		c.wantLocks("gpu: r3/a <- r4/a r5/a")
		c.wantWhy("r4", "a", `waits for lock "gpu": 1 of 1 holders (a of run r3)`)

		c.succeed("r3", "a")
		c.attempt("r4", "a")
		c.attempt("r5", "a")
		c.wantLocks("gpu: 2 of 2 r4/a r5/a")
		c.submit("r6", one(shared("a", "gpu", 5)))
		c.wantWhy("r6", "a", `waits for lock "gpu": 2 of 2 holders (a of run r4, a of run r5)`)
		c.succeed("r5", "a")
		c.attempt("r6", "a")
		c.succeed("r4", "a")
		c.succeed("r6", "a")
		c.ends("r6", pipeline.RunSucceeded)
		c.wantLocks()
	})
}

// A module that no worker could run gets no key: it would hold others up.
func TestLocks_fitsNoWorker(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		c.submit("r1", one(with(locked("gpu", "k"), func(m *pipeline.Module) { m.Requires.Tags = []string{"gpu"} })))
		c.wantWhy("r1", "gpu", "no worker has tag gpu")
		pass(time.Second)
		c.submit("r2", one(locked("a", "k")))
		c.succeed("r2", "a")
		c.ends("r2", pipeline.RunSucceeded)

		c.setWorker("w1", func(w *fakeWorker) { w.tags = []string{"GPU"} })
		c.succeed("r1", "gpu")
		c.ends("r1", pipeline.RunSucceeded)
	})
}

// A failed module hands its key over while it waits for its next attempt, and stands
// behind those that were ready before.
func TestLocks_handover(t *testing.T) {
	scripted(t, []int{2}, func(t *testing.T, c *cluster) {
		c.leads()
		c.submit("r1", one(with(locked("a", "k"), retried(2, time.Second))))
		c.attempt("r1", "a")
		pass(time.Second)
		c.submit("r2", one(locked("b", "k")))
		c.wantLocks("k: r1/a <- r2/b")
		c.fail("r1", "a")
		c.attempt("r2", "b")
		pass(2 * time.Second)
		c.wantLocks("k: r2/b <- r1/a")
		c.succeed("r2", "b")
		c.succeed("r1", "a")
		c.ends("r1", pipeline.RunSucceeded)
		c.ends("r2", pipeline.RunSucceeded)
	})
}

// The next leader knows who holds and who waits, in the same order.
func TestLocks_nextLeader(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		end := c.leads()
		for _, id := range []string{"r1", "r2", "r3"} {
			c.submit(id, one(locked("a", "k")))
			pass(time.Second)
		}
		c.attempt("r1", "a")
		end()
		end = c.leads()
		c.wantLocks("k: r1/a <- r2/a r3/a")
		c.succeed("r1", "a")
		c.attempt("r2", "a")
		end()
		c.leads()
		c.wantLocks("k: r2/a <- r3/a")
		c.succeed("r2", "a")
		c.succeed("r3", "a")
		c.ends("r3", pipeline.RunSucceeded)
	})
}

// A cancelled waiter leaves the queue; a cancelled holder hands over once it has
// ended.
func TestLocks_cancel(t *testing.T) {
	scripted(t, []int{4}, func(t *testing.T, c *cluster) {
		c.leads()
		for _, id := range []string{"r1", "r2", "r3"} {
			c.submit(id, one(locked("a", "k")))
			pass(time.Second)
		}
		c.wantLocks("k: r1/a <- r2/a r3/a")
		c.cancel("r2", "")
		c.wantLocks("k: r1/a <- r3/a")
		c.cancel("r1", "")
		c.ends("r1", pipeline.RunCancelled)
		c.succeed("r3", "a")
		c.ends("r3", pipeline.RunSucceeded)
		if n := c.starts("r2", "a"); n != 0 {
			t.Errorf("%d starts of what was cancelled", n)
		}
	})
}

// A module with locks is never queued behind another: it would hold them and wait.
func TestLocks_notQueuedAhead(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.execute = func(*fakeWorker, pipeline.Spec) *pipeline.Outcome { return quick(pipeline.AttemptSucceeded) }
		c.leads()
		p := pipeline.Pipeline{Name: "p"}
		for i := range 40 {
			p.Modules = append(p.Modules, locked(fmt.Sprintf("m%02d", i), "k"))
		}
		for name, m := range c.ends(c.submit("r", p), pipeline.RunSucceeded) {
			if len(m.Attempts) != 1 || m.Attempts[0].Predecessor != nil {
				t.Errorf("%s: %d attempts, after %v", name, len(m.Attempts), m.Attempts[0].Predecessor)
			}
			if !strings.HasPrefix(name, "m") {
				t.Errorf("module %q", name)
			}
		}
	})
}

// What is committed of why a module waited is true of that module: a lock that was free
// and what a sibling waited for are no reasons.
func TestPlanner_waited(t *testing.T) {
	scripted(t, []int{1}, func(t *testing.T, c *cluster) {
		c.leads()
		want := func(run pipeline.RunID, module, want string) {
			t.Helper()
			c.attempt(run, module)
			rec := c.module(run, module)
			if got := rec.Last().Waited; got != want {
				t.Errorf("%s of %s waited for %q, want %q", module, run, got, want)
			}
			c.succeed(run, module)
		}

		c.submit("r1", one(locked("a", "k")))
		c.attempt("r1", "a")
		c.submit("r2", one(locked("a", "k")))
		c.wantLocks("k: r1/a <- r2/a")
		want("r1", "a", "")
		want("r2", "a", "lock")

		first := with(aModule("first", "x"), func(m *pipeline.Module) { m.Priority = 1 })
		c.submit("r3", one(aModule("x"), aModule("y"), first))
		c.attempt("r3", "x")
		c.wantWhy("r3", "y", "slot")
		want("r3", "x", "")
		want("r3", "first", "")
		want("r3", "y", "slots")
	})
}
