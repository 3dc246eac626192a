package node

import (
	"context"
	"net/http"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

const pathReport = "/peer/report"

// reports bring what workers report to the orchestrator, on both sides.
type reports struct {
	self   pipeline.NodeID
	runner executor.Runner
	orch   *orchestrator.Orchestrator
	fabric *fabricParts
	// unfit is why this node has no capacity for more work.
	unfit func() string
}

// send brings this node's reports to the orchestrator. If it runs here, the second
// copy of what they carry goes to another node first.
func (r *reports) send(ctx context.Context, list []peer.Report) ([]peer.Ack, error) {
	in := peer.ReportRequest{Worker: r.self, Reports: list, Full: r.unfit(), Incarnation: r.runner.Incarnation()}
	if r.orch.Leading() {
		r.fabric.up.CopyReported(ctx, list)
		out, err := r.orch.Report(ctx, in)
		return out.Acks, err
	}

	leader, err := r.fabric.state.LeaderID()
	if err != nil {
		return nil, err
	}
	if leader == r.self {
		return nil, pipeline.ErrNoLeader // elected, and not ready yet
	}
	var out peer.ReportResponse
	err = r.fabric.peers.Call(ctx, leader, pathReport, in, &out)
	return out.Acks, err
}

// serve takes the reports of another node: blobs first, so that nothing is
// proposed that this node does not have.
func (r *reports) serve(w http.ResponseWriter, req *http.Request) {
	var in peer.ReportRequest
	if !peer.ReadMessage(w, req, &in) {
		return
	}
	if p, ok := cluster.PeerFrom(req.Context()); !ok || p.ID != in.Worker {
		peer.WriteError(w, pipeline.Errorf(pipeline.Forbidden, "a node reports for itself only"))
		return
	}
	if !r.orch.Leading() {
		peer.WriteError(w, pipeline.ErrNotLeader)
		return
	}

	r.fabric.up.StoreReported(req.Context(), in.Reports)
	out, err := r.orch.Report(req.Context(), in)
	peer.WriteMessage(w, out, err)
}
