package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/pipeline"
)

// fakeGossip is a list of members and the description of this node.
type fakeGossip struct {
	members []gossip.Member
	meta    gossip.Meta
	// updates are the descriptions that were published, urgent tells which of
	// them at once.
	updates []gossip.Meta
	urgent  []bool
}

func (g *fakeGossip) Members() []gossip.Member { return g.members }

func (g *fakeGossip) Member(id string) (gossip.Member, bool) {
	i := slices.IndexFunc(g.members, func(m gossip.Member) bool { return m.ID == id })
	if i < 0 {
		return gossip.Member{}, false
	}
	return g.members[i], true
}

func (g *fakeGossip) Meta() gossip.Meta { return g.meta }

func (g *fakeGossip) UpdateMeta(urgent bool, change func(*gossip.Meta)) error {
	before := g.meta
	change(&g.meta)
	if g.meta != before {
		g.updates, g.urgent = append(g.updates, g.meta), append(g.urgent, urgent)
	}
	return nil
}

// member is an alive member of cluster "c"; its address is its id.
func member(id string, change ...func(*gossip.Member)) gossip.Member {
	m := gossip.Member{ID: id, Addr: id, IP: "10.0.0.1", Meta: gossip.Meta{Name: "name-" + id, Cluster: "c", Mode: pipeline.ModeAuto, PeerPort: 1}}
	for _, f := range change {
		f(&m)
	}
	return m
}

func leads(term uint64) func(*gossip.Member) {
	return func(m *gossip.Member) { m.Meta.Role, m.Meta.Term = RoleLeader, term }
}

func inCluster(id string) func(*gossip.Member) {
	return func(m *gossip.Member) { m.Meta.Cluster = id }
}

func status(s gossip.Status) func(*gossip.Member) {
	return func(m *gossip.Member) { m.Status = s }
}

// parts are those of node "a" without raft, as on a worker.
type parts struct {
	gossip  *fakeGossip
	view    *view
	seeker  *seeker
	founder *founder
	saved   []string
	joined  int
}

func newParts(tb testing.TB, clusterID string, members ...gossip.Member) *parts {
	tb.Helper()
	k, err := keys.New(bytes.Repeat([]byte{1}, keys.Size))
	if err != nil {
		tb.Fatal(err)
	}
	identity := k.Identity(keys.Subject{Cluster: clusterID, Node: "a", Mode: pipeline.ModeAuto}, nil, nil)

	p := &parts{gossip: &fakeGossip{members: members}}
	p.view = &view{self: "a", gossip: p.gossip, replica: newReplica("a"), remembered: func(string) bookEntry { return bookEntry{} }}
	p.seeker = &seeker{view: p.view, identity: identity, log: hclog.NewNullLogger(), wake: make(chan struct{}, 1), found: func() {}}
	cfg := &Config{NodeID: "a", Mode: pipeline.ModeAuto, SaveIdentity: func(id string, _ []string) error {
		if identity.Subject().Cluster == id {
			tb.Error("the certificate named the cluster before its id was saved")
		}
		p.saved = append(p.saved, id)
		return nil
	}}
	p.founder = &founder{cfg: cfg, log: hclog.NewNullLogger(), identity: identity, gossip: p.gossip, replica: p.view.replica,
		view: p.view, joined: func() { p.joined++ }, yieldTo: make(chan string, 1)}
	return p
}

func TestFounder_decide(t *testing.T) {
	const own = "10.0.0.1:7946"
	for name, tc := range map[string]struct {
		mode   pipeline.Mode
		join   []string
		expect int

		first bool
		wants int
	}{
		"nothing to join":        {first: true},
		"only itself":            {join: []string{own}, first: true},
		"itself and two others":  {join: []string{own, "10.0.0.2", "10.0.0.3:7946"}, wants: 3},
		"only others":            {join: []string{"10.0.0.2"}},
		"an expected number":     {join: []string{"10.0.0.2"}, expect: 3, wants: 3},
		"an expected number, 1":  {expect: 1, first: true, wants: 1},
		"a worker":               {mode: pipeline.ModeWorker, join: []string{own}},
		"standalone":             {mode: pipeline.ModeStandalone, first: true},
		"a name that is unknown": {join: []string{"no.such.host.invalid"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParts(t, "")
			p.founder.cfg.Mode, p.founder.cfg.Expect = cmp.Or(tc.mode, pipeline.ModeAuto), tc.expect
			p.founder.targets = newTargets(tc.join, "10.0.0.1", "10.0.0.1", 7946)

			if first := p.founder.decide(t.Context()); first != tc.first || p.founder.expect != tc.wants {
				t.Errorf("got %v, expecting %d, want %v, expecting %d", first, p.founder.expect, tc.first, tc.wants)
			}
		})
	}
}

