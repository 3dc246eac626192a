package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

// TestMain looks for goroutines left behind; memberlist's own probes end within
// seconds.
func TestMain(m *testing.M) {
	code := m.Run()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if err = goleak.Find(); err == nil {
			break
		}
	}
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var full = Meta{Cluster: strings.Repeat("c", maxClusterID), Name: strings.Repeat("n", maxName), Version: strings.Repeat("v", maxVersion),
	Mode: pipeline.ModeOrchestrator, PeerPort: 65535, HTTPAddr: "[" + strings.Repeat("a", maxHTTPHost-2) + "::]:65535", HTTPS: true,
	Slots: 1 << 40, Load: 1 << 40, Incarnation: strings.Repeat("i", maxIncarnation), Role: "leader", Term: 1<<64 - 1,
	Draining: true, Leaving: true, Yields: true, Expect: 1 << 20, Sees: 1 << 20, Pledge: strings.Repeat("p", maxNodeID)}

func TestMeta_roundTrip(t *testing.T) {
	for _, m := range []Meta{{Mode: pipeline.ModeAuto, Role: "none"}, full} {
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}

		if len(b) > maxMeta {
			t.Errorf("%d bytes", len(b))
		}

		got, err := decodeMeta(b)
		if err != nil {
			t.Fatal(err)
		}

		if d := cmp.Diff(m, got); d != "" {
			t.Error(d)
		}
	}
}

