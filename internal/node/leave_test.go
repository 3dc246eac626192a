package node

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/internal/state/statetest"
	"github.com/pipelined/pipelined/pipeline"
)

// Two of three nodes leave, at once or one right after the other, one of them the leader:
// what they had is on the last one.
func TestNode_leaveKeepsFiles(t *testing.T) {
	for name, waves := range map[string][][]int{"in turn": {{1}, {0}}, "at once": {{0, 1}}} {
		t.Run(name, func(t *testing.T) { leaveKeepsFiles(t, waves) })
	}
}

// leaveKeepsFiles has nodes of three leave, wave by wave; the third one stays.
func leaveKeepsFiles(t *testing.T, waves [][]int) {
	first, c := openNode(t, Config{Name: "n1"})
	nodes, clients := []*Node{first}, []*client.Client{c}
	for _, name := range []string{"n2", "n3"} {
		n, c := openNode(t, Config{Name: name, Tags: []string{name}, Join: []string{first.cluster.Addresses().Gossip}})
		nodes, clients = append(nodes, n), append(clients, c)
	}
	eventually(t, func() error {
		if h := first.Health(t.Context()); len(h.Voters) != 3 {
			return fmt.Errorf("voters are %v", h.Voters)
		}
		return nil
	})
	for i := range 5 {
		// They run on n2, and the second copy is on the leader: n3 has nothing.
		source := fmt.Sprintf("pipeline \"p\" {\n  module \"m\" {\n    script = \"echo %d; head -c 400000 /dev/urandom > out\"\n    outputs = [\"out\"]\n    requires = { tags = [\"n2\"] }\n  }\n}\n", i)
		if r := runToEnd(t, c, source); r.State != pipeline.RunSucceeded {
			t.Fatalf("run is %s: %s", r.State, r.Reason)
		}
	}

	left := 3
	for _, wave := range waves {
		for _, leaving := range wave {
			if err := clients[leaving].Cluster().Leave(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		left -= len(wave)
		eventually(t, func() error {
			members, err := clients[2].Cluster().Members(t.Context())
			if err != nil {
				return err
			}
			if len(members.Members) != left {
				return fmt.Errorf("members are %+v", members.Members)
			}
			return nil
		})
	}

	var refs []fsm.Reference
	last := nodes[2]
	if err := last.stores.state.View(func(v *fsm.View) error {
		return v.References(func(r fsm.Reference) error { refs = append(refs, r); return nil })
	}); err != nil || len(refs) < 10 {
		t.Fatalf("%d references, %v", len(refs), err)
	}
	for _, r := range refs {
		wanted := []pipeline.Digest{r.Digest}
		if r.Tree {
			files, err := last.stores.trees.Read(r.Digest)
			if err != nil {
				t.Errorf("listing of %v: %v", r.Attempt, err)
			}
			wanted = append(wanted, files.Digests()...)
		}
		if missing := last.stores.blobs.Missing(wanted); len(missing) > 0 {
			t.Errorf("%v: %d of %d blobs are not on the last node", r.Attempt, len(missing), len(wanted))
		}
	}
}

// idleMember is a node of two on which nothing runs.
type idleMember struct{}

func (idleMember) Load() int                                { return 0 }
func (idleMember) Close()                                   {}
func (idleMember) Members() []cluster.Member                { return make([]cluster.Member, 2) }
func (idleMember) IsLeader() bool                           { return false }
func (idleMember) TransferLeadership(context.Context) error { return nil }
func (idleMember) Leave(context.Context) error              { return nil }

// A node on which a part fails ends, also if it is about to leave, which may take hours.
func TestNode_leave_partFails(t *testing.T) {
	core, fail := context.WithCancelCause(t.Context())
	broken := errors.New("the disk is gone")
	var n Node
	n.services.departure = service.NewDeparture(service.DepartureConfig{Self: statetest.Self, Name: "one", State: statetest.New(t).State,
		Worker: idleMember{}, Cluster: idleMember{}, Logger: hclog.NewNullLogger(),
		Evacuate: func(ctx context.Context) error { fail(broken); <-ctx.Done(); return context.Cause(ctx) }})
	if err := n.leave(t.Context(), core); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
