// Package keys derives everything that nodes trust each other by from the one
// cluster key: gossip's encryption, a certificate authority that every holder
// of the key shares, node certificates, the key that seals secrets, and tokens.
//
// It also reads and creates the file of that key. It does no network I/O and
// never logs. A Keys is safe for concurrent use.
package keys

import (
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
)

// Size is the length of a cluster key in bytes.
const Size = 32

// The purposes that keys are derived for. Changing one of them shuts out every
// node with the old one.
const (
	purposeGossip      = "pipelined gossip key v1"
	purposeLabel       = "pipelined gossip label v1"
	purposeCA          = "pipelined ca key v1"
	purposeSeal        = "pipelined seal key v1"
	purposeResults     = "pipelined result keys v1"
	purposeToken       = "pipelined token key v1"
	purposeFingerprint = "pipelined key fingerprint v1"
)

// Keys is what follows from a cluster key.
type Keys struct {
	gossip      []byte
	label       string
	seal        []byte
	sealer      cipher.AEAD
	results     []byte
	token       []byte
	fingerprint string
	ca          *authority
}

// New derives the keys. The same cluster key gives the same ones everywhere.
func New(clusterKey []byte) (*Keys, error) {
	if len(clusterKey) != Size {
		return nil, fmt.Errorf("cluster key of %d bytes: expected %d", len(clusterKey), Size)
	}
	derive := func(purpose string, n int) []byte {
		out, err := hkdf.Key(sha256.New, clusterKey, nil, purpose, n)
		if err != nil {
			// Only for lengths beyond 255 hashes, which none of ours is.
			panic("derive " + purpose + ": " + err.Error())
		}
		return out
	}
	k := &Keys{
		gossip: derive(purposeGossip, 32), seal: derive(purposeSeal, 32), results: derive(purposeResults, 32), token: derive(purposeToken, 32),
		label:       "pipelined-" + hex.EncodeToString(derive(purposeLabel, 8)),
		fingerprint: hex.EncodeToString(derive(purposeFingerprint, 8)),
	}
	var err error
	if k.sealer, err = newSealer(k.seal); err != nil {
		return nil, err
	}
	caKey, err := scalar(derive(purposeCA, 48))
	if err != nil {
		return nil, err
	}
	if k.ca, err = newAuthority(caKey); err != nil {
		return nil, err
	}
	return k, nil
}

// scalar turns random bytes into a P-256 key: a number from 1 to n-1, with no
// bias worth mentioning since it comes from 48 bytes. ecdsa.GenerateKey would
// not give the same key twice.
func scalar(b []byte) (*ecdsa.PrivateKey, error) {
	n := new(big.Int).Sub(elliptic.P256().Params().N, big.NewInt(1))
	d := new(big.Int).Mod(new(big.Int).SetBytes(b), n)
	d.Add(d, big.NewInt(1))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
	if err != nil {
		return nil, fmt.Errorf("derive the authority's key: %w", err)
	}
	return key, nil
}

// GossipKey encrypts gossip: AES-256.
func (k *Keys) GossipKey() []byte { return k.gossip }

// GossipLabel marks gossip of nodes with the same cluster key.
func (k *Keys) GossipLabel() string { return k.label }

// SealKey encrypts secrets in the replicated state: 32 bytes.
func (k *Keys) SealKey() []byte { return k.seal }

// ResultsKey keys the digests by which cached results are found.
func (k *Keys) ResultsKey() []byte { return k.results }

// Fingerprint identifies the cluster key without revealing anything of it: 16
// hexadecimal digits.
func (k *Keys) Fingerprint() string { return k.fingerprint }

// noRand makes signatures depend on key and message only (RFC 6979), so that
// every node makes the same certificate of the authority.
var noRand io.Reader
