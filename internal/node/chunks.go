package node

import (
	"context"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
)

const (
	// chunksWorth is which part of a sample of chunks must be here for the whole list
	// to be asked for.
	chunksWorth = 4
	// chunksWait is how long the answer is waited for, and a second more for each
	// chunksSpeed bytes of the blob, which may have to be read for it.
	chunksWait  = 3 * time.Second
	chunksSpeed = 100 << 20
	// chunksAge is for how long after its last use a blob gets a list that has none.
	chunksAge = 24 * time.Hour
)

// chunkQuery asks for the chunks of a large blob: all of them, or those that can be
// told at once.
type chunkQuery struct {
	Digest pipeline.Digest `cbor:"1,keyasint"`
	Whole  bool            `cbor:"2,keyasint,omitempty"`
}

// chunkAnswer has the whole list (see storage.ParseChunks), or a sample of the sums.
type chunkAnswer struct {
	List   []byte             `cbor:"1,keyasint,omitempty"`
	Sample []storage.ChunkSum `cbor:"2,keyasint,omitempty"`
}

// chunksHere answers a chunkQuery.
func (n *Node) chunksHere(ctx context.Context, in chunkQuery) (out chunkAnswer, err error) {
	size, err := n.blobs.Size(in.Digest)
	if err != nil {
		return out, err
	}
	list := n.blobs.KeptChunks(in.Digest, size)
	if list == nil && in.Whole {
		if list, err = n.blobs.Chunks(ctx, in.Digest, nil); err != nil {
			return out, err
		}
	}
	if list != nil {
		out.List = storage.AppendChunks(nil, list)
		return out, nil
	}
	out.Sample, err = n.blobs.SampleChunks(ctx, in.Digest)
	return out, err
}

// takeOver fills a partial blob with what is here of it in other large blobs. It
// gives the list of its chunks, nil where there is none or it was not worth asking
// for, and how many bytes need not be fetched. Whatever goes wrong, the blob is
// fetched as if nothing of it were here: an older node does not know the question.
func (n *Node) takeOver(ctx context.Context, part *storage.Partial, d pipeline.Digest, holders []pipeline.NodeID) (list []storage.Chunk, filled int64) {
	size := part.Size()
	if size < storage.ChunkedFrom || !n.blobs.Chunked() {
		return nil, 0
	}
	for _, h := range holders[:min(len(holders), 2)] {
		list, ok := n.askChunks(ctx, h, d, size)
		if !ok {
			continue
		}
		if list == nil {
			return nil, 0 // nothing like it is here
		}
		filled, err := part.FillLocal(ctx, list)
		if err != nil && ctx.Err() == nil {
			n.log.Warn("take over chunks of a blob that are here", "blob", d[:12], "error", err)
		}
		return list, filled
	}
	return nil, 0
}

// askChunks asks a node for the list of a blob's chunks; nil where a sample tells
// that it is not worth it.
func (n *Node) askChunks(ctx context.Context, from pipeline.NodeID, d pipeline.Digest, size int64) (list []storage.Chunk, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, chunksWait+time.Duration(size/chunksSpeed)*time.Second)
	defer cancel()
	for _, whole := range []bool{false, true} {
		var out chunkAnswer
		err := n.call(ctx, from, "/peer/chunks", chunkQuery{Digest: d, Whole: whole}, &out)
		if err == nil && len(out.List) > 0 {
			if list, err = storage.ParseChunks(out.List, size); err == nil {
				return list, true
			}
		}
		if err != nil || whole {
			n.log.Debug("no list of a blob's chunks", "blob", d[:12], "from", n.nodeName(from), "error", err)
			return nil, false
		}
		if n.blobs.HasChunks(out.Sample)*chunksWorth < max(len(out.Sample), 1) {
			return nil, true
		}
	}
	return nil, false
}

// listChunks makes the lists of large blobs that were put lately.
func (p *packer) listChunks(ctx context.Context, blobs []pipeline.Digest) {
	for _, d := range blobs {
		_, err := p.n.blobs.Chunks(ctx, d, func(n int) error { return p.wait(ctx, n) })
		if ctx.Err() != nil {
			return
		}
		if err != nil && pipeline.KindOf(err) != pipeline.NotFound && pipeline.KindOf(err) != pipeline.Invalid {
			p.n.log.Warn("list the chunks of a blob", "blob", d[:12], "error", err)
		}
	}
}