func TestFounder_adopt(t *testing.T) {
	fresh := inCluster("")
	standalone := func(m *gossip.Member) { m.Meta.Mode = pipeline.ModeStandalone }
	for name, tc := range map[string]struct {
		members []gossip.Member
		want    string
	}{
		"the lowest of two":     {[]gossip.Member{member("b", inCluster("d")), member("c")}, "c"},
		"none that has failed":  {[]gossip.Member{member("b", status(gossip.Failed))}, ""},
		"none that is alone":    {[]gossip.Member{member("b", standalone)}, ""},
		"only fresh nodes here": {[]gossip.Member{member("a", fresh), member("b", fresh)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParts(t, "", tc.members...)
			if err := p.founder.adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := p.founder.clusterID(); got != tc.want || p.gossip.meta.Cluster != tc.want {
				t.Errorf("in cluster %q, published %q, want %q", got, p.gossip.meta.Cluster, tc.want)
			}
			if joined := tc.want != ""; (p.joined == 1) != joined || (len(p.saved) == 1) != joined {
				t.Errorf("joined %d times, saved %v", p.joined, p.saved)
			}
		})
	}

	p := newParts(t, "", member("a", fresh), member("b", fresh))
	if err := p.founder.adopt(t.Context()); err != nil || p.gossip.meta.Sees != 2 {
		t.Errorf("a fresh node publishes that it sees %d, %v", p.gossip.meta.Sees, err)
	}
}

func TestFounder_become_saveFails(t *testing.T) {
	p := newParts(t, "", member("b"))
	p.founder.cfg.SaveIdentity = func(string, []string) error { return errors.New("disk full") }
	err := p.founder.adopt(t.Context())
	if err == nil || p.founder.clusterID() != "" || len(p.gossip.updates) > 0 {
		t.Errorf("got %v: an id that is not durable was used or published: %+v", err, p.gossip.updates)
	}
}

func TestFounder_admit(t *testing.T) {
	for name, tc := range map[string]struct {
		self, other gossip.Meta
		want, yield string
	}{
		"same cluster":         {self: gossip.Meta{Cluster: "c"}, other: gossip.Meta{Cluster: "c"}},
		"a fresh node":         {self: gossip.Meta{Cluster: "c"}},
		"this one fresh":       {other: gossip.Meta{Cluster: "c"}},
		"this one standalone":  {self: gossip.Meta{Mode: pipeline.ModeStandalone}, want: "standalone"},
		"it standalone":        {other: gossip.Meta{Mode: pipeline.ModeStandalone}, want: "standalone"},
		"another cluster":      {self: gossip.Meta{Cluster: "c"}, other: gossip.Meta{Cluster: "d"}, want: "it belongs to cluster d"},
		"this one yields":      {self: gossip.Meta{Cluster: "c", Yields: true}, other: gossip.Meta{Cluster: "d"}, want: "this node gives up", yield: "d"},
		"it yields":            {self: gossip.Meta{Cluster: "c"}, other: gossip.Meta{Cluster: "d", Yields: true}, want: "it gives up"},
		"both, it has lower":   {self: gossip.Meta{Cluster: "c", Yields: true}, other: gossip.Meta{Cluster: "b", Yields: true}, want: "this node gives up", yield: "b"},
		"both, it has higher":  {self: gossip.Meta{Cluster: "c", Yields: true}, other: gossip.Meta{Cluster: "d", Yields: true}, want: "it gives up"},
		"fresh and standalone": {self: gossip.Meta{Mode: pipeline.ModeStandalone}, other: gossip.Meta{Cluster: "d"}, want: "admits no other"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParts(t, "c")
			err := p.founder.admit(tc.self, gossip.Member{Meta: tc.other})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			yield := ""
			select {
			case yield = <-p.founder.yieldTo:
			default:
			}
			if yield != tc.yield {
				t.Errorf("yields to %q, want %q", yield, tc.yield)
			}
		})
	}
}

