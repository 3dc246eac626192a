package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/orchestrator"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// results is what the orchestrator needs of files and blobs for recorded
// results.
type results struct {
	n *Node

	mu sync.Mutex
	// guards following: answers by what was asked, since the modules of a run
	// often ask for the same.
	files   map[string]string
	changes map[string][]string
}

// maxAnswers bounds each of the maps.
const maxAnswers = 4096

// Salt keys the digests.
func (r *results) Salt() []byte { return r.n.keys.ResultsKey() }

func nameOf(f orchestrator.Files) string {
	if f.All {
		return string(f.Workspace)
	}
	return string(f.Workspace) + "\x00" + strings.Join(f.Globs, "\x00") + "\x00"
}

// remembered answers from a map, or asks and keeps the answer.
func remembered[T any](r *results, in *map[string]T, name string, ask func() (T, error)) (T, error) {
	r.mu.Lock()
	v, ok := (*in)[name]
	r.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := ask()
	if err != nil {
		return v, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if *in == nil || len(*in) >= maxAnswers {
		*in = map[string]T{}
	}
	(*in)[name] = v
	return v, nil
}

// execBit is what counts of a file's permissions, as it does for git: the others
// follow from the umask of whoever checked it out.
const execBit = 0o100

// Files gives a digest of paths, contents, and what can be executed.
func (r *results) Files(ctx context.Context, f orchestrator.Files) (string, error) {
	return remembered(r, &r.files, nameOf(f), func() (string, error) {
		tree, err := r.tree(ctx, f)
		if err != nil {
			return "", err
		}
		return digestTree(tree), nil
	})
}

// tree lists files of a workspace.
func (r *results) tree(ctx context.Context, f orchestrator.Files) (storage.Tree, error) {
	if f.Workspace == "" {
		return nil, nil
	}
	if err := r.n.fabric.down.Fetch(ctx, f.Holders, []pipeline.Digest{f.Workspace}); err != nil {
		return nil, err
	}
	tree, err := r.n.blobs.Tree(f.Workspace)
	if err != nil || f.All {
		return tree, err
	}
	return tree.Filter(f.Globs), nil
}

func digestTree(t storage.Tree) string {
	h := sha256.New()
	var b []byte
	for i := range t {
		e := &t[i]
		b = binary.AppendUvarint(b[:0], uint64(len(e.Path)))
		b = append(b, e.Path...)
		b = binary.AppendUvarint(b, uint64(e.Mode&execBit))
		b = binary.AppendUvarint(b, uint64(len(e.Link)))
		b = append(b, e.Link...)
		b = append(b, e.Digest...)
		h.Write(append(b, 0))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Changed lists what differs between the files of two workspaces.
func (r *results) Changed(ctx context.Context, old, now orchestrator.Files, limit int) ([]string, error) {
	name := fmt.Sprint(nameOf(old), "\x01", nameOf(now), "\x01", limit)
	return remembered(r, &r.changes, name, func() ([]string, error) {
		was, err := r.tree(ctx, old)
		if err != nil {
			return nil, err
		}
		is, err := r.tree(ctx, now)
		if err != nil {
			return nil, err
		}
		return diffTrees(was, is, limit), nil
	})
}

// diffTrees walks two sorted listings side by side.
func diffTrees(was, is storage.Tree, limit int) []string {
	var lines []string
	n := 0
	say := func(path, what string) {
		if n++; n <= limit {
			lines = append(lines, "file "+path+" "+what)
		}
	}
	for len(was) > 0 || len(is) > 0 {
		order := 0
		switch {
		case len(was) == 0:
			order = 1
		case len(is) == 0:
			order = -1
		default:
			order = cmp.Compare(was[0].Path, is[0].Path)
		}
		switch {
		case order < 0:
			say(was[0].Path, "is gone")
			was = was[1:]
		case order > 0:
			say(is[0].Path, "is new")
			is = is[1:]
		default:
			a, b := &was[0], &is[0]
			switch {
			case a.Digest != b.Digest || a.Link != b.Link || a.Dir != b.Dir:
				say(a.Path, "changed")
			case a.Mode&execBit > b.Mode&execBit:
				say(a.Path, "cannot be executed any more")
			case a.Mode&execBit != b.Mode&execBit:
				say(a.Path, "can be executed now")
			}
			was, is = was[1:], is[1:]
		}
	}
	if n > limit && limit > 0 {
		lines[limit-1] = fmt.Sprintf("and %d more files", n-limit+1)
	}
	return lines
}

// cleanTimeout bounds one question to a peer; it may have to read its blobs.
const cleanTimeout = 5 * time.Second

// Whole tells which results have all their bytes, undamaged, on nodes that
// answer: this one is asked first, then those that should have them.
func (r *results) Whole(ctx context.Context, list []*pipeline.CacheEntry) []bool {
	whole := make([]bool, len(list))
	needs := make([][]pipeline.Digest, len(list))
	asked := map[pipeline.Digest]bool{} // and whether it was found
	var want []pipeline.Digest
	var hints []pipeline.NodeID
	for i, e := range list {
		digests, err := r.bytesOf(ctx, e)
		if err != nil {
			continue
		}
		whole[i], needs[i] = true, digests
		for _, d := range digests {
			if _, known := asked[d]; !known {
				asked[d] = false
				want = append(want, d)
			}
		}
		for _, h := range e.Holders {
			if len(digests) > 0 && !slices.Contains(hints, h) {
				hints = append(hints, h)
			}
		}
	}
	found := func(clean []pipeline.Digest) {
		for _, d := range clean {
			asked[d] = true
		}
		want = slices.DeleteFunc(want, func(d pipeline.Digest) bool { return asked[d] })
	}
	found(r.n.blobs.Clean(want))
	for _, id := range r.n.state.Others(hints...) {
		if len(want) == 0 || ctx.Err() != nil {
			break
		}
		var clean []pipeline.Digest
		call, cancel := context.WithTimeout(ctx, cleanTimeout)
		if r.n.peers.Call(call, id, "/peer/blobs/clean", want, &clean) == nil {
			found(clean)
		}
		cancel()
	}
	for i := range list {
		for _, d := range needs[i] {
			whole[i] = whole[i] && asked[d]
		}
	}
	return whole
}

// bytesOf names the blobs of a result.
func (r *results) bytesOf(ctx context.Context, e *pipeline.CacheEntry) ([]pipeline.Digest, error) {
	var list []pipeline.Digest
	if e.Log != "" && e.Log != pipeline.EmptyDigest {
		list = append(list, e.Log)
	}
	if e.Outputs == "" {
		return list, nil
	}
	ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	if err := r.n.fabric.down.Fetch(ctx, e.Holders, []pipeline.Digest{e.Outputs}); err != nil {
		return nil, err
	}
	tree, err := r.n.blobs.Tree(e.Outputs)
	if err != nil {
		return nil, err
	}
	return append(append(list, e.Outputs), tree.Digests()...), nil
}

// cacheFacts says what a module had to do with recorded results: which it took,
// or why none, and whether its own is recorded.
func (n *Node) cacheFacts(id pipeline.RunID, module string) []string {
	var facts []string
	_ = n.store.View(func(v *fsm.View) error { // closed: nothing to tell
		rec := v.Module(id, module)
		a := rec.Last()
		switch {
		case a == nil:
			return nil
		case a.From != nil:
			facts = append(facts, fmt.Sprintf("cache hit: attempt %d of %s in run %s did the same work, in %s", a.From.Attempt, a.From.Module,
				a.From.Run, rec.Recorded.Round(time.Millisecond)))
			return nil
		case a.Cache == nil:
			return nil
		}
		for _, why := range a.Cache.Missed {
			facts = append(facts, "cache miss: "+why)
		}
		if e, ok := v.CacheEntry(a.Cache.Key); ok && e.From == (pipeline.AttemptID{Run: id, Module: module, Attempt: a.Number}) {
			facts = append(facts, "its result is recorded")
		}
		return nil
	})
	return facts
}
