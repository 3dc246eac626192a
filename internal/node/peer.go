package node

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

// kindHeader carries the kind of an error between nodes.
const kindHeader = "X-Pipelined-Kind"

// peerHandler serves the other nodes: their messages below /peer/, and every
// path of the public API for requests that they forward. Who asks is verified
// by the peer port before anything here runs.
func (n *Node) peerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /peer/dispatch", message(func(_ context.Context, in peer.DispatchRequest) (peer.DispatchResponse, error) {
		return n.worker.Take(in)
	}))
	mux.Handle("POST /peer/stop", message(func(ctx context.Context, in peer.StopRequest) (struct{}, error) {
		return struct{}{}, n.worker.Stop(ctx, in)
	}))
	mux.Handle("POST /peer/sync", message(n.worker2sync))
	mux.HandleFunc("POST /peer/report", n.servePeerReport)
	mux.HandleFunc("POST /peer/propose", n.servePeerPropose)
	mux.Handle("POST /peer/index", message(func(context.Context, struct{}) (uint64, error) { return n.leaderIndex() }))
	mux.Handle("POST /peer/token", message(func(_ context.Context, id string) (fsm.TokenRecord, error) { return n.tokenHere(id) }))
	mux.Handle("POST /peer/secrets", message(func(context.Context, struct{}) ([]string, error) { return n.secretNames() }))
	mux.Handle("POST /peer/missing", message(func(_ context.Context, want []pipeline.Digest) ([]pipeline.Digest, error) {
		return n.blobs.Missing(want), nil
	}))
	mux.Handle("POST /peer/missing/tree", message(func(_ context.Context, tree pipeline.Digest) ([]pipeline.Digest, error) {
		return n.blobs.MissingOf(tree)
	}))
	mux.Handle("POST /peer/sizes", message(func(_ context.Context, want []pipeline.Digest) ([]int64, error) { return n.sizes(want), nil }))
	mux.Handle("POST /peer/take", message(n.take))
	mux.Handle("POST /peer/tools", message(n.answerTools))
	mux.HandleFunc("GET /peer/blob", n.servePeerBlob)
	mux.Handle("POST /peer/blobs/clean", message(func(_ context.Context, want []pipeline.Digest) ([]pipeline.Digest, error) {
		return n.blobs.Clean(want), nil
	}))
	mux.HandleFunc("GET /peer/log", n.servePeerLog)
	mux.HandleFunc("POST /peer/exec", n.servePeerExec)
	mux.Handle("POST /peer/log/place", message(n.logPlaceHere))
	mux.HandleFunc("POST /peer/bundle", n.servePeerBundle)
	mux.HandleFunc("POST /peer/blobs/get", n.servePeerGetBlobs)
	mux.Handle("/", n.api.PeerHandler())
	return mux
}

func (n *Node) worker2sync(ctx context.Context, in peer.SyncRequest) (peer.SyncResponse, error) {
	return n.worker.Sync(ctx, in)
}

// message makes a handler of a function: CBOR in, CBOR out.
func message[In, Out any](fn func(context.Context, In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		if !readMessage(w, r, &in) {
			return
		}
		out, err := fn(r.Context(), in)
		writeMessage(w, out, err)
	})
}

func readMessage(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err == nil {
		err = wireDec.Unmarshal(body, into)
	}
	if err != nil {
		writeError(w, pipeline.Errorf(pipeline.Invalid, "read message: %w", err))
		return false
	}
	return true
}

func writeMessage(w http.ResponseWriter, out any, err error) {
	if err != nil {
		writeError(w, err)
		return
	}
	b, err := wireEnc.Marshal(out)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/cbor")
	_, _ = w.Write(b) // the other side sees a broken answer
}

func writeError(w http.ResponseWriter, err error) {
	kind := pipeline.KindOf(err)
	w.Header().Set(kindHeader, kind.String())
	status := http.StatusInternalServerError
	switch kind {
	case pipeline.NotFound:
		status = http.StatusNotFound
	case pipeline.Unavailable, pipeline.Unknown:
		status = http.StatusServiceUnavailable
	case pipeline.Invalid:
		status = http.StatusBadRequest
	case pipeline.Conflict:
		status = http.StatusConflict
	}
	http.Error(w, err.Error(), status)
}

// servePeerReport takes the reports of a worker: blobs first, so that nothing
// is proposed that this node does not hold.
func (n *Node) servePeerReport(w http.ResponseWriter, r *http.Request) {
	var in peer.ReportRequest
	if !readMessage(w, r, &in) {
		return
	}
	if p, ok := cluster.PeerFrom(r.Context()); !ok || p.ID != in.Worker {
		writeError(w, pipeline.Errorf(pipeline.Forbidden, "a node reports for itself only"))
		return
	}
	if !n.orch.Leading() {
		writeError(w, pipeline.ErrNotLeader)
		return
	}
	n.storeReported(r.Context(), in.Reports)
	out, err := n.orch.Report(r.Context(), in)
	writeMessage(w, out, err)
}

