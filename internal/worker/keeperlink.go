package worker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

// keeperCheckInterval is how often the incarnation of the keeper is compared.
const keeperCheckInterval = 500 * time.Millisecond

// A keeper that answers none of so many questions in a row, each for so long, is
// paused or hangs.
const (
	keeperAnswer    = 2 * time.Second
	keeperQuestions = 2
)

// keeperLink renews the lease at the runner, and hands what the runner reports to
// the attempts.
type keeperLink struct {
	runner executor.Runner
	table  *table
	log    hclog.Logger

	mu sync.Mutex // guards following
	// leaseEnd is until when the runner has confirmed the lease, by executor.BootTime.
	leaseEnd time.Duration
}

func newKeeperLink(r executor.Runner, t *table, log hclog.Logger) *keeperLink {
	return &keeperLink{runner: r, table: t, log: log, leaseEnd: executor.BootTime()}
}

// renew lets the lease end at a time of executor.BootTime.
func (k *keeperLink) renew(ctx context.Context, until time.Duration) error {
	if err := k.runner.Renew(ctx, until); err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leaseEnd = max(k.leaseEnd, until)
	return nil
}

// overdue reports whether a process may still run that the runner should have
// ended, because the lease has lapsed.
func (k *keeperLink) overdue() bool {
	k.mu.Lock()
	late := executor.BootTime() > k.leaseEnd+executor.MaxLapseGrace
	k.mu.Unlock()
	return late && slices.ContainsFunc(k.table.all(), func(a *attempt) bool {
		return a.spec.OnDisconnect == pipeline.DisconnectKill && a.hasProcess() && !a.ended() && len(a.exit) == 0
	})
}

// routeExits hands each exit to its attempt until ctx ends.
func (k *keeperLink) routeExits(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case st, ok := <-k.runner.Exits():
			if !ok {
				return
			}
			k.route(ctx, st)
		}
	}
}

// route hands an exit over. One of an attempt that is not here was dealt with
// before: a runner repeats exits until they are forgotten.
func (k *keeperLink) route(ctx context.Context, st executor.Status) {
	id, err := pipeline.ParseAttemptID(st.ID)
	a := k.table.get(id)
	if err != nil || a == nil {
		if err := k.runner.Forget(ctx, st.ID); err != nil && ctx.Err() == nil {
			k.log.Warn("forget attempt", "attempt", st.ID, "error", err)
		}
		return
	}

	select {
	case a.exit <- st:
	default: // a repetition
	}
}

// watch gives up the attempts of a keeper that died while this daemon lived,
// until ctx ends. The new keeper has killed what the old one left before it
// answers, so nothing of them runs any more. A keeper that is paused, and so ends
// nothing when the lease lapses, is killed if something has to end.
func (k *keeperLink) watch(ctx context.Context) {
	t := time.NewTicker(keeperCheckInterval)
	defer t.Stop()
	known := k.runner.Incarnation()
	silent := 0

	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}

		// More than one question: this process may have been paused during the first.
		if !k.overdue() || k.answers(ctx) {
			silent = 0
		} else if silent++; silent >= keeperQuestions && ctx.Err() == nil {
			silent = 0
			k.kill()
		}

		now := k.runner.Incarnation()
		if now == known {
			continue
		}
		if err := k.giveUpOthers(ctx, now); err != nil {
			k.log.Warn("compare with the new keeper", "error", err)
			continue // known stays: the next tick tries again
		}
		known = now
	}
}

// answers asks the runner for anything.
func (k *keeperLink) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, keeperAnswer)
	defer cancel()
	_, err := k.runner.List(ctx)
	return err == nil
}

// kill kills the keeper, if the runner has one.
func (k *keeperLink) kill() {
	r, ok := k.runner.(interface{ KillKeeper() error })
	if !ok {
		return
	}
	k.log.Error("the keeper does not answer, and the lease has lapsed: killing it and what it holds")
	if err := r.KillKeeper(); err != nil {
		k.log.Error("kill keeper", "error", err)
	}
}

// giveUpOthers makes the attempts lost that other keepers than incarnation held,
// except those whose exit the new one knows.
func (k *keeperLink) giveUpOthers(ctx context.Context, incarnation string) error {
	list, err := k.runner.List(ctx)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, st := range list {
		has[st.ID] = true
	}

	for _, a := range k.table.all() {
		if !has[a.key] {
			a.loseKeeper(incarnation)
		}
	}
	return nil
}