func TestMeta_clips(t *testing.T) {
	m := Meta{Name: strings.Repeat("ü", 100), Mode: pipeline.ModeAuto, Version: strings.Repeat("x", 1000)}
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeMeta(b)
	if err != nil || got.Name != strings.Repeat("ü", maxName/2) || len(got.Version) != maxVersion {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDecodeMeta_refuses(t *testing.T) {
	good, _ := full.encode()
	for name, b := range map[string][]byte{
		"empty": nil, "long": make([]byte, maxMeta+1), "text": []byte("hello"), "cut": good[:len(good)-3],
		"more": append(bytes.Clone(good[:200]), good...), "version": {0xa1, 0x00, 0x02}, "mode": {0xa2, 0, 1, 4, 99},
		"control": {0xa2, 0, 1, 2, 0x61, 0x07}, "negative": {0xa2, 0, 1, 5, 0x20}, "utf8": {0xa2, 0, 1, 2, 0x61, 0xff},
	} {
		if m, err := decodeMeta(b); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func FuzzDecodeMeta(f *testing.F) {
	b, _ := full.encode()
	f.Add(b)
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		if got, err := decodeMeta(again); err != nil || got != m {
			t.Fatalf("%+v, then %+v, %v", m, got, err)
		}
	})
}

func FuzzMerge(f *testing.F) {
	b, _ := full.encode()
	f.Add("node", []byte{127, 0, 0, 1}, uint16(1), b)
	f.Fuzz(func(_ *testing.T, name string, ip []byte, port uint16, meta []byte) {
		g := &Gossip{cfg: Config{ID: "me", Admit: func(Meta, Member) error { return nil }}, roster: newRoster()}
		d := &delegate{g}
		n := &memberlist.Node{Name: name, Addr: ip, Port: port, Meta: meta}
		_ = d.NotifyMerge([]*memberlist.Node{n})
		if d.NotifyAlive(n) == nil {
			d.NotifyJoin(n)
		}
		d.NotifyLeave(n)
		d.NotifyConflict(n, n)
		d.MergeRemoteState(meta, true)
		d.NotifyMsg(meta)
	})
}

func open(tb testing.TB, id string, admit func(Meta, Member) error) *Gossip {
	tb.Helper()
	g, err := Open(Config{ID: id, BindAddr: "127.0.0.1", Key: bytes.Repeat([]byte{1}, 32), Label: "label",
		Meta: Meta{Name: "name-" + id, Mode: pipeline.ModeAuto, Role: "none", Cluster: "c"}, Admit: admit, Logger: hclog.NewNullLogger()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { g.Close() })
	if err := g.Start(); err != nil {
		tb.Fatal(err)
	}
	return g
}

func (g *Gossip) addr() string {
	m, _ := g.Member(g.cfg.ID)
	return m.Addr
}

func TestGossip_update(t *testing.T) {
	a, b := open(t, "a", nil), open(t, "b", nil)
	if err := b.Join(t.Context(), a.addr()); err != nil {
		t.Fatal(err)
	}

	if err := b.UpdateMeta(true, func(m *Meta) { m.Role, m.Term = "leader", 7 }); err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	testutil.Eventually(t, 10*time.Second, func() error {
		if m, _ := a.Member("b"); m.Meta.Term != 7 || m.Status != Alive {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})

	t.Logf("heard after %v", time.Since(began))

	// Many calm changes: the last one arrives.
	for i := range 20 {
		if err := b.UpdateMeta(false, func(m *Meta) { m.Load = i }); err != nil {
			t.Fatal(err)
		}
	}

	testutil.Eventually(t, 10*time.Second, func() error {
		if m, _ := a.Member("b"); m.Meta.Load != 19 {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})

	b.Close()
	testutil.Eventually(t, 20*time.Second, func() error {
		if m, _ := a.Member("b"); m.Status != Failed {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
}

func TestGossip_leave(t *testing.T) {
	a, b := open(t, "a", nil), open(t, "b", nil)
	if err := b.Join(t.Context(), a.addr()); err != nil {
		t.Fatal(err)
	}

	if err := b.Leave(3 * time.Second); err != nil {
		t.Fatal(err)
	}

	testutil.Eventually(t, 10*time.Second, func() error {
		if m, _ := a.Member("b"); m.Status != Left {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
}

func TestGossip_refuses(t *testing.T) {
	why := errors.New("not one of us")
	a := open(t, "a", func(_ Meta, m Member) error {
		if m.ID == "b" {
			return why
		}
		return nil
	})

	b := open(t, "b", func(_ Meta, m Member) error { return why })
	err := b.Join(t.Context(), a.addr())
	if err == nil || !strings.Contains(err.Error(), "refused name-a at "+a.addr()+": not one of us") {
		t.Errorf("got %v", err)
	}

	if len(a.Members()) != 1 || len(b.Members()) != 1 {
		t.Errorf("%v, %v", a.Members(), b.Members())
	}
}

func isWrongKey(err error) bool {
	var wrong *WrongKeyError
	return errors.As(err, &wrong)
}

// Something else than gossip that answers, such as the HTTP port, has no other key.
func TestGossip_Join_otherPort(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()

	b := open(t, "b", nil)
	err := b.Join(t.Context(), web.Listener.Addr().String())
	if !errors.Is(err, ErrOtherPort) || isWrongKey(err) {
		t.Errorf("got %v", err)
	}
}

func TestGossip_Join_explains(t *testing.T) {
	a := open(t, "a", nil)
	for _, c := range []struct{ key, label string }{{"2", "label"}, {"1", "other"}, {"2", "other"}} {
		b, err := Open(Config{ID: "b", BindAddr: "127.0.0.1", Key: bytes.Repeat([]byte(c.key), 32), Label: c.label, KeyName: "/etc/key",
			Meta: Meta{Mode: pipeline.ModeAuto}})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
		if err := b.Join(t.Context(), a.addr()); !isWrongKey(err) || err.Error() != a.addr()+" uses a different cluster key than /etc/key" {
			t.Errorf("%+v: %v", c, err)
		}
		b.Close()
	}

	gone := a.addr()
	b := open(t, "b", nil)
	a.Close()

	if err := b.Join(t.Context(), gone); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	if err := b.Join(ctx, "192.0.2.1:7946"); err == nil {
		t.Error("joined with a dead context")
	}
}

func TestBridge(t *testing.T) {
	var buf bytes.Buffer
	l := bridge(hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &buf, DisableTime: true}), "/etc/key")
	l.Print("[DEBUG] memberlist: Stream connection from=127.0.0.1:1")
	l.Print("[WARN] memberlist: Was able to connect to x over TCP but UDP probes failed")
	// A probe of the port says nothing about keys.
	l.Print("[ERR] memberlist: discarding stream with unacceptable label \"\": from=127.0.0.9:2000")
	for i := range 5 {
		l.Printf("[ERR] memberlist: discarding stream with unacceptable label \"other\": from=127.0.0.9:%d", 1000+i)
	}
	l.Print("[WARN] memberlist: ignoring alive message for 'x': refused x at 1.2.3.4:5: it belongs to another cluster")
	want := "[WARN]  127.0.0.9:1000 uses a different cluster key than /etc/key\n[WARN]  refused x at 1.2.3.4:5: it belongs to another cluster\n"
	if got := buf.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestClose_unstarted: a node that is closed before it began is not held up by
// others that have called it already.
func TestClose_unstarted(t *testing.T) {
	g, err := Open(Config{ID: "n", BindAddr: "127.0.0.1", Key: make([]byte, 32), Meta: Meta{Name: "n", Mode: pipeline.ModeAuto, Role: "none"}})
	if err != nil {
		t.Fatal(err)
	}

	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(g.Port()))
	for _, network := range []string{"tcp", "udp"} {
		for range 3 {
			c, err := net.Dial(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
	}

	done := make(chan error, 1)
	go func() { done <- g.Close() }()

	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it hangs")
	}
}
