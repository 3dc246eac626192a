package node

import (
	"context"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/traces"
)

// openTraces opens what exports traces, as the variables of OpenTelemetry say; nil if
// nothing does. A mistake in them costs the traces and not the node.
func openTraces(ctx context.Context, cfg traces.Config, log hclog.Logger) *traces.Exporter {
	cfg.Getenv, cfg.Logger = os.Getenv, log.Named("traces")
	e, err := traces.Open(ctx, cfg)
	if err != nil {
		log.Warn("runs are not traced", "error", err)
	}
	return e
}
