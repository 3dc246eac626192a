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
	return n.orch.Estimate(ctx, pipeline.Run{ID: id, Pipeline: def.Name, Modules: len(def.Modules)}, def)
}
