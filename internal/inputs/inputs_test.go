package inputs_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/internal/inputs"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// nodes fakes a cluster: trees by digest, and which blobs are clean on which node.
type nodes struct {
	trees map[pipeline.Digest]tree.Tree
	clean map[pipeline.NodeID][]pipeline.Digest
	down  map[pipeline.NodeID]bool
	reads int
	asked []pipeline.NodeID
}

func (n *nodes) Listing(_ context.Context, _ []pipeline.NodeID, d pipeline.Digest) (tree.Tree, error) {
	n.reads++
	tree, ok := n.trees[d]
	if !ok {
		return nil, pipeline.Errorf(pipeline.NotFound, "on no node")
	}
	return tree, nil
}

func (n *nodes) Clean(digests []pipeline.Digest) []pipeline.Digest { return n.cleanOn("self", digests) }

func (n *nodes) cleanOn(id pipeline.NodeID, digests []pipeline.Digest) []pipeline.Digest {
	return slices.DeleteFunc(slices.Clone(digests), func(d pipeline.Digest) bool { return !slices.Contains(n.clean[id], d) })
}

func (n *nodes) CleanAt(_ context.Context, id pipeline.NodeID, digests []pipeline.Digest) ([]pipeline.Digest, error) {
	n.asked = append(n.asked, id)
	if n.down[id] {
		return nil, errors.New("unreachable")
	}
	return n.cleanOn(id, digests), nil
}

