package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// toolCluster is some nodes and a token for the cache of other tools.
type toolCluster struct {
	tb    testing.TB
	nodes []*Node
	c     *client.Client
	token string
	http  http.Client
}

// openToolCluster opens voters and, behind them, one node that only works.
func openToolCluster(tb testing.TB, voters int, worker bool, limits Limits) *toolCluster {
	tb.Helper()
	x := &toolCluster{tb: tb}
	for i := range voters {
		cfg := Config{Name: fmt.Sprintf("n%d", i+1), Limits: limits}
		if i > 0 {
			cfg.Join = []string{x.nodes[0].cluster.Addresses().Gossip}
		}
		n, c := openNode(tb, cfg)
		x.nodes = append(x.nodes, n)
		if i == 0 {
			x.c = c
		}
	}
	if worker {
		n, _ := openNode(tb, Config{Name: "w", Mode: pipeline.ModeWorker, Join: []string{x.nodes[0].cluster.Addresses().Gossip}})
		x.nodes = append(x.nodes, n)
	}
	eventually(tb, func() error {
		if h := x.nodes[0].Health(tb.Context()); len(h.Voters) != voters || h.Status != "healthy" {
			return fmt.Errorf("voters are %v, it is %s", h.Voters, h.Status)
		}
		return nil
	})
	made, err := x.c.Tokens().Create(tb.Context(), wire.TokenRequest{Role: "submit"})
	if err != nil {
		tb.Fatal(err)
	}
	x.token = made.Token
	tb.Cleanup(x.http.CloseIdleConnections)
	return x
}

// ask sends a request to a node.
func (x *toolCluster) ask(n *Node, method, path string, body io.Reader) (int, []byte, error) {
	req, err := http.NewRequestWithContext(x.tb.Context(), method, "http://"+n.HTTPAddr()+path, body)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+x.token)
	res, err := x.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return res.StatusCode, got, err
}

// must is ask that must be answered with a status; it gives the body.
func (x *toolCluster) must(n *Node, method, path string, body []byte, status int) []byte {
	x.tb.Helper()
	got, b, err := x.ask(n, method, path, bytes.NewReader(body))
	if err != nil || got != status {
		x.tb.Fatalf("%s %s of %s: %d, %v, want %d: %.300s", method, path, n.Name(), got, err, status, b)
	}
	return b
}

func acPath(i int) string { return fmt.Sprintf("/ac/%064x", i) }

// blobFile is where a node has a blob.
func blobFile(n *Node, d pipeline.Digest) string {
	return filepath.Join(n.stores.dir.BlobsDir(), string(d[:2]), string(d))
}

// holders counts the nodes that have a blob.
func (x *toolCluster) holders(d pipeline.Digest) (count int) {
	for _, n := range x.nodes {
		if n.stores.blobs.Has(d) {
			count++
		}
	}
	return count
}

// damage changes a byte of a blob on a node, where it has it.
func (x *toolCluster) damage(n *Node, d pipeline.Digest, at int64) {
	x.tb.Helper()
	path := blobFile(n, d)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err == nil {
		raw[at] ^= 1
		if err = os.Chmod(path, 0o600); err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
	}
	if err != nil {
		x.tb.Fatal(err)
	}
}

