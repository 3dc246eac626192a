package service_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// clusterOf gives the cluster calls of a rig; full says why it takes no work.
func clusterOf(r *rig, full string, leave func()) *service.Cluster {
	return service.NewCluster(service.ClusterConfig{Self: "n1", Name: "one", State: r.state, Members: r.cluster, Keys: r.keys,
		Load: func() int { return 2 }, Full: func() string { return full }, BlobUse: func() *wire.BlobUse { return nil },
		FindWorker: func(name string) (fsm.WorkerRecord, bool) {
			return fsm.WorkerRecord{ID: "ext-" + pipeline.NodeID(name), Name: name}, name == "builder"
		}, Leave: leave})
}

func TestCluster_Health(t *testing.T) {
	r := newRig(t)
	h := clusterOf(r, "", nil).Health(t.Context())
	if h.Status != "healthy" || !h.Quorum || h.Leader != "one" || h.Role != cluster.RoleVoter || h.CurrentLoad != 2 || h.Nonce == "" {
		t.Errorf("got %+v", h)
	}
	if h = clusterOf(r, "disk low", nil).Health(t.Context()); h.Status != "degraded" || len(h.Reasons) != 1 {
		t.Errorf("a full disk: %+v", h)
	}
	r.leader.leading.Store(false) // elected, not ready
	if h = clusterOf(r, "", nil).Health(t.Context()); h.Status != "degraded" || h.Quorum {
		t.Errorf("a leader that is not ready: %+v", h)
	}
	r.cluster.leader = ""
	if h = clusterOf(r, "", nil).Health(t.Context()); h.Status != "degraded" || h.Quorum || !strings.Contains(h.Reasons[0], "no leader") {
		t.Errorf("no leader: %+v", h)
	}
}

func TestCluster_Drain(t *testing.T) {
	r := newRig(t)
	c := clusterOf(r, "", nil)
	if err := c.Drain(t.Context(), sam, "one", wire.DrainRequest{DeadlineSeconds: 60}); err != nil {
		t.Fatal(err)
	}
	members, err := c.Members(t.Context())
	if err != nil || len(members.Members) != 1 || !members.Members[0].Draining || members.Leader != "one" {
		t.Errorf("got %+v, %v", members, err)
	}
	if err := c.Drain(t.Context(), sam, "one", wire.DrainRequest{Off: true}); err != nil {
		t.Fatal(err)
	}
	if members, _ = c.Members(t.Context()); members.Members[0].Draining {
		t.Error("it still drains")
	}
	if err := c.Drain(t.Context(), sam, "builder", wire.DrainRequest{}); err != nil {
		t.Errorf("an external worker: %v", err)
	}
	wantKind(t, c.Drain(t.Context(), sam, "none", wire.DrainRequest{}), pipeline.NotFound, "one")
	wantKind(t, c.Drain(t.Context(), sam, "one", wire.DrainRequest{DeadlineSeconds: -1}), pipeline.Invalid)
}

// The last node that answers does not leave: the cluster would end with it.
func TestCluster_Leave(t *testing.T) {
	r := newRig(t)
	left := 0
	c := clusterOf(r, "", func() { left++ })
	wantKind(t, c.Leave(t.Context(), sam), pipeline.Conflict)
	r.cluster.others = []cluster.Member{{ID: "n2", Name: "two", Status: cluster.StatusAlive}}
	if err := c.Leave(t.Context(), sam); err != nil || left != 1 {
		t.Errorf("left %d times, %v", left, err)
	}
}

func TestRouter(t *testing.T) {
	r := newRig(t)
	router := service.NewRouter(service.RouterConfig{Self: "n1", State: r.state, Dialer: r.dialer, Members: r.cluster.Members})
	if !router.IsLeader() || !router.HasState() {
		t.Error("the leader does not say so")
	}
	if _, _, err := router.Leader(t.Context()); !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("the leader has no other leader: %v", err)
	}
	r.cluster.others = []cluster.Member{{ID: "n2", Name: "two"}, {ID: "n3", Name: "two"}}
	_, _, err := router.Node(t.Context(), "two")
	wantKind(t, err, pipeline.Conflict, "2 nodes")
	_, _, err = router.Node(t.Context(), "three")
	wantKind(t, err, pipeline.NotFound, "one, two")
}

func TestCache_prune(t *testing.T) {
	r := newRig(t)
	if _, err := r.cache.CachePrune(t.Context(), sam, wire.CachePrune{Kind: "bazel"}); err != nil || len(r.remote.asked) != 1 {
		t.Errorf("remote caches were asked %d times, %v", len(r.remote.asked), err)
	}
	_, err := r.cache.CachePrune(t.Context(), sam, wire.CachePrune{All: true, UnusedSeconds: 1})
	wantKind(t, err, pipeline.Invalid)

	made := r.submit(two)
	key := pipeline.Digest(strings.Repeat("c", 64))
	id := pipeline.AttemptID{Run: made.ID, Module: "a", Attempt: 1}
	r.commit(fsm.Batch{Assigns: []fsm.Assign{{ID: id, Worker: "n1", WorkerName: "one", Cache: &pipeline.CacheLookup{Key: key, Work: key}}}})
	r.commit(fsm.Batch{Outcomes: []fsm.Outcome{{Next: pipeline.ModuleSucceeded, Outcome: pipeline.Outcome{ID: id, Worker: "n1",
		State: pipeline.AttemptSucceeded, StartedAt: at, FinishedAt: at, Result: []byte(`{"x":1}`)}}}})
	list, err := r.cache.CacheList(t.Context(), "", 10, "")
	if err != nil || len(list.Entries) != 1 || list.Entries[0].Key != key || list.Entries[0].Bytes == 0 {
		t.Fatalf("got %+v, %v", list, err)
	}
	why, err := r.runs.Why(t.Context(), made.ID, "a")
	if err != nil || !strings.Contains(strings.Join(why.Module[0].Because, "\n"), "its result is cached") {
		t.Errorf("why says %+v, %v", why, err)
	}

	dry, err := r.cache.CachePrune(t.Context(), sam, wire.CachePrune{DryRun: true})
	if err != nil || dry.Removed != 1 {
		t.Errorf("a dry run: %+v, %v", dry, err)
	}
	if out, err := r.cache.CachePrune(t.Context(), sam, wire.CachePrune{}); err != nil || out.Removed != 1 {
		t.Errorf("got %+v, %v", out, err)
	}
	if stats, err := r.cache.CacheStats(t.Context()); err != nil || stats.Entries != 0 {
		t.Errorf("got %+v, %v", stats, err)
	}
}
