package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// askTimeout bounds the wait for the leader's loop, so that a page is served also
// while it is busy.
const askTimeout = 2 * time.Second

// RaftState is this node's part in consensus.
type RaftState struct {
	Leading               bool
	Term, Commit, Applied uint64
	// LastContact is the time since the last message of the leader; 0 on the leader.
	LastContact time.Duration
	// Lag is how many entries a follower has not acknowledged, by its name; nil unless
	// this node leads.
	Lag map[string]uint64
	// Voters counts the voters by status; nil unless this node leads.
	Voters map[string]int
}

// Census is what the leader has to do.
type Census struct {
	// Runs counts the runs that have not ended.
	Runs map[RunKey]int
	// Waiting counts the modules that wait, by the reason.
	Waiting map[string]int
	// Workers counts them by state: available, busy, offline.
	Workers map[string]int
	// Backlog counts the modules that wait for the planner.
	Backlog int
}

// RunKey is a pipeline and a state: pending, executing, finalizing.
type RunKey struct{ Pipeline, State string }

// Disk is what this node keeps.
type Disk struct {
	Free int64
	// Blobs are the bytes that blobs take, and Logs those of them that are logs; 0 until
	// they were counted.
	Blobs, Logs int64
}

// Sources are asked when the page is read. All fields are required, unless they say
// otherwise; the functions may be called at any time after Watch, from several
// goroutines, and must not wait long.
type Sources struct {
	// Raft reports false on a node that takes no part in it.
	Raft func() (RaftState, bool)
	// Health is gossip's: 0 is healthy, larger values mean that this node is slow.
	Health func() int
	Disk   func() Disk

	// OneCopy is how many blobs have fewer copies than wanted, as far as this node
	// knows.
	OneCopy func() int

	// What follows is asked on the leader only. Census reports false if there is none.
	Census  func(ctx context.Context) (Census, bool)
	Members func() map[string]int
	// CacheBytes is the size of all cached results.
	CacheBytes func() int64
}

// Watch adds what the sources say to the page. It may be called once.
func (s *Set) Watch(src Sources) {
	if s.registry != nil {
		s.registry.MustRegister(&states{Sources: src, names: &s.Leader.names})
	}
}

// states asks the sources at each reading.
type states struct {
	Sources
	names *names
	terms terms
}

var (
	descLeader      = describe("pipelined_raft_is_leader", "1 on the leader, 0 on the others.")
	descTerm        = describe("pipelined_raft_term", "Term of raft.")
	descTermChanges = describe("pipelined_raft_term_changes_total", "Terms of raft since this node was first asked.")
	descCommit      = describe("pipelined_raft_commit_index", "Index of the last entry that this node knows to be committed.")
	descApplied     = describe("pipelined_raft_applied_index", "Index of the last entry that this node has applied.")
	descContact     = describe("pipelined_raft_last_contact_seconds", "Time since the last message of the leader; 0 on the leader.")
	descLag         = describe("pipelined_raft_peer_lag_entries", "Entries that a follower has not acknowledged, on the leader.", "peer")
	descVoters      = describe("pipelined_raft_voters", "Voters by status (alive, failed, left), on the leader.", "status")
	descHealth      = describe("pipelined_gossip_health_score", "Health of this node by gossip: 0 is healthy, larger values mean that it answers late.")
	descMembers     = describe("pipelined_members", "Nodes by status (alive, failed, left), on the leader.", "status")
	descRuns        = describe("cicd_pipeline_run_active", "Runs that have not ended, on the leader.", labelPipeline, labelState)
	descWorkers     = describe("cicd_worker_count", "Workers by state: available, busy (no slot is free), offline; on the leader.", "cicd_worker_state")
	descWaiting     = describe("pipelined_modules_waiting", "Modules that wait, by reason, on the leader.", "reason")
	descBacklog     = describe("pipelined_planner_backlog", "Modules that could run if a worker took them, on the leader.")
	descOneCopy     = describe("pipelined_blobs_one_copy", "Blobs that have fewer copies than wanted, as far as this node knows; the leader compares everything.")
	descCacheBytes  = describe("pipelined_cache_bytes", "Bytes of the cached results, on the leader.")
	descBlobBytes   = describe("pipelined_blob_bytes", "Bytes of blobs on this disk by form (compressed logs, or plain), as last counted; 0 until then, within ten minutes of a start.", "form")
	descDiskFree    = describe("pipelined_disk_free_bytes", "Free bytes on the disk of the data directory.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe says nothing: which series there are depends on the node's part.
func (s *states) Describe(chan<- *prometheus.Desc) {}

// Collect asks the sources.
func (s *states) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}

	leading := false
	if r, ok := s.Raft(); ok {
		leading = r.Leading
		gauge(descLeader, map[bool]float64{true: 1}[leading])
		gauge(descTerm, float64(r.Term))
		out <- prometheus.MustNewConstMetric(descTermChanges, prometheus.CounterValue, s.terms.since(r.Term))
		gauge(descCommit, float64(r.Commit))
		gauge(descApplied, float64(r.Applied))
		gauge(descContact, r.LastContact.Seconds())
		for peer, n := range r.Lag {
			gauge(descLag, float64(n), peer)
		}
		for status, n := range r.Voters {
			gauge(descVoters, float64(n), status)
		}
	}

	gauge(descHealth, float64(s.Health()))
	gauge(descOneCopy, float64(s.OneCopy()))
	disk := s.Disk()
	gauge(descDiskFree, float64(disk.Free))
	gauge(descBlobBytes, float64(disk.Logs), "compressed")
	gauge(descBlobBytes, float64(disk.Blobs-disk.Logs), "plain")
	if leading {
		s.collectLeader(gauge)
	}
}

// collectLeader asks what only the leader knows.
func (s *states) collectLeader(gauge func(*prometheus.Desc, float64, ...string)) {
	for status, n := range s.Members() {
		gauge(descMembers, float64(n), status)
	}
	gauge(descCacheBytes, float64(s.CacheBytes()))

	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	c, ok := s.Census(ctx)
	if !ok {
		return
	}

	// Names beyond the bound share a series.
	runs := map[RunKey]int{}
	for key, n := range c.Runs {
		runs[RunKey{s.names.label(key.Pipeline), key.State}] += n
	}
	for key, n := range runs {
		gauge(descRuns, float64(n), key.Pipeline, key.State)
	}
	for state, n := range c.Workers {
		gauge(descWorkers, float64(n), state)
	}
	for reason, n := range c.Waiting {
		gauge(descWaiting, float64(n), reason)
	}
	gauge(descBacklog, float64(c.Backlog))
}
