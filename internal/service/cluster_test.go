package service_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// clusterOf gives the cluster calls of a rig; full says why it takes no work.
func clusterOf(r *rig, full string, leave func()) *service.Cluster {
	return service.NewCluster(service.ClusterConfig{Self: "n1", Name: "one", State: r.state, Members: r.cluster, Keys: r.keys,
		Load: func() int { return 2 }, Troubles: func() []string { return []string{full, ""} }, BlobUse: func() *wire.BlobUse { return nil }, Leaving: func() (bool, string) { return false, "" },
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

// The attempts that have not ended are listed, of all nodes or of one.
func TestCluster_Running(t *testing.T) {
	r := newRig(t)
	c := clusterOf(r, "", nil)
	first, second := r.newRun(single), r.newRun(single)
	r.start(r.assign(first, "m", "w1", nil))
	r.assign(second, "m", "w2", nil)
	for node, want := range map[string][]pipeline.RunID{"": {first, second}, "w1": {first}, "w2": {second}, "w3": nil} {
		list, err := c.Running(t.Context(), node)
		if err != nil || list.Running == nil || len(list.Running) != len(want) {
			t.Fatalf("on %q: %+v, %v", node, list, err)
		}
		for i, x := range list.Running {
			if x.Run != want[i] || x.Module != "m" || x.Attempt != 1 || (x.StartedAt != nil) != (x.Run == first) {
				t.Errorf("on %q: %+v", node, x)
			}
		}
	}
}

// An answer has a bound, and says what it leaves out.
func TestCluster_Running_bound(t *testing.T) {
	r := newRig(t)
	var keys []string
	for i := range 1003 {
		keys = append(keys, fmt.Sprintf("%q", fmt.Sprintf("k%d", i)))
	}
	id := r.newRun("module \"m\" {\n  for_each = [" + strings.Join(keys, ", ") + "]\n  command = [\"true\"]\n}\n")
	var assigns []fsm.Assign
	for i := range keys {
		assigns = append(assigns, fsm.Assign{ID: pipeline.AttemptID{Run: id, Module: fmt.Sprintf("m[k%d]", i), Attempt: 1}, Worker: "id-w1", WorkerName: "w1"})
	}
	r.apply(&fsm.Command{Batch: &fsm.Batch{Assigns: assigns}})
	list, err := clusterOf(r, "", nil).Running(t.Context(), "w1")
	if err != nil || len(list.Running) != 1000 || list.More != 3 {
		t.Errorf("%d attempts and %d more, %v", len(list.Running), list.More, err)
	}
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
	r.cluster.others = []cluster.Member{{ID: "n2", Name: "two", Addr: "127.0.0.2:7946"}, {ID: "n3", Name: "two", Addr: "127.0.0.3:7946"}}
	_, _, err := router.Node(t.Context(), "two")
	wantKind(t, err, pipeline.Conflict, `2 nodes have the name "two": use the node's id: n2 (127.0.0.2:7946), n3 (127.0.0.3:7946)`)
	_, _, err = router.Node(t.Context(), "three")
	wantKind(t, err, pipeline.NotFound, "one, two")
}

// A node that does not lead gives the way to the leader, or without one to
// another node that has the state.
func TestRouter_follower(t *testing.T) {
	r := newRig(t)
	r.follow(http.NewServeMux())
	router := service.NewRouter(service.RouterConfig{Self: "n1", State: r.state, Dialer: r.dialer, Members: r.cluster.Members})
	for what, find := range map[string]func() (http.RoundTripper, *url.URL, error){
		"leader":   func() (http.RoundTripper, *url.URL, error) { return router.Leader(t.Context()) },
		"stateful": func() (http.RoundTripper, *url.URL, error) { return router.Stateful(t.Context()) },
		"name":     func() (http.RoundTripper, *url.URL, error) { return router.Node(t.Context(), "two") },
		"id":       func() (http.RoundTripper, *url.URL, error) { return router.Node(t.Context(), "n2") },
	} {
		if transport, base, err := find(); err != nil || transport == nil || base.String() != r.dialer.server.URL {
			t.Errorf("%s: got %v, %v", what, base, err)
		}
	}
	if router.IsLeader() {
		t.Error("a follower says that it leads")
	}

	r.loseLeader()
	if _, _, err := router.Leader(t.Context()); !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("no leader: %v", err)
	}
	if _, base, err := router.Stateful(t.Context()); err != nil || base.String() != r.dialer.server.URL {
		t.Errorf("a replica: %v, %v", base, err)
	}
	r.cluster.others[0].Status = cluster.StatusFailed
	if _, _, err := router.Stateful(t.Context()); !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("no replica: %v", err)
	}

	r.cluster.self.Mode = pipeline.ModeWorker
	if router.HasState() {
		t.Error("a worker says that it has the state")
	}
	r.dialer.server.Close()
	r.dialer.server = nil
	_, _, err := router.Node(t.Context(), "two")
	wantError(t, "a node that cannot be reached", err, pipeline.Unavailable, "n2")
}

// Health counts voters and workers; the leader that is not known has no name.
func TestCluster_Health_members(t *testing.T) {
	r := newRig(t)
	r.cluster.self.RaftRole = cluster.RoleLeader
	r.cluster.others = []cluster.Member{
		{ID: "n3", Name: "b", Status: cluster.StatusAlive, RaftRole: cluster.RoleVoter, Mode: pipeline.ModeOrchestrator, Slots: 4},
		{ID: "n4", Name: "c", Status: cluster.StatusAlive, RaftRole: cluster.RoleNone, Mode: pipeline.ModeWorker, Slots: 4},
		{ID: "n5", Name: "a", Status: cluster.StatusFailed, RaftRole: cluster.RoleVoter, Slots: 4},
		{ID: "n6", Name: "d", Status: cluster.StatusAlive, RaftRole: cluster.RoleStandby},
	}
	h := clusterOf(r, "", nil).Health(t.Context())
	if !slices.Equal(h.Voters, []string{"a", "b", "one"}) || h.AvailableWorkers != 1 || h.Role != cluster.RoleLeader || h.Status != "healthy" {
		t.Errorf("got %+v", h)
	}
	if !r.keys.CheckNonce(h.Nonce, "n1", time.Now()) {
		t.Error("the nonce is not of this node")
	}

	r.cluster.leader = ""
	r.cluster.self.RaftRole = cluster.RoleNone
	h = clusterOf(r, "disk low", nil).Health(t.Context())
	if h.Leader != "" || h.Role != "worker" || len(h.Reasons) != 2 || h.Status != "degraded" {
		t.Errorf("got %+v", h)
	}
	if list, err := clusterOf(r, "", nil).Members(t.Context()); err != nil || list.Leader != "" || len(list.Members) != 5 {
		t.Errorf("members without a leader: %+v, %v", list, err)
	}
}

// Health names voters that do not answer, and what one more loss means.
func TestCluster_Health_voters(t *testing.T) {
	r := newRig(t)
	for want, down := range map[string][]string{
		"": nil,
		"voter b does not answer: 4 of 5 voters are left, and 1 more may be lost":                                      {"b"},
		"voters b, c do not answer: 3 of 5 voters are left, and the loss of one more stops the cluster":                {"c", "b"},
		"voters b, c, d do not answer: 2 of 5 voters are left, and 3 are needed":                                       {"b", "c", "d"},
		"voters b, e (a worker now) do not answer: 3 of 5 voters are left, and the loss of one more stops the cluster": {"b", "e*"},
	} {
		r.cluster.others = nil
		r.cluster.raft.Servers = []consensus.Server{{ID: "n1", Suffrage: consensus.Voter}, {ID: "s", Suffrage: consensus.Standby}}
		for _, name := range []string{"b", "c", "d", "e"} {
			m := cluster.Member{ID: pipeline.NodeID(name), Name: name, Status: cluster.StatusAlive}
			if slices.Contains(down, name) {
				m.Status = cluster.StatusFailed
			}
			if slices.Contains(down, name+"*") {
				m.Mode = pipeline.ModeWorker
			}
			r.cluster.others = append(r.cluster.others, m)
			r.cluster.raft.Servers = append(r.cluster.raft.Servers, consensus.Server{ID: name, Suffrage: consensus.Voter})
		}
		h := clusterOf(r, "", nil).Health(t.Context())
		if strings.Join(h.Reasons, "|") != want || (h.Status == "healthy") != (want == "") {
			t.Errorf("without %v: %s, %q; want %q", down, h.Status, h.Reasons, want)
		}
	}
}

// An upgrade that is not finished shows; nodes that do not answer do not count.
func TestCluster_Health_versions(t *testing.T) {
	r := newRig(t)
	r.cluster.self.Version = "1.1"
	r.cluster.others = []cluster.Member{
		{ID: "n2", Name: "two", Status: cluster.StatusAlive, Version: "1.0"},
		{ID: "n3", Name: "three", Status: cluster.StatusAlive, Version: "1.1"},
		{ID: "n4", Name: "four", Status: cluster.StatusFailed, Version: "0.9"},
	}
	h := clusterOf(r, "", nil).Health(t.Context())
	if want := []string{"mixed versions: 1.0 on two; 1.1 on one, three"}; !slices.Equal(h.Reasons, want) {
		t.Errorf("got %q, want %q", h.Reasons, want)
	}
}

// A node that has failed is removed with its record; one that has left is not found.
func TestCluster_Remove(t *testing.T) {
	r := newRig(t)
	r.cluster.others = []cluster.Member{
		{ID: "n2", Name: "two", Status: cluster.StatusFailed, Load: 3},
		{ID: "n3", Name: "three", Status: cluster.StatusLeft},
	}
	r.cluster.raft.Servers = []consensus.Server{{ID: "unseen", Suffrage: consensus.Voter}}
	c := clusterOf(r, "", nil)
	if err := c.Drain(t.Context(), sam, "two", wire.DrainRequest{}); err != nil {
		t.Fatal(err)
	}
	list, err := c.Members(t.Context())
	if err != nil || len(list.Members) != 2 || list.Members[1].CurrentLoad != 0 {
		t.Errorf("a node that failed has no load, and one that left is not listed: %+v, %v", list, err)
	}
	for _, node := range []string{"two", "n2", "unseen"} {
		if err := c.Remove(t.Context(), sam, node); err != nil {
			t.Errorf("%s: %v", node, err)
		}
	}
	if want := []pipeline.NodeID{"n2", "n2", "unseen"}; !slices.Equal(r.cluster.removed, want) {
		t.Errorf("removed %v, want %v", r.cluster.removed, want)
	}
	if list, err = c.Members(t.Context()); err != nil || list.Members[1].Draining {
		t.Errorf("its record is still there: %+v, %v", list, err)
	}

	wantKind(t, c.Remove(t.Context(), sam, "three"), pipeline.NotFound, "one, two")
	wantKind(t, c.Drain(t.Context(), sam, "three", wire.DrainRequest{}), pipeline.NotFound, "one, two")
	r.cluster.refuse = pipeline.Errorf(pipeline.Conflict, "node n2 is alive")
	wantKind(t, c.Remove(t.Context(), sam, "two"), pipeline.Conflict, "pipelined leave")
}

// Health names the clock that differs; if most do, it is this node's own.
func TestCluster_Health_clocks(t *testing.T) {
	r := newRig(t)
	others := []cluster.Member{
		{ID: "n2", Name: "b", Status: cluster.StatusAlive, ClockAhead: 25 * time.Hour},
		{ID: "n3", Name: "c", Status: cluster.StatusAlive},
		{ID: "n4", Name: "d", Status: cluster.StatusFailed, ClockAhead: time.Hour},
	}
	for want, list := range map[string][]cluster.Member{
		"the clock of b is 25h0m0s ahead of that of this node":                others,
		"the clock of b is 1m30s behind that of this node":                    {{ID: "n2", Name: "b", Status: cluster.StatusAlive, ClockAhead: -90 * time.Second}},
		"the clock of this node is 25h0m0s behind that of 2 of 2 other nodes": {others[0], {ID: "n3", Name: "c", Status: cluster.StatusAlive, ClockAhead: 25 * time.Hour}},
	} {
		r.cluster.others = list
		h := clusterOf(r, "", nil).Health(t.Context())
		if h.Status != "degraded" || len(h.Reasons) != 1 || h.Reasons[0] != want || !h.Quorum {
			t.Errorf("got %+v, want %q", h, want)
		}
		members, err := clusterOf(r, "", nil).Members(t.Context())
		if err != nil || members.Members[0].ClockAheadSeconds != list[0].ClockAhead.Seconds() {
			t.Errorf("members: %+v, %v", members, err)
		}
	}
}

// A node that said that it restarts is away until its time is up, then failed.
func TestCluster_Members_away(t *testing.T) {
	r := newRig(t)
	r.cluster.others = []cluster.Member{
		{ID: "n2", Name: "a", Status: cluster.StatusFailed, Addr: "10.0.0.2:7946", HTTPAddr: "10.0.0.2:8080", HTTPS: true},
		{ID: "n3", Name: "b", Status: cluster.StatusFailed, Addr: "no port", HTTPAddr: "b:8080"},
	}
	for id, until := range map[pipeline.NodeID]time.Duration{"n2": time.Hour, "n3": -time.Hour} {
		r.apply(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: id, AwayUntil: time.Now().Add(until).UTC()}, Only: "away"}})
	}
	list, err := clusterOf(r, "", nil).Members(t.Context())
	if err != nil || len(list.Members) != 3 {
		t.Fatalf("got %+v, %v", list, err)
	}
	if m := list.Members[0]; m.Name != "a" || m.Status != "away" || m.AwayUntil.IsZero() || m.Addr != "10.0.0.2" || m.HTTP != "https://10.0.0.2:8080" {
		t.Errorf("the node that restarts: %+v", m)
	}
	if m := list.Members[1]; m.Name != "b" || m.Status != cluster.StatusFailed || !m.AwayUntil.IsZero() || m.Addr != "no port" || m.HTTP != "http://b:8080" {
		t.Errorf("the node that did not come back: %+v", m)
	}
}

