package fsm

import (
	bolt "go.etcd.io/bbolt"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// MaxSecrets bounds how many secrets a cluster keeps.
	MaxSecrets = 1000
	// MaxSecretBytes bounds the value of one. It is sealed in an entry of the log
	// and handed to processes, whose environment has bounds of its own.
	MaxSecretBytes = 64 << 10
	// sealedOver is how much longer than its value a sealed secret may be.
	sealedOver = 256
)

// applySecret sets or removes a secret. What is sealed in it is not looked at:
// the state machine has no key.
func (st *state) applySecret(s *Secret) Result {
	rec := s.Record
	if why := badName("the secret's name", rec.Name); why != "" {
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "%s", why)}
	}
	b, key := st.tx.Bucket(bSecrets), []byte(rec.Name)
	there := b.Get(key) != nil
	switch {
	case s.Delete && !there:
		return Result{Err: pipeline.Errorf(pipeline.NotFound, "no secret %s", rec.Name)}
	case s.Delete:
		st.del(bSecrets, key)
		return Result{}
	case len(rec.Sealed) == 0:
		return Result{Err: pipeline.Errorf(pipeline.Invalid, "secret %s comes without a value", rec.Name)}
	case len(rec.Sealed) > MaxSecretBytes+sealedOver:
		return Result{Err: pipeline.Errorf(pipeline.TooLarge, "secret %s has %d bytes sealed: its value may have %d", rec.Name, len(rec.Sealed), MaxSecretBytes)}
	}
	if !there && count(b, MaxSecrets) >= MaxSecrets {
		return Result{Err: pipeline.Errorf(pipeline.Conflict, "there are %d secrets, and no more are kept", MaxSecrets)}
	}
	st.put(bSecrets, key, rec)
	return Result{}
}

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
