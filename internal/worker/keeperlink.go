package worker

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

// keeperCheckInterval is how often the incarnation of the keeper is compared.
const keeperCheckInterval = 500 * time.Millisecond

// keeperLink hands what the runner reports to the attempts.
type keeperLink struct {
	runner executor.Runner
	table  *table
	log    hclog.Logger
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
// answers, so nothing of them runs any more.
func (k *keeperLink) watch(ctx context.Context) {
	t := time.NewTicker(keeperCheckInterval)
	defer t.Stop()
	known := k.runner.Incarnation()

	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
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
