package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/cluster/gossip"
)

// server is a voter where its name is in capitals, else a standby.
func servers(spec string) []consensus.Server {
	var out []consensus.Server
	for _, r := range spec {
		s := consensus.Server{ID: string(r), Suffrage: consensus.Standby}
		if r >= 'A' && r <= 'Z' {
			s.ID, s.Suffrage = string(r+'a'-'A'), consensus.Voter
		}
		out = append(out, s)
	}
	return out
}

// nodes: "a" is alive, "a-" has failed, "a!" is dead, "a." is gone, "a*" is an
// orchestrator, "a#" is no candidate for raft.
func nodes(spec ...string) map[string]candidate {
	out := map[string]candidate{}
	for _, s := range spec {
		c := candidate{id: s[:1], eligible: true, alive: true}
		for _, r := range s[1:] {
			switch r {
			case '-':
				c.alive = false
			case '!':
				c.alive, c.dead = false, true
			case '.':
				c.gone = true
			case '*':
				c.preferred = true
			case '#':
				c.eligible = false
			}
		}
		out[c.id] = c
	}
	return out
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name    string
		servers string
		nodes   []string
		behind  string
		want    string
	}{
		{"one", "A", []string{"a"}, "", "none"},
		{"two: one standby", "A", []string{"a", "b"}, "", "standby b"},
		{"two: enough", "Ab", []string{"a", "b"}, "", "none"},
		{"three: take in first", "Ab", []string{"a", "b", "c"}, "", "standby c"},
		{"three: both caught up", "Abc", []string{"a", "b", "c"}, "", "voter b"},
		{"three: one is behind", "Abc", []string{"a", "b", "c"}, "c", "none"},
		{"three: second follows at once", "ABc", []string{"a", "b", "c"}, "", "voter c"},
		{"three: enough", "ABC", []string{"a", "b", "c"}, "", "none"},
		{"four: a spare", "ABC", []string{"a", "b", "c", "d"}, "", "standby d"},
		{"four: stays three", "ABCd", []string{"a", "b", "c", "d"}, "", "none"},
		{"five", "ABCde", []string{"a", "b", "c", "d", "e"}, "", "voter d"},
		{"five: even passes", "ABCDe", []string{"a", "b", "c", "d", "e"}, "", "voter e"},
		{"eight: two spares", "ABCDEfg", []string{"a", "b", "c", "d", "e", "f", "g", "h"}, "", "none"},
		{"workers do not count", "A", []string{"a", "b#", "c#"}, "", "none"},
		{"orchestrators first", "Abcd", []string{"a", "b", "c", "d*"}, "", "voter d"},
		{"orchestrators are taken in first", "A", []string{"a", "b", "c*"}, "", "standby c"},
		{"a voter fails: wait", "ABCd", []string{"a", "b", "c-", "d"}, "", "none"},
		{"a voter is dead: replace first", "ABCd", []string{"a", "b", "c!", "d"}, "", "voter d"},
		{"replaced: remove", "ABCD", []string{"a", "b", "c!", "d"}, "", "remove c"},
		{"dead without replacement: stays", "ABC", []string{"a", "b", "c!"}, "", "none"},
		{"replacement is behind", "ABCd", []string{"a", "b", "c!", "d"}, "d", "none"},
		{"two of five dead, one spare", "ABCDEf", []string{"a", "b", "c", "d!", "e!", "f"}, "", "voter f"},
		{"a voter leaves: replace first", "ABCd", []string{"a", "b", "c.", "d"}, "", "voter d"},
		{"a voter leaves, replaced", "ABCD", []string{"a", "b", "c.", "d"}, "", "remove c"},
		{"a voter leaves, none to replace it", "ABC", []string{"a", "b", "c."}, "", "remove c"},
		{"two are left: one vote", "AB", []string{"a", "b"}, "", "voter to standby b"},
		{"two stay, one of them down: it loses its vote first", "ABC", []string{"a", "b-", "c."}, "", "voter to standby b"},
		{"the leader leaves two nodes", "Ab", []string{"a.", "b"}, "", "voter b"},
		{"the leader hands over", "AB", []string{"a.", "b"}, "", "hand over a"},
		{"a dead standby goes", "ABCd", []string{"a", "b", "c", "d!"}, "", "remove d"},
		{"a standby left", "Ab", []string{"a", "b."}, "", "remove b"},
		{"gossip calls the leader dead", "ABC", []string{"a!", "b", "c"}, "", "none"},
		{"a voter is a worker now: replace first", "ABCd", []string{"a", "b", "c#", "d"}, "", "voter d"},
		{"a voter is a worker now, replaced", "ABCD", []string{"a", "b", "c#", "d"}, "", "remove c"},
		{"a voter is a worker now, none to replace it", "ABC", []string{"a", "b", "c#"}, "", "remove c"},
		{"two voters are workers now: the others have no majority", "ABCd", []string{"a", "b#", "c#", "d"}, "", "none"},
		{"a voter is a worker now, another is down: no change can be committed", "ABCDE", []string{"a", "b", "c#", "d-", "e-"}, "", "none"},
	} {
		in := planInput{self: "a", servers: servers(c.servers), nodes: nodes(c.nodes...),
			caughtUp: func(id string) bool { return !slices.Contains([]string{c.behind}, id) }}
		s := plan(in)
		got := s.change.String()
		if s.id != "" {
			got += " " + s.id
		}
		if got != c.want {
			t.Errorf("%s: got %q (%s), want %q", c.name, got, s.why, c.want)
		}
	}
}

