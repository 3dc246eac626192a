package workspace_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openBlobs(tb testing.TB, opts blob.Options) (*blob.Store, string) {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "blobs")
	opts.LowWater = -1
	b, err := blob.Open(dir, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})

	return b, dir
}

func paths(t tree.Tree) []string {
	list := []string{}
	for _, e := range t {
		list = append(list, e.Path)
	}

	return list
}
