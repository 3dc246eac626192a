package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/consensus"
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
	p.view = &view{self: "a", gossip: p.gossip, replica: newReplica("a")}
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

func newJoiner(p *parts, join ...string) *joiner {
	return &joiner{cfg: p.founder.cfg, log: hclog.NewNullLogger(), view: p.view, targets: newTargets(join, "10.0.0.1", "10.0.0.1", 1),
		changes: &subscribers{}, clusterID: p.founder.clusterID, ownAddr: "10.0.0.1:1"}
}

func TestJoiner_candidates(t *testing.T) {
	p := newParts(t, "c", member("10.0.0.2:1"), member("10.0.0.3:1", status(gossip.Failed)))
	p.founder.cfg.RememberedPeers = []string{"10.0.0.9:1", "10.0.0.2:1"}
	j := newJoiner(p, "10.0.0.9:1", "10.0.0.4:1", "10.0.0.1:1")
	want := []string{"10.0.0.9:1", "10.0.0.4:1", "10.0.0.3:1"}
	if got := j.candidates(t.Context(), true); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := j.candidates(t.Context(), false); len(got) != 1 || !slices.Contains(want, got[0]) {
		t.Errorf("with company: got %v, want one of %v", got, want)
	}
}

// The pauses grow from minRetry to maxRetry; once another member is there they
// are those of reconnecting, and after it is lost the joiner starts over.
func TestJoiner_run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t, "", member("a"))
		j := newJoiner(p, "10.0.0.2:1")
		began, ctx := time.Now(), t.Context()
		var tries []time.Duration
		ctx, cancel := context.WithCancel(ctx)
		j.connect = func(context.Context, string) error {
			tries = append(tries, time.Since(began))
			return errors.New("connection refused")
		}
		done := make(chan error, 1)
		go func() { done <- j.run(ctx) }()

		time.Sleep(30 * time.Second)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ended with %v", err)
		}
		if len(tries) < 8 || len(tries) > 14 {
			t.Fatalf("tried at %v", tries)
		}
		for i := 1; i < len(tries); i++ {
			if pause := tries[i] - tries[i-1]; pause < minRetry*8/10 || pause > maxRetry*12/10 {
				t.Errorf("pause %v between tries", pause)
			}
		}
		if last := tries[len(tries)-1] - tries[len(tries)-2]; last < maxRetry*8/10 {
			t.Errorf("the last pause is %v, want about %v", last, maxRetry)
		}
	})
}

func TestJoiner_wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t, "c", member("a"), member("b"))
		j := newJoiner(p)
		changed := make(chan struct{})
		began := time.Now()
		done := make(chan bool, 1)
		go func() { done <- j.wait(t.Context(), time.Minute, changed) }()

		changed <- struct{}{} // nothing was lost
		synctest.Wait()
		p.gossip.members = p.gossip.members[:1]
		changed <- struct{}{}
		if !<-done || time.Since(began) != 0 {
			t.Errorf("waited %v after the last other member was lost", time.Since(began))
		}
	})
}

func TestJoiner_warnRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		j := newJoiner(newParts(t, "c"))
		j.log = hclog.New(&hclog.LoggerOptions{Output: &out})
		lines := func(want int) {
			t.Helper()
			if got := strings.Count(out.String(), "cannot join"); got != want {
				t.Errorf("%d lines, want %d:\n%s", got, want, out.String())
			}
		}
		wrong := &gossip.WrongKeyError{Addr: "10.0.0.2:1", KeyName: "/etc/key"}
		j.warnRefused(errors.New("10.0.0.3:1: connection refused"))
		j.warnRefused(errors.New("refused x: it" + givesUp))
		lines(0)
		j.warnRefused(wrong)
		j.warnRefused(wrong)
		lines(1)
		j.warnRefused(errors.New("refused x: it belongs to another cluster"))
		lines(2)
		time.Sleep(warnInterval)
		j.warnRefused(wrong)
		lines(3)
	})
}

