package service

import (
	"context"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Decide approves or rejects a module. Whether the subject may decide is checked
// here, because the state machine knows no definitions; which of two decisions
// counts is the state machine's to say.
func (r *Runs) Decide(ctx context.Context, by api.Subject, id pipeline.RunID, in api.ApprovalDecision) (wire.Module, error) {
	module := in.Module
	if !r.state.Fresh(ctx) { // the run may have been made on another node a moment ago
		return wire.Module{}, pipeline.ErrNoLeader
	}
	var def pipeline.Module
	err := r.state.View(func(v *fsm.View) (err error) {
		def, err = approvalIn(v, id, module)
		return err
	})
	if err != nil {
		return wire.Module{}, err
	}
	if !def.Approval.May(by.Name) {
		return wire.Module{}, pipeline.Errorf(pipeline.Forbidden, "%s can be decided by %s; you are %s", module, strings.Join(def.Approval.Approvers, ", "), by.Name)
	}

	op := fsm.Decide{Run: id, Module: module, Decision: in.Decision, By: by.Name, Comment: in.Comment, Reason: string(in.Decision) + " by " + by.Name,
		Ignored: def.IgnoreFailure}
	if in.Comment != "" {
		op.Reason += ": " + strings.Join(strings.Fields(in.Comment), " ")
	}
	at := time.Now().UTC()
	if _, err = r.state.Propose(ctx, &fsm.Command{At: at, Decide: &op}); err != nil {
		return wire.Module{}, err
	}

	r.state.Fresh(ctx) // the decision may have been committed by another node
	var out wire.Module
	var run pipeline.Run
	err = r.state.View(func(v *fsm.View) error {
		run, _ = v.Run(id)
		record := v.Module(id, module)
		out = moduleOf(&def, &record)
		// The decision that counts may be an earlier one, which is the same.
		if a := record.ApprovalWait; a != nil && out.Approval != nil {
			out.Approval.Repeated = a.By != op.By || !a.DecidedAt.Equal(at)
		}
		return nil
	})
	if err == nil && (out.Approval == nil || !out.Approval.Repeated) {
		r.log.Info("approval decided", run.ModuleLogFields(module, "decision", in.Decision, "by", by.Name)...)
	}
	return out, err
}

// approvalIn finds a module of a run that has an approval.
func approvalIn(v *fsm.View, id pipeline.RunID, module string) (pipeline.Module, error) {
	if _, ok := v.Run(id); !ok {
		return pipeline.Module{}, pipeline.NoRun(id)
	}
	mods, err := v.RunModules(id)
	if err != nil {
		return pipeline.Module{}, err
	}

	var instances []string
	for i := range mods {
		m := &mods[i]
		switch {
		case m.Name == module && m.Approval == nil:
			return *m, pipeline.Errorf(pipeline.Invalid, "module %s is no approval; %s", module, approvalsIn(mods))
		case m.Name == module:
			return *m, nil
		case m.Of == module:
			instances = append(instances, m.Name)
		}
	}
	if len(instances) > 0 {
		return pipeline.Module{}, pipeline.Errorf(pipeline.Invalid, "%s has instances, which are decided one by one: %s", module, pipeline.SomeNames(instances))
	}
	return pipeline.Module{}, pipeline.NoModule(id, module, mods)
}

// approvalsIn says which modules of a run have an approval.
func approvalsIn(mods []pipeline.Module) string {
	var names []string
	for i := range mods {
		if mods[i].Approval != nil {
			names = append(names, mods[i].Name)
		}
	}
	if len(names) == 0 {
		return "the run has none"
	}
	return "those of the run are " + pipeline.SomeNames(names)
}

// approvalOf is what the API shows of a module's approval; nil if it has none.
func approvalOf(def *pipeline.Module, record *pipeline.ModuleRecord) *wire.Approval {
	if def.Approval == nil {
		return nil
	}

	out := &wire.Approval{Message: def.Approval.Message, Approvers: def.Approval.Approvers}
	if a := record.ApprovalWait; a != nil {
		out.Message, out.Since, out.Deadline = a.Message, wire.TimeOf(a.Since), wire.TimeOf(a.Deadline)
		out.Decision, out.By, out.Comment, out.DecidedAt = string(a.Decision), a.By, a.Comment, wire.TimeOf(a.DecidedAt)
	}
	return out
}