// What sixteen clients put through all nodes at once is on two nodes when it is
// answered, and every node has it to give: one that holds no state too.
func TestTools_everywhere(t *testing.T) {
	x := openToolCluster(t, 3, true, Limits{})
	var g errgroup.Group
	for w := range 16 {
		g.Go(func() error {
			for i := range 6 {
				k := w*6 + i
				body := []byte(strings.Repeat(fmt.Sprintf("entry %d ", k), 50*i+1))
				at, other := x.nodes[k%len(x.nodes)], x.nodes[(k+1)%len(x.nodes)]
				if status, b, err := x.ask(other, "GET", acPath(k), nil); status != 404 || err != nil {
					return fmt.Errorf("before: %d %s, %w", status, b, err)
				}
				if status, b, err := x.ask(at, "PUT", acPath(k), bytes.NewReader(body)); status != 201 || err != nil {
					return fmt.Errorf("put %d: %d %s, %w", k, status, b, err)
				}
				if count := x.holders(blob.DigestOf(body)); count < 2 {
					return fmt.Errorf("entry %d is on %d nodes", k, count)
				}
				for _, n := range x.nodes {
					if status, b, err := x.ask(n, "GET", acPath(k), nil); status != 200 || err != nil || !bytes.Equal(b, body) {
						return fmt.Errorf("get %d of %s: %d, %d bytes, %w", k, n.Name(), status, len(b), err)
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	stats, err := x.c.Cache().Stats(t.Context())
	if err != nil || len(stats.Tools) != 2 || stats.Tools[0].Kind != wire.KindBazel || stats.Tools[0].Entries != 96 {
		t.Errorf("stats: %+v, %v", stats, err)
	}
	// Page by page they are all listed.
	var seen []string
	for cursor := ""; ; {
		page, err := x.c.Cache().Tools(t.Context(), wire.KindBazel, 25, cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			seen = append(seen, e.Key)
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if len(seen) != 96 || !slices.IsSorted(seen) || len(slices.Compact(seen)) != 96 {
		t.Errorf("%d entries are listed", len(seen))
	}
	if page, err := x.c.Cache().Tools(t.Context(), wire.KindTurbo, 0, ""); err != nil || len(page.Entries) > 0 {
		t.Errorf("of turbo: %+v, %v", page, err)
	}
}

// Several puts of one key at the same time: one of them stands, whole, and on all
// nodes the same.
func TestTools_sameKey(t *testing.T) {
	x := openToolCluster(t, 3, false, Limits{})
	var all [][]byte
	for i := range 12 {
		all = append(all, bytes.Repeat([]byte{byte('a' + i)}, 100_000+i))
	}
	var g errgroup.Group
	for i, body := range all {
		g.Go(func() error {
			status, b, err := x.ask(x.nodes[i%3], "PUT", acPath(1), bytes.NewReader(body))
			if status != 201 || err != nil {
				return fmt.Errorf("put %d: %d %s, %w", i, status, b, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	var first []byte
	for _, n := range x.nodes {
		eventually(t, func() error { // a node may be behind for a moment
			got := x.must(n, "GET", acPath(1), nil, 200)
			if first == nil {
				first = x.must(x.leader(), "GET", acPath(1), nil, 200)
			}
			if !slices.ContainsFunc(all, func(b []byte) bool { return bytes.Equal(b, got) }) {
				t.Fatalf("%s gives what nobody put: %d bytes", n.Name(), len(got))
			}
			if !bytes.Equal(got, first) {
				return fmt.Errorf("%s gives %d bytes, the leader %d", n.Name(), len(got), len(first))
			}
			return nil
		})
	}
}

func (x *toolCluster) leader() *Node {
	x.tb.Helper()
	var found *Node
	eventually(x.tb, func() error {
		for _, n := range x.nodes {
			if n.orch.Leading() {
				found = n
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return found
}

// A damaged copy is never given out: a good one is, from wherever it is. With
// none left the answer is a miss, or an answer that is cut where it had begun, and
// the entry is gone.
func TestTools_damage(t *testing.T) {
	x := openToolCluster(t, 3, false, Limits{})
	small, large := bytes.Repeat([]byte("s"), 5000), bytes.Repeat([]byte("l"), 3<<20)
	for i, tc := range []struct {
		name   string
		body   []byte
		at     int64
		copies int // that are damaged; 3 is all
		lost   bool
	}{
		{"a small one", small, 100, 1, false},
		{"a large one in its middle", large, 2 << 20, 1, false},
		{"all of a small one", append(slices.Clone(small), 1), 4000, 3, true},
		{"all of a large one at its start", append(slices.Clone(large), 1), 10, 3, true},
		{"all of a large one in its middle", append(slices.Clone(large), 2), 2 << 20, 3, true},
	} {
		key, d := acPath(100+i), blob.DigestOf(tc.body)
		x.must(x.nodes[0], "PUT", key, tc.body, 201)
		for _, n := range x.nodes {
			x.must(n, "GET", key, nil, 200) // each has a copy then
		}
		for _, n := range x.nodes[:tc.copies] {
			x.damage(n, d, tc.at)
		}
		// The node asked has a damaged copy.
		status, got, err := x.ask(x.nodes[0], "GET", key, nil)
		switch {
		case !tc.lost && (err != nil || status != 200 || !bytes.Equal(got, tc.body)):
			t.Errorf("%s: %d, %d bytes, %v; want the good copy", tc.name, status, len(got), err)
		case tc.lost && (err == nil || tc.at < blob.BlockSize) && status != 404:
			t.Errorf("%s: %d, %d bytes, %v; want a miss, or a break behind the first block", tc.name, status, len(got), err)
		case tc.lost && err != nil && !bytes.HasPrefix(tc.body, got):
			t.Errorf("%s: wrong bytes before the break", tc.name)
		}
		if !tc.lost {
			continue
		}
		x.must(x.nodes[0], "GET", key, nil, 404)
		for _, n := range x.nodes {
			eventually(t, func() error {
				k, err := pipeline.ParseToolKey("ac//" + key[len("/ac/"):])
				if err != nil {
					t.Fatal(err)
				}
				if toolHere(n, k) != nil {
					return fmt.Errorf("%s: %s still has the entry", tc.name, n.Name())
				}
				return nil
			})
		}
		x.must(x.nodes[1], "PUT", key, tc.body, 201)
		if got := x.must(x.nodes[0], "GET", key, nil, 200); !bytes.Equal(got, tc.body) {
			t.Errorf("%s: put again and not given back", tc.name)
		}
	}
	// HEAD tells of bytes that are nowhere as of a miss.
	body := []byte("nowhere")
	x.must(x.nodes[0], "PUT", acPath(1), body, 201)
	x.must(x.nodes[2], "HEAD", acPath(1), nil, 200)
	for _, n := range x.nodes {
		if err := n.stores.blobs.Delete(blob.DigestOf(body)); err != nil {
			t.Fatal(err)
		}
	}
	x.must(x.nodes[2], "HEAD", acPath(1), nil, 404)
	x.must(x.nodes[2], "GET", acPath(1), nil, 404)
}

// A sweep leaves alone what an entry leads to, and takes it once the entry is gone.
func TestTools_sweep(t *testing.T) {
	x := openToolCluster(t, 1, false, Limits{})
	n, body := x.nodes[0], []byte("kept by its entry")
	d := blob.DigestOf(body)
	for _, path := range []string{"/cas/" + string(d), "/web/ac/" + string(d), "/v8/artifacts/abc?slug=web"} {
		status := 201
		if strings.HasPrefix(path, "/v8") {
			status = 202
		}
		x.must(n, "PUT", path, body, status)
		past(t, n, d)
		if _, err := n.fabric.collector.Collect(t.Context(), minSweepGrace); err != nil {
			t.Fatal(err)
		}
		x.must(n, "GET", path, nil, 200)
		kind := wire.KindBazel
		if status == 202 {
			kind = wire.KindTurbo
		}
		if out, err := x.c.Cache().Prune(t.Context(), wire.CachePrune{Kind: kind, All: true, DryRun: true}); err != nil || out.Removed != 1 || out.Bytes != int64(len(body)) {
			t.Errorf("dry run: %+v, %v", out, err)
		}
		if out, err := x.c.Cache().Prune(t.Context(), wire.CachePrune{Kind: kind, All: true}); err != nil || out.Removed != 1 {
			t.Errorf("prune: %+v, %v", out, err)
		}
		x.must(n, "GET", path, nil, 404)
		past(t, n, d)
		if _, err := n.fabric.collector.Collect(t.Context(), minSweepGrace); err != nil {
			t.Fatal(err)
		}
		if n.stores.blobs.Has(d) {
			t.Errorf("%s: the blob is still there", path)
		}
	}
}

// Limits let go what was taken longest ago, and what was not taken for long.
func TestTools_retained(t *testing.T) {
	x := openToolCluster(t, 1, false, Limits{MaxToolCache: 2500, KeepToolCacheFor: 48 * time.Hour})
	n, now := x.nodes[0], time.Now()
	for i := range 4 {
		x.must(n, "PUT", acPath(i), bytes.Repeat([]byte{byte(i)}, 1000), 201)
	}
	// An hour later 0 is read, which the node reports to the state.
	if err := n.state.Commit(t.Context(), &fsm.Command{At: now.Add(time.Hour), Tools: &fsm.Tools{Takes: []pipeline.ToolKey{toolKeyOf(0)}}}); err != nil {
		t.Fatal(err)
	}
	if err := n.services.retention.Apply(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	var left []string
	err := n.stores.state.View(func(v *fsm.View) error {
		v.ToolsByAge(func(e *pipeline.ToolEntry) bool { left = append(left, e.Key[63:]); return true })
		return nil
	})
	if err != nil || len(left) != 2 || left[1] != "0" {
		t.Errorf("left are %v, %v; want two, and 0 as the newest", left, err)
	}
	if err := n.services.retention.Apply(t.Context(), now.Add(48*time.Hour+30*time.Minute)); err != nil {
		t.Fatal(err)
	}
	x.must(n, "GET", acPath(0), nil, 200)
	if s, err := x.c.Cache().Stats(t.Context()); err != nil || s.Tools[0].Entries != 1 {
		t.Errorf("after two days: %+v, %v", s.Tools, err)
	}
}

// toolHere finds an entry in the state of a node.
func toolHere(n *Node, k pipeline.ToolKey) (e *pipeline.ToolEntry) {
	_ = n.stores.state.View(func(v *fsm.View) error { e = v.Tool(k); return nil }) // closed: there is none
	return e
}

func toolKeyOf(i int) pipeline.ToolKey {
	return pipeline.ToolKey{Space: pipeline.ToolActions, Key: fmt.Sprintf("%064x", i)}
}

// A node without room refuses with the reason, and another one takes it.
func TestTools_noRoom(t *testing.T) {
	x := openToolCluster(t, 3, false, Limits{})
	small, _ := openNode(t, Config{Name: "small", Limits: Limits{LowWater: 1 << 60}, Join: []string{x.nodes[0].cluster.Addresses().Gossip}})
	if b := x.must(small, "PUT", acPath(1), []byte("x"), 507); !strings.Contains(string(b), "disk low") {
		t.Errorf("no reason: %s", b)
	}
	x.must(x.nodes[0], "PUT", acPath(1), []byte("x"), 201)
	if n := x.holders(blob.DigestOf([]byte("x"))); n != 2 {
		t.Errorf("on %d nodes with room", n)
	}
}

// What no second node took in time is committed with one copy, and gets its
// second one when a node takes it.
func TestTools_alone(t *testing.T) {
	x := openToolCluster(t, 1, false, Limits{})
	n, body := x.nodes[0], []byte("alone")
	d := blob.DigestOf(body)
	x.must(n, "PUT", acPath(1), body, 201)
	other, _ := openNode(t, Config{Name: "n2", Join: []string{n.cluster.Addresses().Gossip}})
	eventually(t, func() error {
		n.fabric.suspects.Alone(d)
		if !other.stores.blobs.Has(d) {
			return errors.New("no second copy")
		}
		return nil
	})
}

// A put that its client gave up leaves nothing, and one that repeats what is there
// costs no entry of the log.
func TestTools_abortedAndRepeated(t *testing.T) {
	x := openToolCluster(t, 1, false, Limits{})
	n := x.nodes[0]
	conn, err := net.Dial("tcp", n.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", acPath(1), x.token, 1<<20)
	if _, err := conn.Write(make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, conn) // the node has ended the request then
	conn.Close()
	x.must(n, "GET", acPath(1), nil, 404)

	x.must(n, "PUT", acPath(2), []byte("again"), 201)
	before := n.stores.state.Index()
	for range 5 {
		x.must(n, "PUT", acPath(2), []byte("again"), 201)
	}
	if now := n.stores.state.Index(); now != before {
		t.Errorf("the log grew by %d", now-before)
	}
	x.must(n, "PUT", acPath(2), []byte("other"), 201)
	if got := x.must(n, "GET", acPath(2), nil, 200); string(got) != "other" {
		t.Errorf("kept %q", got)
	}
}
