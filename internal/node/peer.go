package node

import (
	"context"
	"net/http"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// peerHandler serves the other nodes: their messages below /peer/, and every
// path of the public API for requests that they forward. Who asks is verified
// by the peer port before anything here runs.
func (n *Node) peerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /peer/dispatch", peer.Handle(func(_ context.Context, in peer.DispatchRequest) (peer.DispatchResponse, error) {
		return n.worker.Take(in)
	}))
	mux.Handle("POST /peer/stop", peer.Handle(func(ctx context.Context, in peer.StopRequest) (struct{}, error) {
		return struct{}{}, n.worker.Stop(ctx, in)
	}))
	mux.Handle("POST /peer/sync", peer.Handle(n.worker2sync))
	mux.HandleFunc("POST /peer/report", n.servePeerReport)
	n.state.Register(mux)
	n.services.tokens.Register(mux)
	n.services.secrets.Register(mux)
	n.services.remote.Register(mux)
	n.services.logs.Register(mux)
	n.services.sessions.Register(mux)
	fabric.NewServer(fabric.ServerConfig{Blobs: n.blobs, Trees: n.trees, Downloader: n.fabric.down, Logger: n.log.Named("fabric")}).Register(mux)
	mux.Handle("POST "+pathSuspects, peer.Handle(n.compareSuspects))
	mux.Handle("/", n.api.PeerHandler())
	return mux
}

func (n *Node) worker2sync(ctx context.Context, in peer.SyncRequest) (peer.SyncResponse, error) {
	return n.worker.Sync(ctx, in)
}

// servePeerReport takes the reports of a worker: blobs first, so that nothing
// is proposed that this node does not hold.
func (n *Node) servePeerReport(w http.ResponseWriter, r *http.Request) {
	var in peer.ReportRequest
	if !peer.ReadMessage(w, r, &in) {
		return
	}
	if p, ok := cluster.PeerFrom(r.Context()); !ok || p.ID != in.Worker {
		peer.WriteError(w, pipeline.Errorf(pipeline.Forbidden, "a node reports for itself only"))
		return
	}
	if !n.orch.Leading() {
		peer.WriteError(w, pipeline.ErrNotLeader)
		return
	}
	n.fabric.up.StoreReported(r.Context(), in.Reports)
	out, err := n.orch.Report(r.Context(), in)
	peer.WriteMessage(w, out, err)
}

// transport reaches workers for the orchestrator: itself by a call, nodes over
// the peer port, outside workers over their own HTTP.
type transport struct{ n *Node }

// Dispatch hands attempts to a worker.
func (t transport) Dispatch(ctx context.Context, w pipeline.NodeID, in peer.DispatchRequest) (out peer.DispatchResponse, err error) {
	switch {
	case w == t.n.id:
		return t.n.worker.Take(in)
	case w.External():
		return out, t.n.services.workers.Dispatch(ctx, w, in)
	}
	return out, t.n.peers.Call(ctx, w, "/peer/dispatch", in, &out)
}

// Stop ends attempts.
func (t transport) Stop(ctx context.Context, w pipeline.NodeID, in peer.StopRequest) error {
	switch {
	case w == t.n.id:
		return t.n.worker.Stop(ctx, in)
	case w.External():
		return t.n.services.workers.Stop(ctx, w, in)
	}
	return t.n.peers.Call(ctx, w, "/peer/stop", in, nil)
}

// Sync renews a lease and compares.
func (t transport) Sync(ctx context.Context, w pipeline.NodeID, in peer.SyncRequest) (out peer.SyncResponse, err error) {
	if w == t.n.id {
		return t.n.worker.Sync(ctx, in)
	}
	return out, t.n.peers.Call(ctx, w, "/peer/sync", in, &out)
}

// report brings a worker's reports to the orchestrator. Where that is this
// node, the second copy of what they carry goes to another node first.
func (n *Node) report(ctx context.Context, reports []peer.Report) ([]peer.Ack, error) {
	in := peer.ReportRequest{Worker: n.id, Reports: reports, Full: n.fabric.disk.Reason()}
	if n.orch.Leading() {
		n.fabric.up.CopyReported(ctx, reports)
		out, err := n.orch.Report(ctx, in)
		return out.Acks, err
	}
	leader, err := n.state.LeaderID()
	if err != nil {
		return nil, err
	}
	if leader == n.id {
		return nil, pipeline.ErrNoLeader
	}
	var out peer.ReportResponse
	err = n.peers.Call(ctx, leader, "/peer/report", in, &out)
	return out.Acks, err
}

// members tells the orchestrator who may work.
type members struct{ n *Node }

// Workers lists members that run modules.
func (m members) Workers() []pipeline.Member {
	var out []pipeline.Member
	for _, x := range m.n.cluster.Members() {
		if x.Mode == pipeline.ModeOrchestrator || x.Status == cluster.StatusLeft {
			continue
		}
		out = append(out, x)
	}
	return out
}

// Changes tells when the list may have changed, until stop.
func (m members) Changes() (changes <-chan struct{}, stop func()) { return m.n.cluster.Changes() }
