package wire

import "github.com/pipelined/pipelined/pipeline"

// Estimate answers POST /api/v1/estimate: what a run would look like if all
// workers were idle.
type (
	Estimate       = pipeline.Estimate
	ModuleEstimate = pipeline.ModuleEstimate
)
