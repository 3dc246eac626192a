package fsm

import bolt "go.etcd.io/bbolt"

const (
	// MaxSecrets bounds how many secrets a cluster keeps.
	MaxSecrets = 1000
	// MaxSecretBytes bounds the value of one. It is sealed in an entry of the log
	// and handed to processes, whose environment has bounds of its own.
	MaxSecretBytes = 64 << 10
	// sealedOver is how much longer than its value a sealed secret may be.
	sealedOver = 256
)

// count counts the keys of a bucket, up to limit.
func count(b *bolt.Bucket, limit int) int {
	n := 0
	c := b.Cursor()
	for k, _ := c.First(); k != nil && n < limit; k, _ = c.Next() {
		n++
	}
	return n
}

// Secret finds a secret by its name, as it is kept: sealed.
func (v *View) Secret(name string) (SecretRecord, bool) {
	var s SecretRecord
	return s, v.get(bSecrets, []byte(name), &s)
}

// Secrets lists the secrets, sealed, by name.
func (v *View) Secrets() []SecretRecord {
	var out []SecretRecord
	_ = eachRecord(v.tx.Bucket(bSecrets), func(rec SecretRecord) { out = append(out, rec) }) // the callback never fails
	return out
}
