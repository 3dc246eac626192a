package inputs

import (
	"context"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// cleanTimeout bounds one question to another node, which may have to read its
// blobs.
const cleanTimeout = 5 * time.Second

// Whole tells which cached results have all their bytes, undamaged, on nodes that
// answer. This node is asked first, then those that should have them, until
// nothing is missing.
func (in *Inputs) Whole(ctx context.Context, list []*pipeline.CacheEntry) []bool {
	whole := make([]bool, len(list))
	needs := make([][]pipeline.Digest, len(list))
	s := search{found: map[pipeline.Digest]bool{}}
	for i, e := range list {
		digests, err := in.bytesOf(ctx, e)
		if err != nil {
			continue // its listing is on no node that answers
		}
		whole[i], needs[i] = true, digests
		s.add(digests, e.Holders)
	}

	in.search(ctx, &s)
	for i := range list {
		for _, d := range needs[i] {
			whole[i] = whole[i] && s.found[d]
		}
	}
	return whole
}

// search is a set of blobs that are looked for.
type search struct {
	found   map[pipeline.Digest]bool // every blob, and whether it was found
	missing []pipeline.Digest
	hints   []pipeline.NodeID
}

func (s *search) add(digests []pipeline.Digest, holders []pipeline.NodeID) {
	for _, d := range digests {
		if _, known := s.found[d]; !known {
			s.found[d] = false
			s.missing = append(s.missing, d)
		}
	}
	for _, h := range holders {
		if len(digests) > 0 && !slices.Contains(s.hints, h) {
			s.hints = append(s.hints, h)
		}
	}
}

func (s *search) strike(clean []pipeline.Digest) {
	for _, d := range clean {
		s.found[d] = true
	}
	s.missing = slices.DeleteFunc(s.missing, func(d pipeline.Digest) bool { return s.found[d] })
}

// search asks node after node.
func (in *Inputs) search(ctx context.Context, s *search) {
	s.strike(in.cfg.Blobs.Clean(s.missing))
	for _, id := range in.cfg.Peers.Others(s.hints...) {
		if len(s.missing) == 0 || ctx.Err() != nil {
			return
		}

		call, cancel := context.WithTimeout(ctx, cleanTimeout)
		clean, err := in.cfg.Peers.CleanAt(call, id, s.missing)
		cancel()
		if err == nil {
			s.strike(clean)
		}
	}
}

// bytesOf names the blobs of a cached result.
func (in *Inputs) bytesOf(ctx context.Context, e *pipeline.CacheEntry) ([]pipeline.Digest, error) {
	var list []pipeline.Digest
	if e.Log != "" && e.Log != pipeline.EmptyDigest {
		list = append(list, e.Log)
	}
	if e.Outputs == "" {
		return list, nil
	}

	ctx, cancel := context.WithTimeout(ctx, cleanTimeout)
	defer cancel()
	tree, err := in.cfg.Trees.Listing(ctx, e.Holders, e.Outputs)
	if err != nil {
		return nil, err
	}
	return append(append(list, e.Outputs), tree.Digests()...), nil
}
