package layout_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/blob/blobtest"
	"github.com/pipelined/pipelined/storage/layout"
)

// What was laid out is not named, unless it was changed.
func TestWritten(t *testing.T) {
	b, _ := blobtest.New(t, blob.Options{})
	from := t.TempDir()
	testutil.WriteFiles(t, from, map[string]string{"a/in": "1", "b": "2", "c": "3"})
	inputs, _, err := layout.Capture(t.Context(), from, []string{"**"}, nil, b)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := layout.Write(t.Context(), inputs, dir, b); err != nil {
		t.Fatal(err)
	}
	check := func(most int, more bool, want ...string) {
		t.Helper()
		got, others := layout.Written(t.Context(), dir, most)
		if diff := cmp.Diff(want, got); diff != "" || others != more {
			t.Errorf("more %v: %s", others, diff)
		}
	}
	check(10, false)
	testutil.WriteFiles(t, dir, map[string]string{"a/x/new": "4", "b": "2", "link": "->b"})
	if err := os.MkdirAll(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	check(10, false, "b", "a/x/new")
	check(2, false, "b", "a/x/new")
	check(1, true, "b")
	for i := range 20 {
		testutil.WriteFiles(t, dir, map[string]string{fmt.Sprintf("deep/down/%d", i): ""})
	}
	check(2, true, "b", "a/x/new")
	if got, more := layout.Written(t.Context(), filepath.Join(dir, "none"), 1); got != nil || more {
		t.Errorf("of no directory: %v", got)
	}
}
