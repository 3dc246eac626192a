package node

import (
	"context"
	"os"

	"github.com/pipelined/pipelined/internal/traces"
)

// openTraces reads the variables of OpenTelemetry. A mistake in them costs the traces
// and not the node.
func (n *Node) openTraces(ctx context.Context) {
	if n.cfg.Embedded {
		return
	}

	var err error
	n.traces, err = traces.Open(ctx, traces.Config{Store: n.stores.state, Barrier: consensusLog{n.cluster}.Barrier, Node: n.cfg.Name, Version: n.cfg.Version,
		URL: n.port.Scheme() + "://" + n.HTTPAddr(), Getenv: os.Getenv, Logger: n.log.Named("traces")})
	if err != nil {
		n.log.Warn("runs are not traced", "error", err)
	}
}
