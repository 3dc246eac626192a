package node

import (
	"context"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Estimate says what a run of a submission would look like.
func (b *backend) Estimate(ctx context.Context, by api.Subject, in wire.SubmitRequest) (wire.Estimate, error) {
	n := b.node()
	id := newRunID()
	def, err := n.compile(ctx, by, id, in)
	if err != nil {
		return wire.Estimate{}, err
	}
	e, err := n.orch.Estimate(ctx, pipeline.Run{ID: id, Pipeline: def.Name, Modules: len(def.Modules)}, def)
	out := wire.Estimate{Known: e.Known, Seconds: e.Took.Seconds(), CriticalPath: e.Critical, CriticalPathSeconds: e.CriticalTook.Seconds()}
	for i := range e.Modules {
		m := &e.Modules[i]
		out.Modules = append(out.Modules, wire.ModuleEstimate{Name: m.Name, ExpectedSeconds: m.Expected.Seconds(), StartSeconds: m.Start.Seconds(),
			EndSeconds: m.End.Seconds(), Worker: m.Worker, Waits: m.Waits,
			Succeeded: m.History.Succeeded, Failed: m.History.Failed, Other: m.History.Other})
	}
	return out, err
}
