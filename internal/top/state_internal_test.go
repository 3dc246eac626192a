package top

import (
	"slices"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
)

// What several nodes say of the cluster marks none of them; what one says of itself does.
func TestState_dropShared(t *testing.T) {
	const voter, disk = "voter beta does not answer: 2 of 3 voters are left", "disk low"
	s := State{Health: wire.Health{Reasons: []string{voter, disk}}, Nodes: []Node{{Reasons: []string{voter, disk}}, {}, {Reasons: []string{voter}}}}
	s.dropShared()
	for i, want := range [][]string{{disk}, nil, {}} {
		if got := s.Nodes[i].Reasons; !slices.Equal(got, want) {
			t.Errorf("node %d: %q, want %q", i, got, want)
		}
	}
}
