package fabric

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// State is the replicated state, as far as this package reads it.
type State interface {
	// View calls fn with a read-only view at one index. The view holds up writers:
	// fn must be short and must not keep it.
	View(fn func(*fsm.View) error) error
}

// Trees reads listings of trees, from wherever they are.
type Trees interface {
	ReadTree(ctx context.Context, hints []pipeline.NodeID, d pipeline.Digest) (tree.Tree, error)
}

// shortDigest is the first half of a digest: enough to tell blobs apart, in half
// the memory. A cluster may hold a million of them.
type shortDigest [16]byte

func shorten(d pipeline.Digest) (s shortDigest) {
	_, _ = hex.Decode(s[:], []byte(d[:32])) // digests are checked where they enter
	return s
}

// digestSet is a set of digests. It never misses a member; a digest that is none
// is taken for one with a probability of 2^-64 per member.
type digestSet map[shortDigest]struct{}

// add reports whether the digest is new.
func (s digestSet) add(d pipeline.Digest) bool {
	k := shorten(d)
	if _, ok := s[k]; ok {
		return false
	}

	s[k] = struct{}{}
	return true
}

func (s digestSet) has(d pipeline.Digest) bool { _, ok := s[shorten(d)]; return ok }

// names reports whether d names bytes at all: neither absent nor the empty blob,
// which is everywhere.
func names(d pipeline.Digest) bool { return len(d) == 64 && d != pipeline.EmptyDigest }

// references lists the blobs that the state names, each once, at one index.
func references(state State) (list []fsm.Reference, err error) {
	seen, trees := digestSet{}, digestSet{}
	err = state.View(func(v *fsm.View) error {
		return v.References(func(r fsm.Reference) error {
			if len(r.Digest) != 64 {
				return nil
			}

			// The same bytes may be named as a listing and as a file.
			if seen.add(r.Digest) || r.Tree && !trees.has(r.Digest) {
				list = append(list, r)
			}
			if r.Tree {
				trees.add(r.Digest)
			}
			return nil
		})
	})
	return list, err
}

// walk calls visit with every blob that references lead to, each once: the named
// ones, and the files of trees, with their tree as the reference. A tree that
// cannot be read is passed to unreadable, and its files are not visited. An error
// of either function ends the walk.
type walk struct {
	trees      Trees
	visit      func(d pipeline.Digest, from *fsm.Reference) error
	unreadable func(r *fsm.Reference, err error) error
}

// run returns the set of visited blobs.
func (w *walk) run(ctx context.Context, refs []fsm.Reference) (digestSet, error) {
	seen := digestSet{}
	for i := range refs {
		r := &refs[i]
		if seen.add(r.Digest) {
			if err := w.visit(r.Digest, r); err != nil {
				return nil, err
			}
		}
		if !r.Tree {
			continue
		}

		tree, err := w.trees.ReadTree(ctx, r.Holders, r.Digest)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			if err := w.unreadable(r, fmt.Errorf("tree %.12s: %w", r.Digest, err)); err != nil {
				return nil, err
			}
			continue
		}

		for _, d := range tree.Digests() {
			if d != pipeline.EmptyDigest && seen.add(d) {
				if err := w.visit(d, r); err != nil {
					return nil, err
				}
			}
		}
	}
	return seen, nil
}
