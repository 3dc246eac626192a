package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/workspace"
)

// manyFiles writes more files than are named one by one.
func manyFiles(tb testing.TB, dir string) {
	tb.Helper()
	for i := range fewFiles + 10 {
		write(tb, dir, fmt.Sprintf("src/%02d/%d", i%10, i), fmt.Sprint("text ", i))
	}
}

// A node is asked about many files by their listing, and one that does not know
// the question is asked file by file.
func TestSubmit_manyFiles(t *testing.T) {
	for _, old := range []bool{false, true} {
		f := newFakeCluster(t)
		f.noTrees = old
		var sent wire.SubmitRequest
		f.onSubmit = func(in wire.SubmitRequest) *fakeRun { sent = in; return finished("r1", pipeline.RunSucceeded) }
		dir := t.TempDir()
		file := write(t, dir, "p.hcl", hello)
		manyFiles(t, dir)
		for _, flags := range [][]string{nil, nil, {"-no-stat-cache"}} {
			sent = wire.SubmitRequest{}
			code, _, stderr := newCommand(t, f).exec(append([]string{"submit", "-detach", "-var=who=x", file}, flags...)...)
			if code != 0 || stderr != "" {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			if missing, err := f.blobs.MissingOf(sent.Workspace); err != nil || len(missing) > 0 {
				t.Errorf("%d blobs of the workspace did not go along, %v", len(missing), err)
			}
		}
		if tree, err := f.blobs.Tree(sent.Workspace); err != nil || len(tree) != fewFiles+11 {
			t.Errorf("the workspace has %d files, %v", len(tree), err)
		}
	}
}

// A file that was taken by what is remembered of it, and changes before a node
// asks for it, goes along as it is then.
func TestWorkspace_sendMends(t *testing.T) {
	f := newFakeCluster(t)
	dir := t.TempDir()
	manyFiles(t, dir)
	elsewhere, err := storage.OpenBlobs(t.TempDir(), storage.BlobOptions{NoSync: true, LowWater: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	spool, err := storage.OpenBlobs(t.TempDir(), storage.BlobOptions{NoSync: true, LowWater: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	var warned []string
	w := &fileSet{root: dir, blobs: spool, rules: workspace.Options{Warn: func(s string) { warned = append(warned, s) }}}
	if w.tree, err = workspace.Snapshot(t.Context(), dir, elsewhere, w.rules); err != nil {
		t.Fatal(err)
	}
	if w.digest, err = storage.PutTree(t.Context(), spool, w.tree); err != nil {
		t.Fatal(err)
	}
	was := w.digest
	write(t, dir, "src/03/3", "TEXT 3")
	if err := os.Remove(filepath.Join(dir, "src/04/4")); err != nil {
		t.Fatal(err)
	}
	at, err := client.New(client.Config{Addresses: []string{f.address()}, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	j := &job{workspace: w, request: wire.SubmitRequest{Workspace: was}}
	if err := j.send(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if j.request.Workspace == was || len(warned) != 1 || !strings.Contains(warned[0], "src/03/3, src/04/4") {
		t.Errorf("warned %q", warned)
	}
	tree, err := f.blobs.Tree(j.request.Workspace)
	if err != nil {
		t.Fatal(err)
	}
	if missing := f.blobs.Missing(tree.Digests()); len(missing) > 0 || len(tree) != fewFiles+9 {
		t.Errorf("%d files, of which %d did not go along", len(tree), len(missing))
	}
	if e := tree.Find("src/03/3"); e == nil || e.Digest != storage.DigestOf([]byte("TEXT 3")) {
		t.Errorf("the changed file went along as %+v", e)
	}
}
