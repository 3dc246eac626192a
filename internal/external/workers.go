package external

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// callTimeout bounds one call of an external worker.
const callTimeout = 10 * time.Second

// Orchestrator is what external workers need of the leader.
type Orchestrator interface {
	// Heartbeat extends the lease of an external worker. It is not known if it must
	// register again.
	Heartbeat(ctx context.Context, id pipeline.NodeID, load int) (known, drain bool, err error)
	// Workers lists all workers, by name.
	Workers(ctx context.Context) ([]pipeline.Worker, error)
	// Report takes outcomes and answers once their fate is committed.
	Report(ctx context.Context, in peer.ReportRequest) (peer.ReportResponse, error)
}

// Downloader brings blobs to this node.
type Downloader interface {
	Fetch(ctx context.Context, preferred []pipeline.NodeID, want []pipeline.Digest) error
	ReadTree(ctx context.Context, preferred []pipeline.NodeID, root pipeline.Digest) (tree.Tree, error)
}

// WorkersConfig says what Workers is made of. All fields are needed.
type WorkersConfig struct {
	Self         pipeline.NodeID
	State        *state.State
	Orchestrator Orchestrator
	Down         Downloader
	Blobs        *blob.Store
	// SecondCopy has another node take blobs and names it; "" if none did.
	SecondCopy func(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID
	// RunMask gives the values that must not show in what a run leaves.
	RunMask func(pipeline.RunID) ([]string, error)
	// Members lists the nodes.
	Members func() []cluster.Member
	// Heartbeat is how often a worker is to send one.
	Heartbeat time.Duration
}

// Workers registers external workers and exchanges attempts and outcomes with
// them. It implements api.Workers, and for the orchestrator the transport to
// external workers. It is safe for concurrent use.
type Workers struct {
	cfg WorkersConfig
	// elsewhere and loopback call workers; loopback reaches this machine as well. They
	// have short bounds, follow no redirects and use no proxy: a request carries the
	// worker's secret.
	elsewhere, loopback *http.Client
	// listings holds a value for each listing of outputs that is in memory.
	listings chan struct{}
}

// NewWorkers makes a Workers. Close it after use.
func NewWorkers(cfg WorkersConfig) *Workers {
	return &Workers{cfg: cfg, listings: make(chan struct{}, maxListings), elsewhere: newCaller(false), loopback: newCaller(true)}
}

// Close closes idle connections to external workers. Idempotent.
func (w *Workers) Close() {
	w.elsewhere.CloseIdleConnections()
	w.loopback.CloseIdleConnections()
}

// Lookup finds an external worker by its id in the cluster.
func (w *Workers) Lookup(id pipeline.NodeID) (found fsm.WorkerRecord, ok bool) {
	_ = w.cfg.State.View(func(v *fsm.View) error { // if it is closed there are none
		found, ok = v.Worker(id)
		ok = ok && found.External
		return nil
	})
	return found, ok
}

// Find finds an external worker for an operator: by the id that it calls itself,
// or else by its name. Who calls is never decided by it.
func (w *Workers) Find(name string) (found fsm.WorkerRecord, ok bool) {
	if found, ok = w.Lookup(clusterID(name)); ok {
		return found, ok
	}
	_ = w.cfg.State.View(func(v *fsm.View) error { // if it is closed there are none
		for _, rec := range v.Workers() {
			if rec.External && rec.Name == name { // of one at most, see Register
				found, ok = rec, true
			}
		}
		return nil
	})
	return found, ok
}

// clusterID is the id in the cluster of the external worker that calls itself id.
func clusterID(id string) pipeline.NodeID { return pipeline.NodeID(pipeline.ExternalPrefix + id) }

// checkOwner refuses a caller with a worker's token that is not this worker's: who a
// worker is, its token says.
func checkOwner(by api.Subject, rec fsm.WorkerRecord) error {
	if by.Role == api.RoleWorker && rec.Token != string(by.Worker) {
		return pipeline.Errorf(pipeline.Forbidden, "worker %s was registered with another token", rec.Name)
	}
	return nil
}

// Heartbeat extends the lease of an external worker. One that is not known must
// register again; that is no error.
func (w *Workers) Heartbeat(ctx context.Context, by api.Subject, in wire.HeartbeatRequest) (wire.HeartbeatResponse, error) {
	rec, ok := w.Lookup(clusterID(in.WorkerID))
	if !ok {
		return wire.HeartbeatResponse{}, nil
	}
	if err := checkOwner(by, rec); err != nil {
		return wire.HeartbeatResponse{}, err
	}
	known, drain, err := w.cfg.Orchestrator.Heartbeat(ctx, rec.ID, in.CurrentLoad)
	return wire.HeartbeatResponse{Acknowledged: known, ShouldDrain: drain}, err
}

// Workers lists all workers, external ones and nodes.
func (w *Workers) Workers(ctx context.Context) (wire.WorkerList, error) {
	out := wire.WorkerList{Workers: []wire.WorkerNode{}}
	list, err := w.cfg.Orchestrator.Workers(ctx)
	if err != nil {
		return out, err
	}

	addresses := map[pipeline.NodeID]string{}
	for _, m := range w.cfg.Members() {
		addresses[m.ID] = service.HTTPAddress(m)
	}
	for _, x := range list {
		endpoint := x.Endpoint
		if endpoint == "" {
			endpoint = addresses[x.ID]
		}
		out.Workers = append(out.Workers, wire.WorkerNode{ID: strings.TrimPrefix(string(x.ID), pipeline.ExternalPrefix), Name: x.Name, Endpoint: endpoint,
			Capabilities: x.Capabilities, CurrentLoad: x.CurrentLoad, Reserved: x.Reserved, Status: x.Status, External: x.External})
	}
	return out, nil
}

// ForgetWorker removes an external worker. Its secret is revoked with it.
func (w *Workers) ForgetWorker(ctx context.Context, by api.Subject, id string) error {
	fresh := w.cfg.State.Fresh(ctx) // it may have registered a moment ago
	rec, ok := w.Lookup(clusterID(id))
	if !ok {
		return state.Missing(pipeline.Errorf(pipeline.NotFound, "no external worker %q: a node is removed with leave", id), fresh)
	}
	if err := checkOwner(by, rec); err != nil {
		return err
	}
	_, err := w.cfg.State.Propose(ctx, &fsm.Command{At: time.Now().UTC(), By: by.Name, Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: rec.ID}, Delete: true}})
	return err
}
