package storage

import (
	"encoding/binary"
	"testing"
)

// The index holds the newest, and no more than its bound.
func TestChunkIndex_bound(t *testing.T) {
	var x chunkIndex
	x.init()
	list := func(blob, n int) (l []Chunk) {
		for i := range n {
			var s ChunkSum
			binary.LittleEndian.PutUint32(s[:], uint32(blob))
			binary.LittleEndian.PutUint32(s[4:], uint32(i))
			l = append(l, Chunk{Sum: s, Size: 1})
		}
		return l
	}
	for blob := range 10 {
		x.add(DigestOf([]byte{byte(blob)}), list(blob, maxIndexed/4))
		if len(x.at) > maxIndexed {
			t.Fatalf("%d chunks", len(x.at))
		}
	}
	for blob := range 10 {
		if _, ok := x.find(list(blob, 1)[0].Sum); ok != (blob >= 6) {
			t.Errorf("blob %d is found: %v", blob, ok)
		}
	}
	x.add(DigestOf([]byte("large")), list(99, maxIndexed+5))
	if len(x.at) != maxIndexed || len(x.blobs) != 1 {
		t.Errorf("%d chunks of %d blobs", len(x.at), len(x.blobs))
	}
	x.add(DigestOf([]byte("large")), list(98, 5))
	x.forget(DigestOf([]byte("large")))
	if len(x.at) != 0 || len(x.blobs) != 0 {
		t.Errorf("forgotten: %d chunks of %d blobs", len(x.at), len(x.blobs))
	}
	for i := range 2 * maxFresh {
		x.put(DigestOf([]byte{byte(i)}))
	}
	if len(x.fresh) != maxFresh {
		t.Errorf("%d new ones", len(x.fresh))
	}
}