func TestFounder_knowsOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		members    []gossip.Member
		remembered []string
		want       bool
	}{
		"alone":          {members: []gossip.Member{member("a")}},
		"another":        {members: []gossip.Member{member("a"), member("b")}, want: true},
		"another failed": {members: []gossip.Member{member("b", status(gossip.Failed))}, want: true},
		"another left":   {members: []gossip.Member{member("b", status(gossip.Left))}},
		"another before": {remembered: []string{"10.0.0.2:7946"}, want: true},
	} {
		p := newParts(t, "c", tc.members...)
		p.founder.cfg.RememberedPeers = tc.remembered
		if got := p.founder.knowsOthers(); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestView_leader(t *testing.T) {
	for name, tc := range map[string]struct {
		members []gossip.Member
		named   leaderAnswer
		want    string
	}{
		"none":                  {members: []gossip.Member{member("b")}, want: " 0 false"},
		"gossip":                {members: []gossip.Member{member("b", leads(3))}, want: "b 3 true"},
		"the later of two":      {members: []gossip.Member{member("b", leads(3)), member("c", leads(4))}, want: "c 4 true"},
		"not one that failed":   {members: []gossip.Member{member("b", leads(3), status(gossip.Failed))}, want: " 0 false"},
		"not this node":         {members: []gossip.Member{member("a", leads(9))}, want: " 0 false"},
		"a later one was named": {members: []gossip.Member{member("b", leads(3))}, named: leaderAnswer{Leader: "d", Term: 4}, want: "d 4 true"},
		"an earlier was named":  {members: []gossip.Member{member("b", leads(3))}, named: leaderAnswer{Leader: "d", Term: 2}, want: "b 3 true"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParts(t, "c", tc.members...)
			p.view.name(tc.named)
			id, term, ok := p.view.leader()
			if got := fmt.Sprint(id, " ", term, " ", ok); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestView_name(t *testing.T) {
	p := newParts(t, "c")
	for i, tc := range []struct {
		term   uint64
		leader pipeline.NodeID
		news   bool
	}{{3, "b", true}, {3, "b", false}, {2, "c", false}, {3, "c", true}, {4, "c", true}} {
		if got := p.view.name(leaderAnswer{Leader: tc.leader, Term: tc.term}); got != tc.news {
			t.Errorf("%d: news %v, want %v", i, got, tc.news)
		}
	}
	p.view.unname()
	if got := p.view.namedLeader(); got.Leader != "" {
		t.Errorf("named %s after the cluster was left", got.Leader)
	}
}

// A node has left once raft has removed it, also if it announced before that it leaves.
func TestDescribeMember_left(t *testing.T) {
	left := member("b", status(gossip.Left))
	for _, tc := range []struct {
		roles map[string]string
		want  string
	}{
		{map[string]string{"a": RoleLeader}, StatusLeft},
		{map[string]string{"a": RoleLeader, "b": RoleVoter}, StatusFailed},
		{map[string]string{"a": RoleVoter, "b": RoleStandby}, StatusFailed},
		{nil, StatusLeft}, // a worker knows of no raft
	} {
		if got := describeMember(left, tc.roles).Status; got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.roles, got, tc.want)
		}
	}
}

func TestView_gossipAddrs(t *testing.T) {
	standby := func(m *gossip.Member) { m.Meta.Role = RoleStandby }
	p := newParts(t, "c", member("a"), member("b"), member("c", standby), member("d", leads(1)), member("e", status(gossip.Left)), member("f", status(gossip.Failed)))
	if got, want := fmt.Sprint(p.view.gossipAddrs()), "[d c b f]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSeeker_askAround(t *testing.T) {
	answers := map[string]leaderAnswer{
		"b": {Cluster: "c", Leader: "b", Term: 2},
		"d": {Cluster: "c", Leader: "d", Term: 5},
		"e": {Cluster: "other", Leader: "e", Term: 9},
		"f": {Cluster: "c", Term: 9}, // knows no leader
	}
	var asked []string
	p := newParts(t, "c", member("a"), member("b"), member("d", leads(5)), member("e"), member("f"),
		member("g", inCluster("other")), member("h", status(gossip.Failed)), member("i"), member("j"))
	news := 0
	p.seeker.found = func() { news++ }
	p.seeker.ask = func(_ context.Context, id, path string, out any) error {
		asked = append(asked, id)
		a, ok := answers[id]
		if !ok || path != pathLeader {
			return errors.New("no answer")
		}
		*out.(*leaderAnswer) = a
		return nil
	}

	if err := p.seeker.askAround(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(asked, ""), "dbefi"; got != want {
		t.Errorf("asked %s, want %s: those with a part in raft first, five at most", got, want)
	}
	if got := p.view.namedLeader(); got.Leader != "d" || got.Term != 5 || news != 1 {
		t.Errorf("named %s of term %d, %d times news", got.Leader, got.Term, news)
	}
	if !p.seeker.confirmed(t.Context()) {
		t.Error("the leader says that it leads, and is not believed")
	}
	answers["d"] = leaderAnswer{Cluster: "c", Leader: "b", Term: 6}
	if p.seeker.confirmed(t.Context()) {
		t.Error("the leader names another one, and is believed")
	}
}

// The terms are lower if the voters were restored from older copies. A node without a part
// in raft finds the leader all the same, and does not name the former one to others.
func TestSeeker_confirmed_lowerTerm(t *testing.T) {
	for name, failed := range map[string]bool{"the former leader denies": false, "the former leader has failed": true} {
		t.Run(name, func(t *testing.T) {
			former := member("b")
			if failed {
				former.Status = gossip.Failed
			}
			p := newParts(t, "c", former, member("d", leads(3)))
			p.seeker.ask = func(_ context.Context, id, _ string, out any) error {
				if failed && id == "b" {
					return errors.New("no answer")
				}
				*out.(*leaderAnswer) = leaderAnswer{Cluster: "c", Leader: "d", Term: 3}
				return nil
			}
			p.view.name(leaderAnswer{Leader: "b", Term: 7})
			if a := p.seeker.answer(); a.Leader != "" {
				t.Errorf("it answers that %s leads, which it knows from others only", a.Leader)
			}
			if p.seeker.confirmed(t.Context()) {
				t.Error("no need to ask")
			}
			if err := p.seeker.askAround(t.Context()); err != nil {
				t.Fatal(err)
			}
			if id, term, _ := p.view.leader(); id != "d" || term != 3 {
				t.Errorf("%s leads in term %d", id, term)
			}
		})
	}
}

// A node that is reached at several addresses of its machine may be started again with
// another one as that of gossip: what others still have of it is no other process.
func TestLoop_checkConflict(t *testing.T) {
	open := func(bind string, peerPort int) *Cluster {
		c, err := Open(Config{NodeID: "a", Name: "a", ClusterID: "c", Key: bytes.Repeat([]byte{1}, keys.Size), Mode: pipeline.ModeWorker,
			BindAddr: bind, AdvertiseAddr: "127.0.0.2", PeerPort: peerPort, RaftDir: t.TempDir(),
			SaveIdentity: func(string, []string) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- c.peers.serve(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := errors.Join(<-served, c.Close()); err != nil {
				t.Error(err)
			}
		})
		return c
	}

	c := open("0.0.0.0", 0)
	before := member("a", func(m *gossip.Member) { m.IP, m.Meta.PeerPort = "127.0.0.1", c.peers.port() })
	if err := c.loop.checkConflict(t.Context(), before); err != nil {
		t.Errorf("its former address: %v", err)
	}
	clone := open("127.0.0.3", 0)
	other := member("a", func(m *gossip.Member) { m.IP, m.Meta.PeerPort = "127.0.0.3", clone.peers.port() })
	if err := c.loop.checkConflict(t.Context(), other); err == nil || !strings.Contains(err.Error(), "same id") {
		t.Errorf("another process: %v", err)
	}
}

func TestSeeker_admitRaft_worker(t *testing.T) {
	p := newParts(t, "c")
	if err := p.seeker.admitRaft(keys.Subject{Node: "b", Mode: pipeline.ModeAuto}); err == nil {
		t.Error("a node without raft admitted a raft connection")
	}
}

func TestAnnouncer_publish(t *testing.T) {
	g := &fakeGossip{meta: gossip.Meta{Cluster: "c", Pledge: "b"}}
	now := Meta{Slots: 4}
	a := &announcer{cfg: &Config{Name: "n", Mode: pipeline.ModeWorker, Meta: func() Meta { return now }}, peerPort: 7, gossip: g,
		replica: newReplica("a"), wake: make(chan struct{}, 1)}
	step := func(want string) {
		t.Helper()
		g.updates, g.urgent = nil, nil
		if err := a.publish(); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(g.urgent); got != want {
			t.Errorf("published urgently: %s, want %s", got, want)
		}
	}
	step("[true]")
	step("[]")
	now.Load = 3
	step("[false]")
	now.Draining = true
	step("[true]")
	a.setLeaving(true)
	step("[true]")
	if g.meta.Cluster != "c" || g.meta.Pledge != "b" || !g.meta.Leaving || g.meta.PeerPort != 7 {
		t.Errorf("published %+v", g.meta)
	}
}
