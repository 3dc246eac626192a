package external

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
)

const token, secret = "the-workers-token", "what-the-leader-shows"

// fakeCluster speaks the cluster's side of the external worker's protocol.
type fakeCluster struct {
	srv *httptest.Server

	mu sync.Mutex
	// guards following
	blobs      map[string][]byte
	registered []wire.WorkerNode
	beats      int
	forget     bool // the next heartbeat is not acknowledged
	refuse     int  // so many results are not committed
	results    []wire.ExecuteResponse
}

func newFakeCluster(t *testing.T) *fakeCluster {
	c := &fakeCluster{blobs: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/workers/register", c.register)
	mux.HandleFunc("POST /api/workers/heartbeat", c.heartbeat)
	mux.HandleFunc("POST /api/execution/result", c.result)
	mux.HandleFunc("GET /api/v1/blobs/{digest}", c.getBlob)
	mux.HandleFunc("PUT /api/v1/blobs/{digest}", c.putBlob)
	c.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "wrong token", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(c.srv.Close)
	return c
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (c *fakeCluster) register(w http.ResponseWriter, r *http.Request) {
	var in wire.RegisterRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registered = append(c.registered, in.WorkerNode)
	reply(w, wire.RegisterResponse{Success: true, WorkerID: "ext-" + in.WorkerNode.ID, HeartbeatIntervalSeconds: 1, Secret: secret})
}

func (c *fakeCluster) heartbeat(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats++
	reply(w, wire.HeartbeatResponse{Acknowledged: !c.forget})
	c.forget = false
}

func (c *fakeCluster) result(w http.ResponseWriter, r *http.Request) {
	var in wire.ExecuteResponse
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse > 0 {
		c.refuse--
		if c.refuse%2 == 0 {
			http.Error(w, "no leader", http.StatusServiceUnavailable)
			return
		}
		reply(w, wire.ResultResponse{})
		return
	}
	c.results = append(c.results, in)
	reply(w, wire.ResultResponse{Committed: true})
}

func (c *fakeCluster) getBlob(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.blobs[r.PathValue("digest")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(b)
}

func (c *fakeCluster) putBlob(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if sum := sha256.Sum256(b); err != nil || hex.EncodeToString(sum[:]) != r.PathValue("digest") {
		http.Error(w, "the digest does not fit", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blobs[r.PathValue("digest")] = b
	w.WriteHeader(http.StatusCreated)
}

// put stores bytes as the cluster would have them.
func (c *fakeCluster) put(b []byte) pipeline.Digest {
	sum := sha256.Sum256(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blobs[hex.EncodeToString(sum[:])] = b
	return pipeline.Digest(hex.EncodeToString(sum[:]))
}

// tree stores files and the tree that lists them.
func (c *fakeCluster) tree(t *testing.T, entries ...pipeline.TreeEntry) pipeline.Digest {
	t.Helper()
	b, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return c.put(b)
}

func (c *fakeCluster) blob(d pipeline.Digest) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.blobs[string(d)])
}

// waitResult waits for the committed result of an execution.
func (c *fakeCluster) waitResult(t *testing.T, id string) (wire.ExecuteResponse, wire.SerializedResult) {
	t.Helper()
	var found wire.ExecuteResponse
	testutil.Eventually(t, 20*time.Second, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range c.results {
			if r.ExecutionID == id {
				found = r
				return nil
			}
		}
		return fmt.Errorf("no result of %s among %d", id, len(c.results))
	})
	var inner wire.SerializedResult
	if err := json.Unmarshal([]byte(found.SerializedResult), &inner); err != nil {
		t.Fatalf("serializedResult %q: %v", found.SerializedResult, err)
	}
	return found, inner
}

// post sends a request to the worker as the leader would.
func post(t *testing.T, url, bearer string, in any, into any) int {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", "respond-async")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("%s: %s: %v", url, resp.Status, err)
	}
	return resp.StatusCode
}

func lines(s string) []string { return strings.Split(strings.TrimRight(s, "\n"), "\n") }
