package blob

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/pipelined/pipelined/pipeline"
)

// ValidDigest guards every path that is made of a digest.
func ValidDigest(d pipeline.Digest) error {
	if len(d) == 64 {
		if _, err := pipeline.ParseDigest(string(d)); err == nil {
			return nil
		}
	}
	return pipeline.Errorf(pipeline.Invalid, "digest %.80q: expected 64 lower-case hexadecimal digits", string(d))
}

// DigestOf gives the digest of bytes.
func DigestOf(p []byte) pipeline.Digest {
	if len(p) == 0 {
		return pipeline.EmptyDigest
	}
	sum := sha256.Sum256(p)
	return encodeDigest(sum[:])
}

func encodeDigest(sum []byte) pipeline.Digest {
	var text [64]byte
	hex.Encode(text[:], sum)
	return pipeline.Digest(text[:])
}