// storeReported keeps the blobs that came with reports and names this node among
// their holders. Where the disk here does not take them the reports count all the
// same, as where no second node is: the worker has the blobs, and repair finds a
// second place for them. An outcome must not wait for a disk.
func (n *Node) storeReported(ctx context.Context, reports []peer.Report) {
	err := n.putReported(ctx, reports)
	if err != nil {
		n.log.Error("log and outputs of reports are on their worker alone: this node cannot keep them", "error", err)
	}
	for i := range reports {
		o := reports[i].Outcome
		if o != nil && len(o.Holders) == 1 && (err == nil && len(reports[i].Blobs) > 0 || nothingToCopy(o)) {
			o.Holders = append(o.Holders, n.id)
		}
		reports[i].Blobs = nil
	}
}

func (n *Node) putReported(ctx context.Context, reports []peer.Report) error {
	batch := n.blobs.NewBatch()
	defer batch.Discard()
	for i := range reports {
		for _, b := range reports[i].Blobs {
			if _, err := batch.PutBytes(ctx, b); err != nil {
				return err
			}
		}
	}
	return batch.Commit(ctx)
}

func nothingToCopy(o *pipeline.Outcome) bool {
	return (o.Log == "" || o.Log == pipeline.EmptyDigest) && o.Outputs == ""
}

func (n *Node) servePeerPropose(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, fsm.MaxCommandBytes+1))
	if err != nil {
		writeError(w, pipeline.Errorf(pipeline.Invalid, "read command: %w", err))
		return
	}
	c, err := fsm.Decode(raw)
	if err != nil {
		writeError(w, pipeline.Errorf(pipeline.Invalid, "%w", err))
		return
	}
	if c.Batch != nil {
		writeError(w, pipeline.Errorf(pipeline.Forbidden, "only the orchestrator proposes decisions"))
		return
	}
	if !n.orch.Leading() {
		writeError(w, pipeline.ErrNotLeader)
		return
	}
	v, err := n.orch.Propose(r.Context(), c)
	if err != nil {
		writeError(w, err)
		return
	}
	writeMessage(w, replyOf(v), nil)
}

// servePeerLog streams the output of an attempt that this node runs, until its
// process has ended (follow) or as far as it is.
func (n *Node) servePeerLog(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	id, err := pipeline.ParseAttemptID(q.Get("id"))
	if err != nil {
		writeError(w, pipeline.Errorf(pipeline.Invalid, "%w", err))
		return
	}
	offset, err := strconv.ParseInt(q.Get("offset"), 10, 64)
	if err != nil || offset < 0 {
		writeError(w, pipeline.Errorf(pipeline.Invalid, "offset %q: want a number from 0 on", q.Get("offset")))
		return
	}
	if _, _, _, ok := n.worker.LogFile(id); !ok {
		writeError(w, pipeline.Errorf(pipeline.NotFound, "attempt %s is not here", id))
		return
	}
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush() // tells the other side that the attempt is here
	_ = n.tailHere(r.Context(), id, offset, q.Get("follow") == "1", func(b []byte) error {
		if err := rc.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		return rc.Flush()
	}) // an error breaks the stream, and the other side goes on from its offset
}

// transport reaches workers for the orchestrator: itself by a call, nodes over
// the peer port, outside workers over their own HTTP.
type transport struct{ n *Node }

// Dispatch hands attempts to a worker.
func (t transport) Dispatch(ctx context.Context, w pipeline.NodeID, in peer.DispatchRequest) (out peer.DispatchResponse, err error) {
	switch {
	case w == t.n.id:
		return t.n.worker.Take(in)
	case isOutside(w):
		return out, t.n.dispatchOutside(ctx, w, in)
	}
	return out, t.n.call(ctx, w, "/peer/dispatch", in, &out)
}

// Stop ends attempts.
func (t transport) Stop(ctx context.Context, w pipeline.NodeID, in peer.StopRequest) error {
	switch {
	case w == t.n.id:
		return t.n.worker.Stop(ctx, in)
	case isOutside(w):
		return t.n.stopOutside(ctx, w, in)
	}
	return t.n.call(ctx, w, "/peer/stop", in, nil)
}

// Sync renews a lease and compares.
func (t transport) Sync(ctx context.Context, w pipeline.NodeID, in peer.SyncRequest) (out peer.SyncResponse, err error) {
	if w == t.n.id {
		return t.n.worker.Sync(ctx, in)
	}
	return out, t.n.call(ctx, w, "/peer/sync", in, &out)
}

// report brings a worker's reports to the orchestrator. Where that is this
// node, the second copy of what they carry goes to another node first.
func (n *Node) report(ctx context.Context, reports []peer.Report) ([]peer.Ack, error) {
	in := peer.ReportRequest{Worker: n.id, Reports: reports, Full: n.whyFull()}
	if n.orch.Leading() {
		n.copyReported(ctx, reports)
		out, err := n.orch.Report(ctx, in)
		return out.Acks, err
	}
	leader, err := n.leaderID()
	if err != nil {
		return nil, err
	}
	if leader == n.id {
		return nil, pipeline.ErrNoLeader
	}
	var out peer.ReportResponse
	err = n.call(ctx, leader, "/peer/report", in, &out)
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
