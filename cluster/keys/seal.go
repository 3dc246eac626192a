package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
)

// sealVersion is the first byte of everything that is sealed.
const sealVersion = 1

// ErrSealed is returned if sealed bytes do not open: they were sealed under
// another cluster key or for another purpose, or are damaged.
var ErrSealed = errors.New("it does not open with this cluster key")

// newSealer makes the cipher of Seal: AES-256-GCM with a random nonce in front.
func newSealer(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make the seal's cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make the seal's cipher: %w", err)
	}
	return aead, nil
}

// Seal encrypts what is kept in the replicated state. It opens only for the same
// purpose, so that sealed bytes cannot be put in each other's place. Sealing the
// same twice gives different bytes.
func (k *Keys) Seal(purpose string, plain []byte) []byte {
	return k.sealer.Seal([]byte{sealVersion}, nil, plain, []byte(purpose))
}

// Open decrypts what Seal gave. Its only error is ErrSealed.
func (k *Keys) Open(purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return nil, ErrSealed
	}
	plain, err := k.sealer.Open(nil, nil, sealed[1:], []byte(purpose))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// Digest is a hash that cannot be made without the cluster key, or used to guess the
// text of: for what is compared in the state and may hold what is secret.
func (k *Keys) Digest(purpose string, data []byte) [sha256.Size]byte {
	h := hmac.New(sha256.New, k.seal)
	fmt.Fprintf(h, "digest\x00%s\x00", purpose)
	h.Write(data)
	return [sha256.Size]byte(h.Sum(nil))
}
