package keys_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pipelined/pipelined/cluster/keys"
)

func TestSeal(t *testing.T) {
	k, same, other := newKeys(t, 1), newKeys(t, 1), newKeys(t, 2)
	plain := []byte("correct horse battery staple")
	for _, text := range [][]byte{plain, {}} {
		sealed := k.Seal("secret KEY", text)
		if again := k.Seal("secret KEY", text); bytes.Equal(sealed, again) {
			t.Error("sealing twice gave the same bytes")
		}
		if len(text) > 0 && bytes.Contains(sealed, text[:8]) {
			t.Errorf("the text is in %x", sealed)
		}
		if got, err := same.Open("secret KEY", sealed); err != nil || !bytes.Equal(got, text) {
			t.Errorf("opened to %q, %v", got, err)
		}
		for name, open := range map[string]func() ([]byte, error){
			"other key":     func() ([]byte, error) { return other.Open("secret KEY", sealed) },
			"other purpose": func() ([]byte, error) { return k.Open("secret KEY2", sealed) },
			"cut":           func() ([]byte, error) { return k.Open("secret KEY", sealed[:len(sealed)-1]) },
			"nothing":       func() ([]byte, error) { return k.Open("secret KEY", nil) },
			"version alone": func() ([]byte, error) { return k.Open("secret KEY", sealed[:1]) },
			"later version": func() ([]byte, error) { return k.Open("secret KEY", append([]byte{2}, sealed[1:]...)) },
		} {
			if got, err := open(); !errors.Is(err, keys.ErrSealed) || got != nil {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		for i := range sealed {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1
			if _, err := k.Open("secret KEY", bad); !errors.Is(err, keys.ErrSealed) {
				t.Errorf("byte %d flipped: %v", i, err)
			}
		}
	}
}

func TestDigest(t *testing.T) {
	a := newKeys(t, 1).Digest("x", []byte("y"))
	if a != newKeys(t, 1).Digest("x", []byte("y")) || a == newKeys(t, 2).Digest("x", []byte("y")) || a == newKeys(t, 1).Digest("z", []byte("y")) {
		t.Error("digests do not tell key and purpose apart")
	}
}