// do changes servers as raft would.
func do(list []consensus.Server, s step) []consensus.Server {
	list = slices.Clone(list)
	i := slices.IndexFunc(list, func(v consensus.Server) bool { return v.ID == s.id })
	switch s.change {
	case changeAdd:
		return append(list, consensus.Server{ID: s.id, Suffrage: consensus.Standby})
	case changePromote:
		list[i].Suffrage = consensus.Voter
	case changeDemote:
		list[i].Suffrage = consensus.Standby
	case changeRemove:
		return slices.Delete(list, i, i+1)
	}
	return list
}

// TestPlan_properties: whatever the nodes do, every change can be committed by
// the living, failure never lowers the number of voters, no worker gets in, and
// once nothing changes any more the number of voters is right.
func TestPlan_properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := servers("A")
		all := map[string]candidate{"a": {id: "a", eligible: true, alive: true}}
		most := 1
		turn := rapid.Bool().Draw(t, "turn") // some are started again as workers, or as none
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			id := string(rune('b' + rapid.IntRange(0, 8).Draw(t, "node")))
			n, ok := all[id]
			if !ok {
				n = candidate{id: id, eligible: rapid.IntRange(0, 4).Draw(t, "kind") > 0}
			}
			left := false
			switch event := rapid.IntRange(0, 5).Draw(t, "event"); {
			case event == 5 && turn:
				n.eligible, n.alive, n.dead, n.gone = !n.eligible, true, false, false
			case event < 2 || event == 5:
				n.alive, n.dead, n.gone = true, false, false
			case event == 2:
				n.alive = false
			case event == 3:
				n.alive, n.dead = false, true
			case event == 4:
				n.gone, left = true, true
			}
			all[id] = n
			settled := false
			for range 40 {
				before := voters(list)
				s := plan(planInput{self: "a", servers: list, nodes: all, caughtUp: func(string) bool { return true }})
				if s.change == changeNone {
					settled = true
					break
				}
				if s.change == changeTransfer {
					t.Fatalf("hands over although the leader stays: %+v", s)
				}
				if c := all[s.id]; !c.eligible && s.change != changeRemove || (s.change == changeAdd || s.change == changePromote) && (!c.alive || c.gone) {
					t.Fatalf("%+v of %+v", s, c)
				}
				list = do(list, s)
				alive := 0
				for _, v := range voters(list) {
					if all[v].alive && all[v].eligible {
						alive++
					}
				}
				if s.change != changeAdd && !slices.Equal(before, voters(list)) && alive < len(voters(list))/2+1 {
					t.Fatalf("%+v leaves %v, of which %d live", s, voters(list), alive)
				}
			}
			if !settled {
				t.Fatal("it never settles")
			}
			n0 := len(voters(list))
			// A node that has failed but is not dead yet is waited for.
			if n0%2 == 0 && allAlive(list, all) {
				t.Fatalf("settled at %d voters", n0)
			}
			if !left && !turn && !anyLeft(all) && n0 < most {
				t.Fatalf("failure lowered the voters from %d to %d", most, n0)
			}
			most = max(most, n0)
			if left {
				most = n0
			}
			standbys := len(list) - n0
			if standbys > 4+maxSpares {
				t.Fatalf("%d standbys", standbys)
			}
		}
	})
}

