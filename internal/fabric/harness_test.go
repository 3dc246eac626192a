package fabric_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// elapse lets virtual time pass in a synctest bubble, and waits until every
// goroutine in it waits again. It panics outside of a bubble.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network joins test nodes: real HTTP over loopback, with faults.
type network struct {
	tb testing.TB

	mu sync.Mutex
	// guards following
	nodes map[pipeline.NodeID]*testNode
	down  map[pipeline.NodeID]bool
	calls map[string]int                      // by path
	cut   map[pipeline.NodeID]int             // bytes after which a body from a node breaks off
	hold  map[pipeline.NodeID]<-chan struct{} // requests to a node wait for it
}

// testNode is one node with the parts of this package.
type testNode struct {
	id    pipeline.NodeID
	dir   string
	net   *network
	url   string
	blobs *blob.Store
	down  *fabric.Downloader
	up    *fabric.Uploader

	mu      sync.Mutex
	damaged []pipeline.Digest // reported by the store; guarded by mu
}

func newNetwork(tb testing.TB, ids ...pipeline.NodeID) *network {
	tb.Helper()
	n := &network{tb: tb, nodes: map[pipeline.NodeID]*testNode{}, down: map[pipeline.NodeID]bool{}, calls: map[string]int{},
		cut: map[pipeline.NodeID]int{}, hold: map[pipeline.NodeID]<-chan struct{}{}}
	for _, id := range ids {
		n.nodes[id] = n.newNode(id, 0)
	}
	return n
}

// newNode makes a node whose disk must keep lowWater bytes free.
func (n *network) newNode(id pipeline.NodeID, lowWater int64) *testNode {
	t := &testNode{id: id, dir: n.tb.TempDir(), net: n}
	blobs, err := blob.Open(t.dir, blob.Options{NoSync: true, LowWater: lowWater, OnCorrupt: func(d pipeline.Digest) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.damaged = append(t.damaged, d)
	}})
	if err != nil {
		n.tb.Fatal(err)
	}
	t.blobs = blobs
	trees := tree.NewCache(blobs)
	log := hclog.NewNullLogger()
	t.down = fabric.NewDownloader(fabric.DownloaderConfig{Self: id, Blobs: blobs, Trees: trees, Peers: t, Members: t, Logger: log})
	t.up = fabric.NewUploader(fabric.UploaderConfig{Self: id, Blobs: blobs, Trees: trees, Peers: t, Members: t,
		Leader: func() pipeline.NodeID { return "n1" }, Logger: log})

	mux := http.NewServeMux()
	fabric.NewServer(fabric.ServerConfig{Blobs: blobs, Trees: trees, Downloader: t.down, Logger: log}).Register(mux)
	server := httptest.NewServer(mux)
	t.url = server.URL
	n.tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		http.DefaultClient.CloseIdleConnections()
		if err := blobs.Close(); err != nil {
			n.tb.Error(err)
		}
	})
	return t
}

// setDown makes a node unreachable: it is no longer alive either.
func (n *network) setDown(id pipeline.NodeID, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[id] = down
}

// cutAfter breaks the next body from a node off after so many bytes.
func (n *network) cutAfter(id pipeline.NodeID, bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[id] = bytes
}

func (n *network) count(path string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[path]
}

// Others lists the others that are alive, those of preferred first.
func (t *testNode) Others(preferred ...pipeline.NodeID) []pipeline.NodeID {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	var list []pipeline.NodeID
	for id := range t.net.nodes {
		if id != t.id && !t.net.down[id] {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	slices.SortStableFunc(list, func(a, b pipeline.NodeID) int {
		switch p, q := slices.Contains(preferred, a), slices.Contains(preferred, b); {
		case p == q:
			return 0
		case p:
			return -1
		}
		return 1
	})
	return list
}

// NodeName is the id.
func (*testNode) NodeName(id pipeline.NodeID) string { return string(id) }

// Call sends a message.
func (t *testNode) Call(ctx context.Context, to pipeline.NodeID, path string, in, out any) error {
	raw, err := peer.Marshal(in)
	if err != nil {
		return err
	}
	res, err := t.Bulk(ctx, to, http.MethodPost, path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || out == nil {
		return err
	}
	return peer.Unmarshal(body, out)
}

var errUnreachable = &pipeline.Error{Kind: pipeline.Unavailable, Message: "unreachable"}

// Bulk makes a request.
func (t *testNode) Bulk(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	n := t.net
	n.mu.Lock()
	target, down, cut, hold := n.nodes[to], n.down[to] || n.down[t.id], n.cut[to], n.hold[to]
	n.calls[path[:len(path)-len(query(path))]]++
	if !strings.HasPrefix(path, "/peer/blob") {
		cut = 0 // a message
	} else if cut > 0 {
		delete(n.cut, to)
	}
	n.mu.Unlock()
	if down || target == nil {
		return nil, errUnreachable
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}

	req, err := http.NewRequestWithContext(ctx, method, target.url+path, body)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		kind := pipeline.Internal
		if res.StatusCode == http.StatusNotFound {
			kind = pipeline.NotFound
		}
		return nil, pipeline.Errorf(kind, "%s", text)
	}
	if cut > 0 {
		res.Body = &cutBody{ReadCloser: res.Body, left: cut}
	}
	return res, nil
}

func query(path string) string {
	if i := bytes.IndexByte([]byte(path), '?'); i >= 0 {
		return path[i:]
	}
	return ""
}

// cutBody breaks off.
type cutBody struct {
	io.ReadCloser
	left int
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("connection cut by the test")
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// put stores bytes on a node.
func (t *testNode) put(body []byte) pipeline.Digest {
	t.net.tb.Helper()
	d, err := t.blobs.PutBytes(context.Background(), body)
	if err != nil {
		t.net.tb.Fatal(err)
	}
	return d
}

// putMany stores n small blobs.
func (t *testNode) putMany(name string, n int) []pipeline.Digest {
	t.net.tb.Helper()
	var list []pipeline.Digest
	for i := range n {
		list = append(list, t.put(fmt.Appendf(nil, "%s %d", name, i)))
	}
	return list
}

// noise gives bytes that do not compress.
func noise(size int, seed byte) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

// wantBytes checks a blob whole.
func (t *testNode) wantBytes(d pipeline.Digest, want []byte) {
	t.net.tb.Helper()
	got, err := t.blobs.ReadAll(d, int64(len(want)))
	if err != nil {
		t.net.tb.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.net.tb.Fatalf("blob %.12s on %s has other bytes", d, t.id)
	}
}

func (t *testNode) wantAll(want []pipeline.Digest) {
	t.net.tb.Helper()
	if missing := t.blobs.Missing(want); len(missing) > 0 {
		t.net.tb.Fatalf("%d of %d blobs are missing on %s", len(missing), len(want), t.id)
	}
}
