package service

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Approvals lists the modules that wait for an approval, what waits longest first. The
// counter of a run says whether its modules need to be read.
func (r *Runs) Approvals(_ context.Context, by api.Subject) (wire.ApprovalList, error) {
	out := wire.ApprovalList{Approvals: []wire.PendingApproval{}}
	err := r.state.View(func(v *fsm.View) error {
		for _, run := range v.Active() {
			if run.Approvals == 0 {
				continue
			}
			mods, err := v.RunModules(run.ID)
			if err != nil {
				return err
			}
			for i := range mods {
				if mods[i].Approval == nil {
					continue
				}
				record := v.Module(run.ID, mods[i].Name)
				if w := record.ApprovalWait; w != nil && w.Decision == "" && !record.State.Final() {
					out.Approvals = append(out.Approvals, pendingApproval(&run, &mods[i], w, by))
				}
			}
		}
		return nil
	})
	slices.SortStableFunc(out.Approvals, func(a, b wire.PendingApproval) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Number, b.Number), strings.Compare(a.Module, b.Module))
	})
	return out, err
}

func pendingApproval(r *pipeline.Run, m *pipeline.Module, w *pipeline.ApprovalWait, by api.Subject) wire.PendingApproval {
	a := wire.PendingApproval{Run: r.ID, Number: r.Number, Pipeline: r.Pipeline, Submitter: r.Submitter, Module: m.Name, Message: w.Message,
		Approvers: m.Approval.Approvers, Since: w.Since.UTC(), Deadline: wire.TimeOf(w.Deadline),
		May: (by.Role == api.RoleSubmit || by.Role == api.RoleAdmin) && m.Approval.May(by.Name)}
	if a.Deadline != nil {
		a.OnTimeout = cmp.Or(m.Approval.OnTimeout, pipeline.TimeoutReject)
	}
	return a
}