func voters(list []consensus.Server) []string {
	var out []string
	for _, s := range list {
		if s.Suffrage == consensus.Voter {
			out = append(out, s.ID)
		}
	}
	return out
}

func allAlive(list []consensus.Server, all map[string]candidate) bool {
	return !slices.ContainsFunc(list, func(s consensus.Server) bool { return !all[s.ID].alive || all[s.ID].gone || !all[s.ID].eligible })
}

func anyLeft(all map[string]candidate) bool {
	for _, n := range all {
		if n.gone {
			return true
		}
	}
	return false
}

func TestPledges(t *testing.T) {
	for i, c := range []struct {
		self   string
		expect int
		fresh  []string // "id:expect:pledge"
		pledge string
		found  bool
	}{
		{"a", 3, []string{"a:3:"}, "a", false},
		{"a", 3, []string{"a:3:a", "b:3:a"}, "a", false},
		{"a", 3, []string{"a:3:a", "b:3:a", "c:3:"}, "a", false},
		{"a", 3, []string{"a:3:a", "b:3:a", "c:3:a"}, "a", true},
		{"b", 3, []string{"a:3:a", "b:3:a", "c:3:a"}, "a", false},
		{"a", 2, []string{"a:2:a", "b:0:a"}, "a", true},
		{"b", 0, []string{"a:2:a", "b:0:"}, "a", false},
		{"b", 0, []string{"b:0:", "c:0:"}, "", false},
		// The lowest id does not begin anything itself.
		{"b", 2, []string{"a:0:b", "b:2:b"}, "b", true},
	} {
		got, found := pledges(c.self, c.expect, freshNodes(t, c.fresh))
		if got != c.pledge || found != c.found {
			t.Errorf("%d: got %q, %v", i, got, found)
		}
	}
}

// TestPledges_oneBegins: with as many nodes as are expected, at most one ever
// begins, in whatever order they hear of each other.
func TestPledges_oneBegins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 3
		known := [n]string{} // what each has pledged last
		var seen [n][n]string
		heard := [n][n]bool{}
		founders := map[int]bool{}
		for range rapid.IntRange(5, 60).Draw(t, "steps") {
			i, j := rapid.IntRange(0, n-1).Draw(t, "i"), rapid.IntRange(0, n-1).Draw(t, "j")
			if founders[j] {
				continue // no longer fresh
			}
			heard[i][j], seen[i][j] = true, known[j]
			if founders[i] {
				continue
			}
			var spec []string
			for k := range n {
				if heard[i][k] || k == i {
					spec = append(spec, fmt.Sprintf("%c:3:%s", 'a'+k, seen[i][k]))
				}
			}
			pledge, found := pledges(string(rune('a'+i)), n, freshNodes(t, spec))
			known[i], seen[i][i], heard[i][i] = pledge, pledge, true
			if found {
				founders[i] = true
			}
		}
		if len(founders) > 1 {
			t.Fatalf("founders: %v", founders)
		}
	})
}

func freshNodes(t interface{ Fatal(...any) }, spec []string) []gossip.Member {
	var out []gossip.Member
	for _, s := range spec {
		parts := strings.Split(s, ":")
		n, err := strconv.Atoi(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, gossip.Member{ID: parts[0], Meta: gossip.Meta{Expect: n, Pledge: parts[2]}})
	}
	return out
}

// TestFollows: in a young cluster every log is short, so the distance alone
// would give a vote to a standby that has nothing yet.
func TestFollows(t *testing.T) {
	for _, c := range []struct {
		name string
		s    consensus.Status
		want bool
	}{
		{"near", consensus.Status{Term: 2, Leader: "a", LastIndex: 3}, true},
		{"another leader", consensus.Status{Term: 2, Leader: "b", LastIndex: 3}, false},
		{"another term", consensus.Status{Term: 1, Leader: "a", LastIndex: 3}, false},
	} {
		if got := follows(c.s, "a", 2, 3+maxBehind); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if follows(consensus.Status{Term: 2, Leader: "a", LastIndex: 3}, "a", 2, 4+maxBehind) {
		t.Error("a standby that misses more than maxBehind entries follows")
	}
	if follows(consensus.Status{Term: 2, Leader: "a"}, "a", 2, 3) {
		t.Error("a standby without a log follows a leader with a short one")
	}
}