// A node that was paused while another left takes that for failed; the state says that it
// has left. One that ended before raft has removed it has failed.
func TestCluster_Members_left(t *testing.T) {
	r := newRig(t)
	for _, id := range []pipeline.NodeID{"n2", "n3", "n4"} {
		m := cluster.Member{ID: id, Name: string(id), Status: cluster.StatusFailed, RaftRole: cluster.RoleNone}
		if id == "n3" {
			m.RaftRole = cluster.RoleVoter
		}
		r.cluster.others = append(r.cluster.others, m)
		r.apply(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: id}, Only: "stop"}})
		if id != "n4" {
			r.apply(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: id}, Only: "evacuated"}})
		}
	}
	list, err := clusterOf(r, "", nil).Members(t.Context())
	if err != nil || len(list.Members) != 3 || list.Members[0].ID != "n3" || list.Members[1].ID != "n4" {
		t.Errorf("got %+v, %v", list, err)
	}
}

// The deadline of a drain is stored, and goes when the drain ends.
func TestCluster_Drain_deadline(t *testing.T) {
	r := newRig(t)
	c := clusterOf(r, "", nil)
	record := func() (rec fsm.WorkerRecord) {
		r.view(func(v *fsm.View) { rec, _ = v.Worker("n1") })
		return rec
	}
	for _, tc := range []struct {
		in       wire.DrainRequest
		draining bool
		deadline bool
	}{{wire.DrainRequest{DeadlineSeconds: 60}, true, true}, {wire.DrainRequest{}, true, false}, {wire.DrainRequest{Off: true, DeadlineSeconds: 60}, false, false}} {
		if err := c.Drain(t.Context(), sam, "n1", tc.in); err != nil {
			t.Fatal(err)
		}
		if rec := record(); rec.Draining != tc.draining || rec.DrainDeadline.After(time.Now()) != tc.deadline {
			t.Errorf("%+v: record %+v", tc.in, rec)
		}
	}
	wantError(t, "too late", c.Drain(t.Context(), sam, "n1", wire.DrainRequest{DeadlineSeconds: 31 * 24 * 3600}), pipeline.Invalid, "to 30 days")

	r.cluster.others = []cluster.Member{{ID: "n2", Name: "one"}}
	wantError(t, "two nodes of one name", c.Drain(t.Context(), sam, "one", wire.DrainRequest{}), pipeline.Conflict, "use the node's id")
}

// Servers that gossip does not know are listed with what raft knows.
func TestCluster_Raft(t *testing.T) {
	r := newRig(t)
	r.cluster.others = []cluster.Member{{ID: "n2", Name: "two", PeerAddr: "10.0.0.2:7000"}}
	r.cluster.raft.Term, r.cluster.raft.State = 3, "leader"
	r.cluster.raft.Servers = []consensus.Server{{ID: "n1", Suffrage: consensus.Voter}, {ID: "n2", Suffrage: consensus.Standby},
		{ID: "n3-of-long-ago", Suffrage: consensus.Voter}}
	info, err := clusterOf(r, "", nil).Raft(t.Context())
	if err != nil || info.Term != 3 || info.Leader != "one" || len(info.Servers) != 3 {
		t.Fatalf("got %+v, %v", info, err)
	}
	one, two, gone := info.Servers[0], info.Servers[1], info.Servers[2]
	if !one.Leader || one.Name != "one" || two.Address != "10.0.0.2:7000" || two.Leader || two.Suffrage != string(consensus.Standby) ||
		gone.Name != "n3-of-long-a" || gone.Address != "" {
		t.Errorf("servers %+v", info.Servers)
	}
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
