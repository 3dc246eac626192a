package wire

import (
	"github.com/pipelined/pipelined/pipeline"
)

// MissingRequest asks which blobs are missing on the node: POST /api/v1/blobs/missing.
// Instead of digests it may name one tree: then the answer lists that if it
// is missing, else those of its files' blobs that are.
type MissingRequest struct {
	Digests []pipeline.Digest `json:"digests,omitempty"`
	Tree    pipeline.Digest   `json:"tree,omitempty"`
}

// MissingResponse lists them.
type MissingResponse struct {
	Missing []pipeline.Digest `json:"missing"`
	// Arrived has, for missing blobs of which an upload was cut, how many
	// bytes are here: PUT with Content-Range continues from there.
	Arrived map[pipeline.Digest]int64 `json:"arrived,omitempty"`
}

// BundleRequest asks for many small blobs at once: POST /api/v1/blobs/get. The
// answer is a bundle as blob.ReadBundle reads it. Blobs that no node has, and
// those of more than MaxBundledBlob bytes, are not in it.
type BundleRequest struct {
	Digests []pipeline.Digest `json:"digests"`
}

const (
	// MaxBundledBlobs is how many blobs one BundleRequest may name.
	MaxBundledBlobs = 1000
	// MaxBundledBlob is how long a blob in the answer may be, in bytes.
	MaxBundledBlob = 256 << 10
)

// BundleResponse answers POST /api/v1/blobs, a bundle as blob.WriteBundle
// makes it, once all its blobs are durable here.
type BundleResponse struct {
	Stored int `json:"stored"`
}