func TestVoterManager_planInput(t *testing.T) {
	now := time.Now()
	since := func(d time.Duration) func(*gossip.Member) {
		return func(m *gossip.Member) { m.Status, m.Since = gossip.Failed, now.Add(-d) }
	}
	p := newParts(t, "c", member("a"), member("b", since(deadAfter)), member("d", since(deadAfter-1)), member("e", inCluster("")),
		member("f", status(gossip.Left)), member("g", func(m *gossip.Member) { m.Meta.Mode = pipeline.ModeWorker }),
		member("h", func(m *gossip.Member) { m.Meta.Mode, m.Meta.Leaving = pipeline.ModeOrchestrator, true }))
	v := &voterManager{view: p.view, clusterID: func() string { return "c" }, unseen: map[string]time.Time{}}

	show := func(at time.Time) string {
		var out []string
		in := v.planInput([]consensus.Server{{ID: "a"}, {ID: "z"}}, at)
		for _, id := range slices.Sorted(slices.Values([]string{"a", "b", "d", "e", "f", "g", "h", "z"})) {
			c, ok := in.nodes[id]
			if !ok {
				continue
			}
			for _, f := range []struct {
				sign string
				on   bool
			}{{"#", !c.eligible}, {"-", !c.alive && !c.dead}, {"!", c.dead}, {".", c.gone}, {"*", c.preferred}} {
				if f.on {
					id += f.sign
				}
			}
			out = append(out, id)
		}
		return strings.Join(out, " ")
	}
	if got, want := show(now), "a b! d- f-. g# h.* z-"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := show(now.Add(deadAfter)), "a b! d! f-. g# h.* z!"; got != want {
		t.Errorf("a server that gossip never knew: got %s, want %s", got, want)
	}
}

func TestLeaver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t, "c", member("a"), member("b", leads(2)))
		inRaft := true
		p.seeker.ask = func(_ context.Context, id, _ string, out any) error {
			a := leaderAnswer{Cluster: "c", Leader: pipeline.NodeID(id), Term: 2}
			if inRaft {
				a.Servers = []consensus.Server{{ID: "a"}}
			}
			*out.(*leaderAnswer) = a
			return nil
		}
		p.founder.cfg.RaftDir = t.TempDir()
		announced := &announcer{cfg: p.founder.cfg, gossip: p.gossip, replica: p.view.replica, wake: make(chan struct{}, 1)}
		left := false
		l := &leaver{cfg: p.founder.cfg, announcer: announced, view: p.view, seeker: p.seeker, leaveGossip: func(time.Duration) error {
			if _, err := os.Stat(filepath.Join(p.founder.cfg.RaftDir, leftMark)); err != nil {
				t.Errorf("gossip spreads it before the mark is there: %v", err)
			}
			left = true
			return nil
		}}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.leave(ctx); err == nil || left || announced.leaving.Load() {
			t.Errorf("still in raft: %v, left %v, leaving %v", err, left, announced.leaving.Load())
		}

		inRaft = false
		if err := l.leave(t.Context()); err != nil || !left || !slices.Equal(p.saved, []string{""}) {
			t.Errorf("out of raft: %v, left %v, saved %q", err, left, p.saved)
		}

		p.gossip.members = p.gossip.members[:1]
		if err := l.leave(t.Context()); pipeline.KindOf(err) != pipeline.Conflict {
			t.Errorf("the only node: %v", err)
		}
	})
}

func TestDirectory_addrs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	book, err := openAddressBook(path)
	if err != nil {
		t.Fatal(err)
	}
	gossiped := "10.0.0.2:2"
	d := &directory{book: book, gossiped: func(string) string { return gossiped }}
	if err := book.put(map[string]string{"b": "10.0.0.2:3"}); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "10.0.0.2", "host:1", "10.0.0.2:0", "10.0.0.2:70000", "10.0.0.2:x"} {
		d.report("b", bad)
	}
	if got := d.addrs("b"); !slices.Equal(got, []string{"10.0.0.2:2", "10.0.0.2:3"}) {
		t.Errorf("got %v: gossip comes before what is remembered", got)
	}
	d.report("b", "10.0.0.2:1")
	if got := d.addrs("b"); !slices.Equal(got, []string{"10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"}) {
		t.Errorf("got %v: what the node reported comes first", got)
	}

	if err := d.remember([]consensus.Server{{ID: "a"}, {ID: "b"}}, "a"); err != nil {
		t.Fatal(err)
	}
	again, err := openAddressBook(path)
	if err != nil || again.get("b") != "10.0.0.2:1" || again.get("a") != "" {
		t.Errorf("remembered %q and %q, %v", again.get("b"), again.get("a"), err)
	}
	if err := os.WriteFile(path, []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err = openAddressBook(path); err != nil || again.get("b") != "" {
		t.Errorf("a broken book: %q, %v", again.get("b"), err)
	}
}

func TestDirectory_ended(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	d := &directory{book: &addressBook{}, gossiped: func(string) string { return addr }}
	if d.ended(t.Context(), "b") {
		t.Error("ended although its port is open")
	}
	ln.Close()
	if !d.ended(t.Context(), "b") {
		t.Error("not ended although its port refuses connections")
	}
	addr = ""
	if d.ended(t.Context(), "b") {
		t.Error("ended although its address is not known")
	}
}

func TestSubscribers(t *testing.T) {
	var s subscribers
	a, stop := s.add()
	b, _ := s.add()
	s.notify()
	s.notify() // must not block although nothing was received
	<-a
	<-b
	stop()
	s.notify()
	<-b
	select {
	case <-a:
		t.Error("poked after its end")
	default:
	}
}
