package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestRoster_note(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoster()
		leaving := Member{ID: "l", Meta: Meta{Leaving: true}}
		began := time.Now()
		r.note(Member{ID: "a"}, Alive)
		r.note(leaving, Alive)
		r.note(Member{ID: "l"}, Failed) // it had announced it
		r.note(leaving, Failed)
		time.Sleep(time.Minute)
		r.note(Member{ID: "a", Addr: "new"}, Alive)

		if a, ok := r.get("a"); !ok || !a.Since.Equal(began) || a.Addr != "new" {
			t.Errorf("the same state again: %+v", a)
		}

		r.note(Member{ID: "a"}, Failed)
		if a, _ := r.get("a"); a.Status != Failed || !a.Since.Equal(began.Add(time.Minute)) {
			t.Errorf("another state: %+v", a)
		}

		if l, _ := r.get("l"); l.Status != Left {
			t.Errorf("one that announced that it leaves is %v", l.Status)
		}

		select {
		case <-r.poke:
		default:
			t.Error("not poked")
		}
	})
}

// New addresses of a member are kept, the newest first, until it is alive where gossip
// has it.
func TestRoster_moved(t *testing.T) {
	r := newRoster()
	elsewhere := func(want ...string) {
		t.Helper()
		if m, _ := r.get("a"); !slices.Equal(m.Elsewhere, want) {
			t.Errorf("elsewhere %q, want %q", m.Elsewhere, want)
		}
	}
	r.moved("a", "1") // unknown
	r.note(Member{ID: "a", Addr: "0"}, Alive)
	<-r.poke
	r.moved("a", "0")
	elsewhere()
	for _, addr := range []string{"1", "2", "1", "1", "3", "4"} {
		r.moved("a", addr)
	}
	elsewhere("4", "3", "1")
	select {
	case <-r.poke:
	default:
		t.Error("not poked")
	}
	r.note(Member{ID: "a", Addr: "0"}, Failed)
	elsewhere("4", "3", "1")
	r.note(Member{ID: "a", Addr: "4"}, Alive)
	elsewhere()
}

// A node that the leader reports as removed has left as soon as it fails here too; a
// refused removal changes nothing.
func TestRoster_forget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoster()
		for _, id := range []string{"reported", "refused", "late"} {
			r.note(Member{ID: id}, Alive)
			if r.forget(id, id != "refused") {
				t.Errorf("%s: forgotten although it is alive", id)
			}
		}
		r.note(Member{ID: "failed"}, Failed)
		for _, id := range []string{"failed", "unknown"} {
			if !r.forget(id, false) {
				t.Errorf("%s: not forgotten", id)
			}
		}
		r.note(Member{ID: "reported"}, Failed)
		r.note(Member{ID: "refused"}, Failed)
		time.Sleep(removedFor)
		r.note(Member{ID: "late"}, Failed)

		for id, want := range map[string]Status{"reported": Left, "refused": Failed, "late": Failed, "failed": Left, "unknown": Left} {
			if m, ok := r.get(id); !ok || m.Status != want {
				t.Errorf("%s is %v, want %v", id, m.Status, want)
			}
		}
		r.note(Member{ID: "failed"}, Alive)
		if m, _ := r.get("failed"); m.Status != Alive {
			t.Error("it came back and does not count")
		}
	})
}

func TestRoster_trim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoster()
		r.note(Member{ID: "alive"}, Alive)

		for i := range maxGone + 5 {
			r.note(Member{ID: fmt.Sprintf("n%05d", i)}, Failed)
			time.Sleep(time.Second)
		}

		all := r.all()
		if len(all) != maxGone+1 || all[0].ID != "alive" || all[1].ID != "n00005" {
			t.Errorf("%d members, the oldest is %s: want the newest %d and the living one", len(all), all[1].ID, maxGone)
		}

		time.Sleep(keepGone)
		r.note(Member{ID: "alive"}, Alive)

		if all := r.all(); len(all) != 1 {
			t.Errorf("%d members a day later, want the living one", len(all))
		}
	})
}

func TestExplain(t *testing.T) {
	g := &Gossip{cfg: Config{KeyName: "/etc/key"}}
	const addr = "10.0.0.2:7946"
	for text, want := range map[string]string{
		"1 error occurred:\n\t* failed to join 10.0.0.2:7946: EOF":                        addr + " uses a different cluster key than /etc/key",
		"failed to join 10.0.0.2:7946: read: connection reset by peer":                    addr + " uses a different cluster key than /etc/key",
		"failed to join 10.0.0.2:7946: dial tcp: connection refused":                      addr + ": connection refused",
		"1 error occurred:\n\t* x: refused n at 1.2.3.4:5: it belongs to another cluster": "refused n at 1.2.3.4:5: it belongs to another cluster",
		"failed to join 10.0.0.2:7946: dial tcp: i/o timeout":                             addr + ": dial tcp: i/o timeout",
		"1 error occurred:\n\t* failed to join 10.0.0.2:7946: dial tcp: no route to host": addr + ": dial tcp: no route to host",
	} {
		if got := g.explain(addr, errors.New(text)); got.Error() != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}

	if got := g.explain(addr, syscall.ECONNREFUSED); got.Error() != addr+": connection refused" {
		t.Errorf("got %q", got)
	}

	if err := g.explain(addr, nil); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestBridge_repeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := bridge(hclog.New(&hclog.LoggerOptions{Output: &out}), "")
		line := func(port int) { l.Printf("[ERR] memberlist: unacceptable label: from=10.0.0.2:%d", port) }
		line(1)
		line(2) // the same node, from another port
		time.Sleep(repeatAfter)
		line(3)
		l.Print("[WARN] memberlist: refused x: it gives up its own empty cluster first")
		l.Print("[ERR] memberlist: no installed keys could decrypt the message")

		got := strings.Count(out.String(), "uses a different cluster key than this node")
		if got != 3 || !strings.Contains(out.String(), "a node uses") {
			t.Errorf("%d lines:\n%s", got, out.String())
		}
	})
}
