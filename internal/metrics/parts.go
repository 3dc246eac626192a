package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HTTP is what the HTTP port measures.
type HTTP struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	streams  *prometheus.GaugeVec
	system   *prometheus.CounterVec
}

func newHTTP(f factory, system *prometheus.CounterVec) *HTTP {
	return &HTTP{
		requests: f.counter("pipelined_http_requests_total", "Requests that were answered on the HTTP port, by route and status; 0 if there was no answer.", "route", "code"),
		duration: f.histogram("pipelined_http_request_duration_seconds", "Time to answer a request, without those that may wait or stream.", quick, "route"),
		streams:  f.gauge("pipelined_streams", "Requests under way that may wait or stream.", "kind"),
		system:   system,
	}
}

// Served counts a request. waited is set if the call may wait or stream, so that its
// time says nothing.
func (m *HTTP) Served(route string, status int, took time.Duration, waited bool) {
	if m == nil {
		return
	}

	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if !waited {
		m.duration.WithLabelValues(route).Observe(took.Seconds())
	}
	if status == http.StatusInternalServerError {
		m.system.WithLabelValues("api", "internal").Inc()
	}
}

// Stream counts a request that may wait or stream as under way until done is called.
func (m *HTTP) Stream(kind string) (done func()) {
	if m == nil {
		return func() {}
	}

	g := m.streams.WithLabelValues(kind)
	g.Inc()
	return g.Dec
}

// Raft is what this node's part in consensus measures.
type Raft struct {
	commit, apply, fsync prometheus.Observer
	recent               commits
}

func newRaft(f factory) *Raft {
	one := func(name, help string) prometheus.Observer { return f.histogram(name, help, quick).WithLabelValues() }
	return &Raft{
		commit: one("pipelined_raft_commit_duration_seconds", "Time from the proposal of an entry on the leader until it is committed and applied there."),
		apply:  one("pipelined_raft_apply_duration_seconds", "Time to apply a batch of entries to the state of this node."),
		fsync:  one("pipelined_raft_fsync_duration_seconds", "Time to write to raft's log of this node, with the flush to the disk."),
	}
}

// Committed counts a proposal that was committed.
func (m *Raft) Committed(took time.Duration) {
	if m != nil {
		m.commit.Observe(took.Seconds())
		m.recent.add(time.Now(), took)
	}
}

// Recent is how long the proposals took that were committed in the last seconds.
func (m *Raft) Recent(now time.Time) Commits {
	if m == nil {
		return Commits{}
	}
	return m.recent.since(now.Add(-commitsKept))
}

// Applied counts a batch of entries.
func (m *Raft) Applied(took time.Duration) {
	if m != nil {
		m.apply.Observe(took.Seconds())
	}
}

// Flushed counts a write to the log.
func (m *Raft) Flushed(took time.Duration) {
	if m != nil {
		m.fsync.Observe(took.Seconds())
	}
}

// Gossip is what membership measures.
type Gossip struct{ probe prometheus.Observer }

func newGossip(f factory) *Gossip {
	return &Gossip{f.histogram("pipelined_gossip_probe_seconds", "Round trip of a probe that another node answered.", quick).WithLabelValues()}
}

// Probed counts a probe that was answered.
func (m *Gossip) Probed(took time.Duration) {
	if m != nil {
		m.probe.Observe(took.Seconds())
	}
}

// Fabric is what moves and keeps bytes measures.
type Fabric struct {
	sent, received prometheus.Counter
	damaged        prometheus.Counter
	system         *prometheus.CounterVec
}

func newFabric(f factory, system *prometheus.CounterVec) *Fabric {
	moved := f.counter("pipelined_blob_transfer_bytes_total", "Bytes of blobs between nodes, as they were on the wire, by direction: sent, received.", "direction")
	return &Fabric{
		sent:     moved.WithLabelValues("sent"),
		received: moved.WithLabelValues("received"),
		damaged:  f.counter("pipelined_blobs_damaged_total", "Copies of blobs on this disk that were found damaged.").WithLabelValues(),
		system:   system,
	}
}

// Sent counts bytes of blobs that went to another node.
func (m *Fabric) Sent(n int) {
	if m != nil {
		m.sent.Add(float64(n))
	}
}

// Received counts bytes of blobs that came from another node.
func (m *Fabric) Received(n int) {
	if m != nil {
		m.received.Add(float64(n))
	}
}

// Damaged counts a copy of a blob that was found damaged.
func (m *Fabric) Damaged() {
	if m != nil {
		m.damaged.Inc()
		m.system.WithLabelValues("storage", "damaged").Inc()
	}
}
