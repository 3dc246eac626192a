package service_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// The leader commits what changes about nodes once, also a leader that has just begun,
// and tries again if it cannot.
func TestRoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cluster.changes = make(chan struct{}, 1)
		see := func(status string) {
			r.cluster.others = nil
			if status != "" {
				r.cluster.others = []cluster.Member{{ID: "n2", Name: "two", Status: status}}
			}
			r.cluster.changes <- struct{}{}
			synctest.Wait()
		}
		lead := func() (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				service.NewRoll(service.RollConfig{State: r.state, Members: r.cluster.Members, Changes: r.cluster.Changes, Logger: hclog.NewNullLogger()}).Lead(ctx)
			}()
			synctest.Wait()
			return func() { cancel(); <-done }
		}
		names := func() (list []string) {
			r.view(func(v *fsm.View) {
				v.Events(0, func(events []pipeline.Event) bool {
					for _, e := range events {
						list = append(list, e.Type.Kind().Name+" "+e.Node)
					}
					return true
				})
			})
			return list
		}

		stop := lead()
		see(cluster.StatusAlive)
		see(cluster.StatusFailed)
		see("") // not heard of
		stop()
		stop = lead() // another leader sees the same
		see(cluster.StatusFailed)
		see(cluster.StatusAlive)
		r.loseLeader()
		see(cluster.StatusLeft)
		r.leader.leading.Store(true)
		r.cluster.leader = "n1"
		time.Sleep(2 * time.Second)
		synctest.Wait()
		stop()

		want := []string{"node.joined one", "node.joined two", "node.lost two", "node.returned two", "node.left two"}
		if got := names(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
