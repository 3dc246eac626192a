package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

func file(path, digest string, mode uint32) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Digest: pipeline.Digest(digest), Mode: mode}
}

func TestDiffTrees(t *testing.T) {
	was := storage.Tree{file("a", "1", 0o644), file("b", "1", 0o644), file("d", "1", 0o644), file("e", "1", 0o755)}
	is := storage.Tree{file("a", "1", 0o664), file("b", "2", 0o644), file("c", "1", 0o644), file("e", "1", 0o644)}
	want := "file b changed; file c is new; file d is gone; file e cannot be executed any more"
	if got := strings.Join(diffTrees(was, is, 10), "; "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := strings.Join(diffTrees(was, is, 2), "; "); got != "file b changed; and 3 more files" {
		t.Errorf("cut: %s", got)
	}
	if digestTree(was[:1]) != digestTree(is[:1]) {
		t.Error("who may write to a file counts")
	}
	seen := map[string]bool{}
	for _, tree := range []storage.Tree{nil, was, is, {file("a", "1", 0o755)}, {file("ab", "1", 0o644)}, {{Path: "a", Link: "b"}}, {{Path: "a", Dir: true}}} {
		seen[digestTree(tree)] = true
	}
	if len(seen) != 7 {
		t.Error(fmt.Sprint("two different trees have one digest: ", len(seen)))
	}
}
