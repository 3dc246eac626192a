package service

import (
	"cmp"
	"context"
	"slices"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
)

// runningLimit bounds an answer.
const runningLimit = 1000

// Running lists the attempts that are assigned or run, the oldest first; with a name
// those of one node.
func (c *Cluster) Running(_ context.Context, node string) (wire.RunningList, error) {
	out := wire.RunningList{Running: []wire.Running{}}
	err := c.cfg.State.View(func(v *fsm.View) error {
		for _, run := range v.Active() {
			if run.Live == 0 {
				continue
			}
			for name, m := range v.Modules(run.ID) {
				if a := m.Last(); a != nil && !a.State.Final() && (node == "" || a.WorkerName == node) {
					out.Running = append(out.Running, wire.Running{Run: run.ID, Number: run.Number, Pipeline: run.Pipeline, Module: name, Attempt: a.Number,
						Node: a.WorkerName, AssignedAt: a.AssignedAt.UTC(), StartedAt: wire.TimeOf(a.StartedAt)})
				}
			}
		}
		return nil
	})
	slices.SortFunc(out.Running, func(a, b wire.Running) int {
		return cmp.Or(a.AssignedAt.Compare(b.AssignedAt), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Module, b.Module))
	})
	if n := len(out.Running); n > runningLimit {
		out.Running, out.More = out.Running[:runningLimit], n-runningLimit
	}
	return out, err
}
