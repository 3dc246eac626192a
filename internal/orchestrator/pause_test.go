package orchestrator_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// A leader that did not run for a while does not take that time for the silence of
// its workers, its own machine's among them. Silence before and after it counts.
func TestLosses_leaderPaused(t *testing.T) {
	for name, silentAfter := range map[string]bool{"it answers": false, "it is gone": true} {
		t.Run(name, func(t *testing.T) {
			scripted(t, []int{1}, func(t *testing.T, c *cluster) {
				c.leads()
				id := c.submit("r", one(aModule("a")))
				w, _ := c.attempt(id, "a")
				pass(2 * time.Second)

				const paused = 10 * time.Minute
				c.setWorker(w.id, func(w *fakeWorker) { w.mute = true })
				c.mu.Lock()
				c.pause = paused
				c.mu.Unlock()
				c.memberChange()
				pass(paused)
				c.setWorker(w.id, func(w *fakeWorker) { w.mute = silentAfter })

				pass(30 * time.Second)
				if m := c.module(id, "a"); m.Losses != 0 {
					t.Fatalf("lost because the leader was paused: %q", m.Reason)
				}
				if silentAfter {
					pass(10 * time.Second)
					if m := c.module(id, "a"); m.Losses != 1 {
						t.Errorf("%d losses after a real silence", m.Losses)
					}
					return
				}
				c.succeed(id, "a")
				c.ends(id, pipeline.RunSucceeded)
			})
		})
	}
}
