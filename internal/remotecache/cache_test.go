package remotecache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/remotecache"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a replicated state that several nodes share, each with a real blob
// store of its own.
type world struct {
	tb    testing.TB
	store *fsm.Store
	nodes map[pipeline.NodeID]*node

	mu sync.Mutex // guards following
	// index is that of the last command; ops are all that were committed.
	index  uint64
	ops    []*fsm.Tools
	leader pipeline.NodeID // "" for none
	refuse error           // of proposals
	calls  int             // messages between nodes
}

// node is one node: its state, and what its cache asks of the fabric.
type node struct {
	*remotecache.Cache
	*world
	id    pipeline.NodeID
	blobs *blob.Store
	mux   *http.ServeMux

	stateless, slow, silent bool
	full                    string
	alone                   []pipeline.Digest // reported as under-replicated
}

func newWorld(tb testing.TB, limit func(*remotecache.Config), ids ...pipeline.NodeID) *world {
	tb.Helper()
	store, err := fsm.Open(tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { store.Close() })
	w := &world{tb: tb, store: store, nodes: map[pipeline.NodeID]*node{}, leader: ids[0]}
	for _, id := range ids {
		n := &node{world: w, id: id, mux: http.NewServeMux()}
		if n.blobs, err = blob.Open(tb.TempDir(), blob.Options{}); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { n.blobs.Close() })
		cfg := remotecache.Config{Self: id, State: n, Blobs: n.blobs, Peers: n, Full: func() string { return n.full }, Open: n.open,
			Locate: n.locate, SecondCopy: n.secondCopy, Logger: hclog.NewNullLogger(),
			UnderReplicated: func(blobs ...pipeline.Digest) { n.alone = append(n.alone, blobs...) }}
		if limit != nil {
			limit(&cfg)
		}
		n.Cache = remotecache.New(cfg)
		n.Register(n.mux)
		w.nodes[id] = n
	}
	return w
}

// The replicated state.

func (n *node) HasState() bool                      { return !n.stateless }
func (n *node) Fresh(context.Context) bool          { return true }
func (n *node) View(fn func(*fsm.View) error) error { return n.store.View(fn) }

func (n *node) Leading() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader == n.id
}

func (n *node) LeaderID() (pipeline.NodeID, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.leader == "" {
		return "", pipeline.ErrNoLeader
	}
	return n.leader, nil
}

