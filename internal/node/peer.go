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
	mux.Handle("POST /peer/sync", peer.Handle(n.worker.Sync))
	mux.Handle("POST /peer/image", peer.Handle(n.worker.ImageDigests))
	mux.HandleFunc("POST "+pathReport, n.reports.serve)
	n.state.Register(mux)
	n.services.tokens.Register(mux)
	n.services.feeds.Register(mux)
	n.services.nodes.Register(mux)
	n.services.secrets.Register(mux)
	n.services.remote.Register(mux)
	n.services.logs.Register(mux)
	n.services.sessions.Register(mux)
	fabric.NewServer(fabric.ServerConfig{Blobs: n.stores.blobs, Trees: n.stores.trees, Downloader: n.fabric.down, Logger: n.log.Named("fabric"), Metrics: n.metrics.Fabric}).Register(mux)
	mux.Handle("POST "+pathSuspects, peer.Handle(n.fabric.compareSuspects))
	mux.Handle("POST "+pathEvacuate, peer.Handle(n.fabric.evacuateNode))
	mux.Handle("/", n.api.PeerHandler())
	return mux
}

// transport reaches workers for the orchestrator: itself by a call, nodes over
// the peer port, external workers over their own HTTP.
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

// ImageDigests asks for the digests of a module's images.
func (t transport) ImageDigests(ctx context.Context, w pipeline.NodeID, c pipeline.Container) ([]string, error) {
	in := peer.ImageRequest{Container: c}
	if w == t.n.id {
		out, err := t.n.worker.ImageDigests(ctx, in)
		return out.Digests, err
	}
	var out peer.ImageResponse
	err := t.n.peers.Call(ctx, w, "/peer/image", in, &out)
	return out.Digests, err
}

// members lists for the orchestrator which nodes run modules.
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

// Changes gives a channel that is poked when the list may have changed, until stop.
func (m members) Changes() (changes <-chan struct{}, stop func()) { return m.n.cluster.Changes() }
