package gossip

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
)

// Two nodes have each other's round trip and packets; a node that is gone is heard no
// more.
func TestGossip_Contact(t *testing.T) {
	a, b := open(t, "a", nil), open(t, "b", nil)
	if err := b.Join(t.Context(), a.addr()); err != nil {
		t.Fatal(err)
	}
	of := func(g *Gossip, id string) Contact {
		m, _ := g.Member(id)
		return g.Contact(m)
	}

	began := time.Now()
	testutil.Eventually(t, 20*time.Second, func() error {
		for _, c := range []Contact{of(a, "b"), of(b, "a")} {
			if c.RoundTrip <= 0 || c.Answered.Before(began) || c.Heard.Before(began) {
				return fmt.Errorf("%+v", c)
			}
		}
		return nil
	})
	if c := of(a, "unknown"); c != (Contact{}) {
		t.Errorf("a node that does not exist: %+v", c)
	}
}

func TestContacts_areBounded(t *testing.T) {
	c := newContacts()
	for i := range 3 * maxContacts {
		c.answer(fmt.Sprint(i), time.Millisecond)
		c.hear(&net.UDPAddr{IP: net.IPv4(10, 0, byte(i>>8), byte(i)), Port: 7946})
	}
	if len(c.answered) > maxContacts || len(c.heard) > maxContacts {
		t.Errorf("%d nodes, %d addresses", len(c.answered), len(c.heard))
	}

	// The same address, as the two families write it.
	c.hear(&net.UDPAddr{IP: net.ParseIP("::ffff:127.0.0.1"), Port: 5})
	if got := c.with("x", "127.0.0.1:5"); got.Heard.IsZero() {
		t.Error("an address of both families is not known")
	}
}