func (n *node) Others(...pipeline.NodeID) (list []pipeline.NodeID) {
	for id := range n.nodes {
		if id != n.id {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

func (n *node) Replicas() []pipeline.NodeID {
	return slices.DeleteFunc(n.Others(), func(id pipeline.NodeID) bool { return n.nodes[id].stateless })
}

func (n *node) Propose(_ context.Context, c *fsm.Command) (state.Reply, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil {
		return state.Reply{}, n.refuse
	}
	raw, err := fsm.Encode(c)
	if err != nil {
		return state.Reply{}, err
	}
	n.index++
	n.store.Apply(&raft.Log{Index: n.index, Term: 1, Type: raft.LogCommand, Data: raw})
	n.ops = append(n.ops, c.Tools)
	return state.Reply{}, nil
}

// Messages.

func (n *node) Call(_ context.Context, to pipeline.NodeID, path string, in, out any) error {
	n.mu.Lock()
	n.calls++
	n.mu.Unlock()
	if n.nodes[to].silent {
		return peer.Unreachable(string(to), errors.New("connection refused"))
	}
	raw, err := peer.Marshal(in)
	if err != nil {
		return err
	}
	rec := httptest.NewRecorder()
	n.nodes[to].mux.ServeHTTP(rec, httptest.NewRequest("POST", path, bytes.NewReader(raw)))
	if rec.Code != http.StatusOK {
		return pipeline.Errorf(pipeline.ParseKind(rec.Header().Get(wire.HeaderKind)), "%s", rec.Body)
	}
	return peer.Unmarshal(rec.Body.Bytes(), out)
}

// The fabric.

// memoryBlob is a blob in memory whose reading fails from an offset on.
type memoryBlob struct {
	*bytes.Reader
	failAt int64 // -1: not
	err    error
}

func (b *memoryBlob) Size() int64  { return b.Reader.Size() }
func (b *memoryBlob) Close() error { return nil }

func (b *memoryBlob) Read(p []byte) (int, error) {
	if at := b.Reader.Size() - int64(b.Len()); b.failAt >= 0 && at+int64(len(p)) > b.failAt {
		return 0, b.err
	}
	return b.Reader.Read(p)
}

func (n *node) open(_ context.Context, d pipeline.Digest) (api.Blob, error) {
	for _, id := range append([]pipeline.NodeID{n.id}, n.Others()...) {
		if other := n.nodes[id]; !other.silent && other.blobs.Has(d) {
			in, err := other.blobs.Open(d)
			if err != nil {
				continue
			}
			all, err := io.ReadAll(in)
			in.Close()
			if err == nil {
				return &memoryBlob{Reader: bytes.NewReader(all), failAt: -1}, nil
			}
		}
	}
	return nil, pipeline.Errorf(pipeline.NotFound, "blob %.8s is on no node that answers", d)
}

func (n *node) locate(_ context.Context, nodes []pipeline.NodeID, want []pipeline.Digest) (map[pipeline.Digest]fabric.Location, error) {
	at := map[pipeline.Digest]fabric.Location{}
	var unasked error
	for _, id := range nodes {
		if n.nodes[id].silent {
			unasked = fmt.Errorf("node %s does not answer", id)
			continue
		}
		for _, d := range want {
			if n.nodes[id].blobs.Has(d) {
				at[d] = fabric.Location{Holders: append(at[d].Holders, id)}
			}
		}
	}
	return at, unasked
}

func (n *node) secondCopy(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID {
	for _, id := range n.Others() {
		if n.nodes[id].slow || n.nodes[id].silent {
			continue
		}
		for _, d := range blobs {
			in, err := n.blobs.Open(d)
			if err != nil {
				n.tb.Error(err)
				return ""
			}
			if _, err := n.nodes[id].blobs.PutExpect(ctx, d, in); err != nil {
				n.tb.Error(err)
			}
			in.Close()
		}
		return id
	}
	return ""
}

// lose deletes a blob on all nodes.
func (w *world) lose(body string) {
	w.tb.Helper()
	for _, n := range w.nodes {
		if err := n.blobs.Delete(digestOf(body)); err != nil {
			w.tb.Fatal(err)
		}
	}
}

func digestOf(body string) pipeline.Digest {
	sum := sha256.Sum256([]byte(body))
	return pipeline.Digest(hex.EncodeToString(sum[:]))
}

func key(i int) pipeline.ToolKey {
	return pipeline.ToolKey{Space: pipeline.ToolActions, Key: fmt.Sprintf("%064x", i)}
}

func (n *node) put(k pipeline.ToolKey, body string) {
	n.tb.Helper()
	if err := n.PutTool(n.tb.Context(), pipeline.ToolEntry{ToolKey: k}, strings.NewReader(body)); err != nil {
		n.tb.Fatalf("put at %s: %v", n.id, err)
	}
}

// get reads an entry; "miss" if there is none.
func (n *node) get(k pipeline.ToolKey) string {
	n.tb.Helper()
	b, _, err := n.OpenTool(n.tb.Context(), k)
	if pipeline.KindOf(err) == pipeline.NotFound && err != nil {
		return "miss"
	}
	if err != nil {
		n.tb.Fatalf("open at %s: %v", n.id, err)
	}
	defer b.Close()
	all, err := io.ReadAll(b)
	if err != nil {
		n.tb.Fatalf("read at %s: %v", n.id, err)
	}
	return string(all)
}

func (w *world) entries() (n int) {
	w.tb.Helper()
	err := w.store.View(func(v *fsm.View) error {
		v.ToolsByAge(func(*pipeline.ToolEntry) bool { n++; return true })
		return nil
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return n
}

// An entry is on two nodes when it is committed, and every node gives it, one
// without state too.
func TestCache_putAndOpen(t *testing.T) {
	w := newWorld(t, nil, "n1", "n2", "n3")
	w.nodes["n3"].stateless = true
	for i, body := range []string{"small", "", strings.Repeat("large", 1<<20)} {
		w.nodes["n2"].put(key(i), body)
		for id, n := range w.nodes {
			if got := n.get(key(i)); got != body {
				t.Errorf("%s gives %d bytes of %d", id, len(got), len(body))
			}
		}
		if body != "" && (!w.nodes["n2"].blobs.Has(digestOf(body)) || !w.nodes["n1"].blobs.Has(digestOf(body))) {
			t.Errorf("entry %d is not on two nodes", i)
		}
	}
	if got := w.nodes["n3"].get(key(9)); got != "miss" {
		t.Errorf("an entry that was never put: %q", got)
	}
}

// The same entry again is not committed again; another one under its key is.
func TestCache_putAgain(t *testing.T) {
	w := newWorld(t, nil, "n1", "n2")
	n := w.nodes["n1"]
	for range 3 {
		n.put(key(1), "same")
	}
	if len(w.ops) != 1 {
		t.Errorf("%d entries of the log for one put", len(w.ops))
	}
	n.put(key(1), "other")
	if len(w.ops) != 2 || n.get(key(1)) != "other" {
		t.Errorf("%d entries of the log, %q", len(w.ops), n.get(key(1)))
	}
}

func TestCache_putRefused(t *testing.T) {
	w := newWorld(t, nil, "n1", "n2")
	n := w.nodes["n1"]

	k := pipeline.ToolKey{Space: pipeline.ToolContents, Key: string(digestOf("right"))}
	if err := n.PutTool(t.Context(), pipeline.ToolEntry{ToolKey: k}, strings.NewReader("wrong")); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("bytes of another digest: %v", err)
	}
	n.full = "disk low"
	var full *api.NoSpaceError
	if err := n.PutTool(t.Context(), pipeline.ToolEntry{ToolKey: key(1)}, strings.NewReader("x")); !errors.As(err, &full) || full.Reason != "disk low" {
		t.Errorf("a full disk: %v", err)
	}
	n.full, w.refuse = "", pipeline.ErrNoLeader
	if err := n.PutTool(t.Context(), pipeline.ToolEntry{ToolKey: key(1)}, strings.NewReader("x")); !errors.Is(err, pipeline.ErrNoLeader) {
		t.Errorf("without a leader: %v", err)
	}
	if w.entries() != 0 {
		t.Errorf("%d entries were committed", w.entries())
	}
}

// What no second node takes in time is committed, and reported to the replicator.
func TestCache_underReplicated(t *testing.T) {
	w := newWorld(t, nil, "n1", "n2")
	w.nodes["n2"].slow = true
	w.nodes["n1"].put(key(1), "alone")
	if n := w.nodes["n1"]; n.get(key(1)) != "alone" || !slices.Equal(n.alone, []pipeline.Digest{digestOf("alone")}) {
		t.Errorf("reported are %v", n.alone)
	}
	single := newWorld(t, nil, "n1")
	single.nodes["n1"].put(key(1), "alone")
	if n := single.nodes["n1"]; len(n.alone) > 0 {
		t.Errorf("a cluster of one reports %v", n.alone)
	}
}

// An entry whose bytes are on no node is a miss, and is deleted; but not while a
// node that may have them does not answer.
func TestCache_bytesLost(t *testing.T) {
	w := newWorld(t, nil, "n1", "n2", "n3")
	n := w.nodes["n1"]
	n.put(key(1), "lost")
	w.lose("lost")

	w.nodes["n3"].silent = true
	if got := n.get(key(1)); got != "miss" || w.entries() != 1 {
		t.Errorf("with a silent node: %q, %d entries", got, w.entries())
	}
	w.nodes["n3"].silent = false
	if found, err := n.FindTools(t.Context(), []pipeline.ToolKey{key(1)}); err != nil || found[0] != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if got := n.get(key(1)); got != "miss" || w.entries() != 0 {
		t.Errorf("with all nodes: %q, %d entries", got, w.entries())
	}
	n.put(key(1), "lost")
	if got := n.get(key(1)); got != "lost" {
		t.Errorf("put again: %q", got)
	}
}

func TestCache_find(t *testing.T) {
	w := newWorld(t, nil, "n1", "n2", "n3")
	w.nodes["n1"].put(key(1), "one")
	w.nodes["n1"].put(key(3), "three")
	found, err := w.nodes["n3"].FindTools(t.Context(), []pipeline.ToolKey{key(1), key(2), key(3)})
	if err != nil || found[0] == nil || found[1] != nil || found[2] == nil || found[0].Size != 3 || found[2].Size != 5 {
		t.Errorf("found %+v, %v", found, err)
	}
	if err := w.nodes["n2"].DeleteTool(t.Context(), key(1)); err != nil {
		t.Fatal(err)
	}
	if got := w.nodes["n3"].get(key(1)); got != "miss" {
		t.Errorf("deleted: %q", got)
	}
	if err := w.nodes["n2"].DeleteTool(t.Context(), key(1)); err != nil {
		t.Errorf("deleted again: %v", err)
	}
}

// Without a leader a node with state answers from it after a bounded wait, and
// then at once; one without state asks a node that has it.
func TestCache_leaderless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "n1", "n2", "n3")
		w.nodes["n1"].put(key(1), "known")
		w.leader = ""
		w.nodes["n3"].stateless = true

		start := time.Now()
		if got := w.nodes["n2"].get(key(2)); got != "miss" || time.Since(start) < time.Second {
			t.Errorf("a miss: %q after %v", got, time.Since(start))
		}
		start = time.Now()
		if got := w.nodes["n2"].get(key(2)); got != "miss" || time.Since(start) > 100*time.Millisecond { // of the bubble's clock
			t.Errorf("the next miss: %q after %v", got, time.Since(start))
		}
		if got := w.nodes["n2"].get(key(1)); got != "known" {
			t.Errorf("a hit: %q", got)
		}
		if got := w.nodes["n3"].get(key(1)); got != "known" {
			t.Errorf("a hit at a node without state: %q", got)
		}

		w.nodes["n1"].silent, w.nodes["n2"].silent = true, true
		_, _, err := w.nodes["n3"].OpenTool(t.Context(), key(1))
		if pipeline.KindOf(err) != pipeline.Unavailable {
			t.Errorf("no node with state answers: %v", err)
		}
	})
}

// A node that was asked as the leader and does not lead refuses, so that its
// old state is not taken for the newest.
func TestCache_notLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "n1", "n2")
		w.nodes["n2"].stateless = true
		w.nodes["n1"].put(key(1), "x")
		w.leader = "n2" // which n1 does not know yet, and n2 neither leads nor has state
		if got := w.nodes["n1"].get(key(2)); got != "miss" {
			t.Errorf("got %q", got)
		}
	})
}
