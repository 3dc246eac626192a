package node

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

// shortDigest is the first half of a digest: enough to tell blobs apart, and
// half the memory where there are a million.
type shortDigest [16]byte

func shorten(d pipeline.Digest) (s shortDigest) {
	_, _ = hex.Decode(s[:], []byte(d[:32])) // digests are checked where they come in
	return s
}

// digestSet is a set of digests. One that is not in it is surely not; of one in
// 2^64 that is, the first half is another's.
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

// references lists what the state names, each blob once, at one index.
func (n *Node) references() (list []fsm.Reference, index uint64, err error) {
	seen, trees := digestSet{}, digestSet{}
	err = n.store.View(func(v *fsm.View) error {
		index = v.Index()
		return v.References(func(r fsm.Reference) error {
			// The same bytes may be named as a listing and as a file.
			if len(r.Digest) == 64 && (seen.add(r.Digest) || r.Tree && !trees.has(r.Digest)) {
				list = append(list, r)
			}
			if r.Tree && len(r.Digest) == 64 {
				trees.add(r.Digest)
			}
			return nil
		})
	})
	return list, index, err
}

// walkBlobs calls fn with every blob that references lead to, each once: the
// named ones, and the files in trees with their tree as the reference. A tree
// that cannot be read is told to lost, and its files are not walked.
func (n *Node) walkBlobs(ctx context.Context, refs []fsm.Reference, fn func(d pipeline.Digest, from *fsm.Reference) error, lost func(r *fsm.Reference, err error) error) (digestSet, error) {
	seen := digestSet{}
	for i := range refs {
		r := &refs[i]
		if seen.add(r.Digest) {
			if err := fn(r.Digest, r); err != nil {
				return nil, err
			}
		}
		if !r.Tree {
			continue
		}
		tree, err := n.readTree(ctx, r.Holders, r.Digest)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err := lost(r, fmt.Errorf("tree %.12s: %w", r.Digest, err)); err != nil {
				return nil, err
			}
			continue
		}
		for _, d := range storage.Tree(tree).Digests() {
			if d != pipeline.EmptyDigest && seen.add(d) {
				if err := fn(d, r); err != nil {
					return nil, err
				}
			}
		}
	}
	return seen, nil
}
