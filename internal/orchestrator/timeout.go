package orchestrator

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
)

// runTimeouts cancels runs that exceed their timeout.
type runTimeouts struct {
	model     *model
	proposals *proposals
	logger    hclog.Logger
}

// check proposes the cancellation of runs whose deadline has passed. Tries goes
// with it, so that a run that was retried meanwhile is not cancelled.
func (t *runTimeouts) check(now time.Time) {
	for _, r := range t.model.runs {
		// A run whose end is proposed is past cancelling.
		end := r.deadline()
		if end.IsZero() || now.Before(end) || r.cancelling() || r.ended || r.expiring {
			continue
		}

		// Once, until it failed: the cancellation comes back as a change of the run.
		r.expiring = true
		c := &fsm.Cancel{Run: r.head.ID, TimedOut: true, Tries: r.head.Tries, Reason: "the run exceeded its timeout of " + r.def.Timeout.String()}
		_ = t.proposals.submit("timeout of a run", &fsm.Command{At: now.UTC(), Cancel: c}, func(_ any, err error) {
			if err != nil {
				t.logger.Warn("cancel a run that exceeded its timeout", r.head.LogFields("error", err)...)
				r.expiring = false
			}
		})
	}
}
