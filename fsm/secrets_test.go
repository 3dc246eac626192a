package fsm_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func TestApply_secrets(t *testing.T) {
	s := newStore(t)
	index := uint64(0)
	apply := func(op fsm.Secret) error {
		index++
		return s.Apply(entry(t, index, &fsm.Command{At: at, Secret: &op})).(fsm.Result).Err
	}

	rec := func(name, sealed string) fsm.SecretRecord {
		return fsm.SecretRecord{Name: name, Sealed: []byte(sealed), SetAt: at, SetBy: "ann"}
	}

	for _, step := range []struct {
		op   fsm.Secret
		kind pipeline.Kind
	}{
		{fsm.Secret{Record: rec("B", "1")}, 0},
		{fsm.Secret{Record: rec("A", "1")}, 0},
		{fsm.Secret{Record: rec("B", "2")}, 0}, // replaces
		{fsm.Secret{Record: rec("", "1")}, pipeline.Invalid},
		{fsm.Secret{Record: rec("C", "")}, pipeline.Invalid},
		{fsm.Secret{Record: rec("C", string(make([]byte, fsm.MaxSecretBytes+1000)))}, pipeline.TooLarge},
		{fsm.Secret{Record: rec("C", ""), Delete: true}, pipeline.NotFound},
		{fsm.Secret{Record: rec("A", ""), Delete: true}, 0},
	} {
		if err := apply(step.op); err == nil && step.kind != 0 || err != nil && (step.kind == 0 || pipeline.KindOf(err) != step.kind) {
			t.Errorf("%+v: %v, want kind %v", step.op.Record.Name, err, step.kind)
		}
	}

	check := func(s *fsm.Store) {
		t.Helper()
		view(t, s, func(v *fsm.View) {
			list := v.Secrets()
			if len(list) != 1 || list[0].Name != "B" || !bytes.Equal(list[0].Sealed, []byte("2")) || list[0].SetBy != "ann" || !list[0].SetAt.Equal(at) {
				t.Errorf("secrets %+v", list)
			}
			if _, ok := v.Secret("A"); ok {
				t.Error("A is still there")
			}
			if v.Empty() {
				t.Error("a state with a secret counts as empty")
			}
		})
	}

	check(s)
	other := newStore(t)
	if err := restore(other, capture(t, s)); err != nil {
		t.Fatal(err)
	}

	check(other)

	for i := range fsm.MaxSecrets {
		err := apply(fsm.Secret{Record: rec(fmt.Sprintf("N%04d", i), "1")})
		if full := i == fsm.MaxSecrets-1; (err != nil) != full || full && pipeline.KindOf(err) != pipeline.Conflict {
			t.Fatalf("secret %d: %v", i, err)
		}
	}

	if err := apply(fsm.Secret{Record: rec("B", "3")}); err != nil {
		t.Errorf("replacing one of the most there can be: %v", err)
	}
}
