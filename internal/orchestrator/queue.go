package orchestrator

import (
	"cmp"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// recheckInterval is the time between two looks at runs that wait, whatever has
// happened.
const recheckInterval = 10 * time.Second

// runQueues lets runs start that wait in a queue: of a concurrency group, or of a
// schedule whose overlapping runs queue. The replicated state holds the queues and
// refuses whatever starts before its time; this part only notices when to look.
type runQueues struct {
	model  *model
	store  stateReader
	logger hclog.Logger
	resume func(*run)
	parked interface {
		unblock(*fsm.View)
		left(pipeline.RunID)
	}

	// moved is set if a run has left a queue, so that another may start.
	moved bool
	// recheckedAt is when all waiting runs were last looked at because of the time.
	recheckedAt time.Time
}

// left notes that a run has left the model.
func (q *runQueues) left(r *run) {
	q.parked.left(r.head.ID)
	if r.head.QueueIndex != 0 {
		q.moved = true
	}
}

// recheck makes the next admit look at all waiting runs if that was long ago, in
// case an event was missed.
func (q *runQueues) recheck(now time.Time) {
	if now.Sub(q.recheckedAt) > recheckInterval {
		q.recheckedAt, q.moved = now, true
	}
}

// admit resumes the runs that may start now, oldest first.
func (q *runQueues) admit() {
	if !q.moved {
		return
	}

	q.moved = false

	var list []*run
	for _, r := range q.model.runs {
		if r.blockedBy != "" && !r.stale && !r.cancelling() {
			list = append(list, r)
		}
	}

	slices.SortFunc(list, func(a, b *run) int { return cmp.Compare(a.head.QueueIndex, b.head.QueueIndex) })

	// The view is closed before anything is resumed: resuming reads the state too.
	err := q.store.View(func(v *fsm.View) error {
		for _, r := range list {
			_, r.blockedBy = v.WaitsFor(&r.head)
		}
		q.parked.unblock(v)
		return nil
	})
	if err != nil {
		q.logger.Error("read queues of runs", "error", err)
		return
	}

	for _, r := range list {
		if r.blockedBy == "" {
			q.resume(r)
		}
	}
}
