package node

import (
	"context"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Decide takes a person's word about a module that waits for it. Who may is
// looked at here, since the state machine knows no definitions; which of two
// decisions counts is the state machine's.
func (b *backend) Decide(ctx context.Context, by api.Subject, id pipeline.RunID, in api.ApprovalDecision) (wire.Module, error) {
	n, module, d, comment := b.node(), in.Module, in.Decision, in.Comment
	var def pipeline.Module
	err := n.store.View(func(v *fsm.View) (err error) {
		def, err = approvalIn(v, id, module)
		return err
	})
	if err != nil {
		return wire.Module{}, err
	}
	if !def.Approval.May(by.Name) {
		return wire.Module{}, pipeline.Errorf(pipeline.Forbidden, "%s takes the word of %s; you are %s", module, strings.Join(def.Approval.Approvers, ", "), by.Name)
	}
	op := fsm.Decide{Run: id, Module: module, Decision: d, By: by.Name, Comment: comment, Reason: string(d) + " by " + by.Name,
		Ignored: def.IgnoreFailure}
	if comment != "" {
		op.Reason += ": " + strings.Join(strings.Fields(comment), " ")
	}
	_, err = n.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Decide: &op})
	if err != nil {
		return wire.Module{}, err
	}
	n.log.Info("decided", "run", id, "module", module, "decision", d, "by", by.Name)
	n.state.Fresh(ctx) // leadership may have moved on meanwhile
	var out wire.Module
	err = n.store.View(func(v *fsm.View) error {
		rec := v.Module(id, module)
		out = moduleOf(&def, &rec)
		return nil
	})
	return out, err
}

// approvalIn finds a module of a run that waits for a person, or would.
func approvalIn(v *fsm.View, id pipeline.RunID, module string) (pipeline.Module, error) {
	if _, ok := v.Run(id); !ok {
		return pipeline.Module{}, noRun(id)
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
			return *m, pipeline.Errorf(pipeline.Invalid, "module %s is no approval; %s", module, approvals(mods))
		case m.Name == module:
			return *m, nil
		case m.Of == module:
			instances = append(instances, m.Name)
		}
	}
	if len(instances) > 0 {
		return pipeline.Module{}, pipeline.Errorf(pipeline.Invalid, "%s has instances, which are decided one by one: %s", module, some(instances))
	}
	return pipeline.Module{}, noModule(id, module, mods)
}

// approvals says which modules of a run do.
func approvals(mods []pipeline.Module) string {
	var names []string
	for i := range mods {
		if mods[i].Approval != nil {
			names = append(names, mods[i].Name)
		}
	}
	if len(names) == 0 {
		return "the run has none"
	}
	return "those of the run are " + some(names)
}

// some lists the first few names.
func some(names []string) string {
	const most = 20
	if len(names) > most {
		names = append(append([]string(nil), names[:most]...), "…")
	}
	return strings.Join(names, ", ")
}

// gateOf is what the API shows of a module's approval; nil where it has none.
func gateOf(def *pipeline.Module, rec *pipeline.ModuleRecord) *wire.Approval {
	if def.Approval == nil {
		return nil
	}
	out := &wire.Approval{Message: def.Approval.Message, Approvers: def.Approval.Approvers}
	if g := rec.ApprovalWait; g != nil {
		out.Message, out.Since, out.Deadline = g.Message, timeOf(g.Since), timeOf(g.Deadline)
		out.Decision, out.By, out.Comment, out.DecidedAt = string(g.Decision), g.By, g.Comment, timeOf(g.DecidedAt)
	}
	return out
}
