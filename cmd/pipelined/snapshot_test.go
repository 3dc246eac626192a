package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// manyFilesCount is more than a node is asked about one by one.
const manyFilesCount = 1010

// manyFiles writes more files than are named one by one.
func manyFiles(tb testing.TB, dir string) {
	tb.Helper()
	for i := range manyFilesCount {
		write(tb, dir, fmt.Sprintf("src/%02d/%d", i%10, i), fmt.Sprint("text ", i))
	}
}

// A node is asked about many files by their listing.
func TestSubmit_manyFiles(t *testing.T) {
	f := newFakeCluster(t)
	var sent wire.SubmitRequest
	f.onSubmit = func(in wire.SubmitRequest) *fakeRun { sent = in; return finished("r1", pipeline.RunSucceeded) }
	dir := t.TempDir()
	file := write(t, dir, "p.hcl", hello)
	manyFiles(t, dir)
	for _, flags := range [][]string{nil, nil, {"-no-stat-cache"}} {
		sent = wire.SubmitRequest{}
		code, _, stderr := newCommand(t, f).exec(append([]string{"submit", "-detach", "-var=who=x", file}, flags...)...)
		if code != 0 || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "workspace: ") {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		if missing, err := tree.NewCache(f.blobs).Missing(sent.Workspace); err != nil || len(missing) > 0 {
			t.Errorf("%d blobs of the workspace did not go along, %v", len(missing), err)
		}
	}
	if tree, err := tree.NewCache(f.blobs).Read(sent.Workspace); err != nil || len(tree) != manyFilesCount+1 {
		t.Errorf("the workspace has %d files, %v", len(tree), err)
	}
}
