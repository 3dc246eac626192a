package submission

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// blobNode answers the questions about blobs as a node does.
type blobNode struct {
	tb      testing.TB
	blobs   *blob.Store
	bundles int
}

// newBlobNode starts a node and makes a client of it.
func newBlobNode(tb testing.TB) (*blobNode, *client.Client) {
	tb.Helper()

	n := &blobNode{tb: tb, blobs: newSpool(tb)}
	server := httptest.NewServer(n)
	tb.Cleanup(server.Close)

	c, err := client.New(client.Config{Addresses: []string{strings.TrimPrefix(server.URL, "http://")}, Token: "secret"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.CloseIdle)

	return n, c
}

// newSpool opens an empty store.
func newSpool(tb testing.TB) *blob.Store {
	tb.Helper()

	blobs, err := blob.Open(tb.TempDir(), blob.Options{NoSync: true, LowWater: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { blobs.Close() })

	return blobs
}

// ServeHTTP implements http.Handler.
func (n *blobNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any

	switch r.Method + " " + r.URL.Path {
	case "POST /api/v1/blobs/missing":
		var in wire.MissingRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			n.tb.Error(err)
		}
		missing := n.blobs.Missing(in.Digests)
		if in.Tree != "" {
			var err error
			if missing, err = tree.NewCache(n.blobs).Missing(in.Tree); err != nil {
				w.Header().Set(wire.HeaderKind, "invalid")
				w.WriteHeader(http.StatusBadRequest)
				return
			}
		}
		answer = wire.MissingResponse{Missing: missing}

	case "POST /api/v1/blobs":
		n.bundles++
		batch := n.blobs.NewBatch()
		defer batch.Discard()
		stored, err := blob.ReadBundle(r.Context(), r.Body, blob.BundleLimits{}, batch)
		if err == nil {
			err = batch.Commit(r.Context())
		}
		if err != nil {
			n.tb.Error(err)
		}
		answer = wire.BundleResponse{Stored: len(stored)}

	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}

	if err := json.NewEncoder(w).Encode(answer); err != nil {
		n.tb.Error(err)
	}
}

// writeFile puts a file into a directory and gives its path.
func writeFile(tb testing.TB, dir, name, text string) string {
	tb.Helper()

	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}

	return path
}

// writeMany writes more files than a node is asked about one by one.
func writeMany(tb testing.TB, dir string) {
	tb.Helper()

	for i := range fewFiles + 10 {
		writeFile(tb, dir, fmt.Sprintf("src/%02d/%d", i%10, i), fmt.Sprint("text ", i))
	}
}
