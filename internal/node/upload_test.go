package node

import (
	"bytes"
	"context"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// What somebody left of another file under a blob's digest does not spoil the
// upload of the real one; bytes that are wrong from the first on are refused.
func TestPutBlob_leftovers(t *testing.T) {
	n, c := openTest(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16)
	d := blob.DigestOf(content)
	leave := func() {
		t.Helper()
		part, err := n.stores.blobs.Partial(d, int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		defer part.Close()
		if _, err := part.Fill(context.Background(), 0, 6<<20, bytes.NewReader(make([]byte, 6<<20))); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	wrong := bytes.Repeat([]byte("x"), len(content))
	if err := c.Blobs().Put(t.Context(), d, bytes.NewReader(wrong)); pipeline.KindOf(err) != pipeline.Invalid || n.stores.blobs.Has(d) {
		t.Errorf("wrong bytes: %v, stored: %v", err, n.stores.blobs.Has(d))
	}
	leave()
	if err := c.Blobs().Put(t.Context(), d, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := n.stores.blobs.Verify(d); err != nil {
		t.Error(err)
	}
}