func (n *nodes) Others(preferred ...pipeline.NodeID) []pipeline.NodeID {
	list := slices.Clone(preferred)
	for _, id := range []pipeline.NodeID{"n2", "n3"} {
		if !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

func (n *nodes) inputs() *inputs.Inputs {
	return inputs.New(inputs.Config{Salt: []byte("salt"), Trees: n, Blobs: n, Peers: n})
}

func file(path, digest string, mode uint32) pipeline.TreeEntry {
	return pipeline.TreeEntry{Path: path, Digest: pipeline.Digest(digest), Mode: mode}
}

func whole(d pipeline.Digest) orchestrator.Files { return orchestrator.Files{Workspace: d, All: true} }

// The digest is of paths, contents and what can be executed, and of nothing else.
func TestInputs_Files(t *testing.T) {
	trees := map[pipeline.Digest]tree.Tree{
		"base":       {file("a", "1", 0o644)},
		"umask":      {file("a", "1", 0o664)},
		"executable": {file("a", "1", 0o755)},
		"contents":   {file("a", "2", 0o644)},
		"path":       {file("ab", "1", 0o644)},
		"link":       {{Path: "a", Link: "b"}},
		"directory":  {{Path: "a", Dir: true}},
		"more":       {file("a", "1", 0o644), file("b", "1", 0o644)},
	}
	n := &nodes{trees: trees}
	in := n.inputs()
	seen := map[string]string{}
	for name := range trees {
		digest, err := in.Files(t.Context(), whole(name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "umask" {
			continue
		}
		if other, dup := seen[digest]; dup {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[digest] = string(name)
	}
	if base, umask := must(in.Files(t.Context(), whole("base"))), must(in.Files(t.Context(), whole("umask"))); base != umask {
		t.Error("who may write to a file changes the digest")
	}
	if n.reads != len(trees) {
		t.Errorf("%d listings read, want %d: answers are remembered", n.reads, len(trees))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Globs choose the files; without a workspace there are none.
func TestInputs_Files_globs(t *testing.T) {
	n := &nodes{trees: map[pipeline.Digest]tree.Tree{"w1": {file("a.go", "1", 0o644), file("b.md", "1", 0o644)},
		"w2": {file("a.go", "1", 0o644), file("b.md", "2", 0o644)}}}
	in := n.inputs()
	ask := func(w string, globs ...string) string {
		t.Helper()
		return must(in.Files(t.Context(), orchestrator.Files{Workspace: pipeline.Digest(w), Globs: globs}))
	}
	if ask("w1", "*.go") != ask("w2", "*.go") {
		t.Error("a file outside of the globs counts")
	}
	if ask("w1", "*.md") == ask("w2", "*.md") {
		t.Error("a changed file does not count")
	}
	if ask("w1", "*.go") == ask("w1", "*.md") {
		t.Error("other globs have the same answer")
	}
	if ask("") != ask("", "*.go") {
		t.Error("without a workspace the globs count")
	}
}

// An error is said, and not remembered.
func TestInputs_Files_error(t *testing.T) {
	n := &nodes{trees: map[pipeline.Digest]tree.Tree{}}
	in := n.inputs()
	if _, err := in.Files(t.Context(), whole("late")); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("error %v, want not_found", err)
	}
	n.trees["late"] = tree.Tree{file("a", "1", 0o644)}
	if _, err := in.Files(t.Context(), whole("late")); err != nil {
		t.Errorf("once the listing is there: %v", err)
	}
}

func TestInputs_Changed(t *testing.T) {
	n := &nodes{trees: map[pipeline.Digest]tree.Tree{
		"was": {file("a", "1", 0o644), file("b", "1", 0o644), file("d", "1", 0o644), file("e", "1", 0o755), file("f", "1", 0o644)},
		"is":  {file("a", "1", 0o664), file("b", "2", 0o644), file("c", "1", 0o644), file("e", "1", 0o644), file("f", "1", 0o755)},
	}}
	in := n.inputs()
	for limit, want := range map[int][]string{
		10: {"file b changed", "file c is new", "file d is gone", "file e is no longer executable", "file f is executable now"},
		2:  {"file b changed", "and 4 more files"},
	} {
		got, err := in.Changed(t.Context(), whole("was"), whole("is"), limit)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, d)
		}
	}
	if got, err := in.Changed(t.Context(), whole("was"), whole("was"), 10); err != nil || len(got) > 0 {
		t.Errorf("a workspace against itself: %v, %v", got, err)
	}
	if _, err := in.Changed(t.Context(), whole("was"), whole("gone"), 10); err == nil {
		t.Error("no error although a listing is gone")
	}
}

func entry(log, outputs pipeline.Digest, holders ...pipeline.NodeID) *pipeline.CacheEntry {
	return &pipeline.CacheEntry{Log: log, Outputs: outputs, Holders: holders}
}

// A result is whole if each of its blobs is clean on some node that answers.
func TestInputs_Whole(t *testing.T) {
	n := &nodes{trees: map[pipeline.Digest]tree.Tree{"out": {file("f", "file", 0o644)}},
		clean: map[pipeline.NodeID][]pipeline.Digest{"self": {"log"}, "n2": {"out"}, "n3": {"file"}, "n9": {"far"}},
		down:  map[pipeline.NodeID]bool{"n9": true}}
	list := []*pipeline.CacheEntry{
		entry("log", "", "n2"),             // here
		entry("log", "out", "n2"),          // over three nodes
		entry(pipeline.EmptyDigest, ""),    // nothing to have
		entry("far", "", "n9"),             // on a node that does not answer
		entry("log", "lost listing", "n2"), // cannot be listed
	}
	got := n.inputs().Whole(t.Context(), list)
	if d := cmp.Diff([]bool{true, true, true, false, false}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if n.asked[0] != "n2" {
		t.Errorf("asked %v, want the nodes that should have them first", n.asked)
	}
}

// Other nodes are not asked if everything is here.
func TestInputs_Whole_here(t *testing.T) {
	n := &nodes{clean: map[pipeline.NodeID][]pipeline.Digest{"self": {"log"}}}
	if got := n.inputs().Whole(t.Context(), []*pipeline.CacheEntry{entry("log", "", "n2")}); !got[0] || len(n.asked) > 0 {
		t.Errorf("whole %v after asking %v", got, n.asked)
	}

	// The end of the request ends the search.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := n.inputs().Whole(ctx, []*pipeline.CacheEntry{entry("elsewhere", "", "n2")}); got[0] || len(n.asked) > 0 {
		t.Errorf("whole %v after asking %v", got, n.asked)
	}
}
