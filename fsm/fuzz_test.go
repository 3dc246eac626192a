package fsm_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func seedCommands(f *testing.F) {
	for _, l := range script(f) {
		if l.Type == raft.LogCommand {
			f.Add(l.Data)
		}
	}
	for _, c := range everyCommand() {
		b, err := fsm.Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzDecode: what can be decoded can be encoded, and is the same then.
func FuzzDecode(f *testing.F) {
	seedCommands(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := fsm.Decode(data)
		if err != nil {
			return
		}

		b, err := fsm.Encode(c)
		if err != nil {
			return // not one part, or too large: it is never proposed
		}

		again, err := fsm.Decode(b)
		if err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}

		b2, err := fsm.Encode(again)
		if err != nil || !bytes.Equal(b, b2) {
			t.Fatalf("encoded twice: %v\n%x\n%x", err, b, b2)
		}

		third, err := fsm.Decode(b2)
		if err != nil || !reflect.DeepEqual(again, third) {
			t.Fatalf("decoded twice: %v\n%+v\n%+v", err, again, third)
		}
	})
}

// FuzzApply: whatever can be decoded is answered without a panic, and the state
// it leaves can be read whole and carried by a snapshot.
func FuzzApply(f *testing.F) {
	seedCommands(f)
	logs := script(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := fsm.Decode(data); err != nil {
			return
		}

		s, err := fsm.Open(t.TempDir(), hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		applyAll(s, logs)

		for i := range 2 {
			s.Apply(&raft.Log{Index: uint64(len(logs) + 1 + i), Term: 1, Type: raft.LogCommand, Data: data})
		}

		readAll(t, s)
		want := walk(t, s)
		if err := restore(s, capture(t, s)); err != nil {
			t.Fatalf("restore what it left: %v", err)
		}

		wantEqual(t, "after a snapshot", want, walk(t, s))
	})
}

// readAll reads everything that a view gives.
func readAll(tb tester, s *fsm.Store) {
	tb.Helper()
	view(tb, s, func(v *fsm.View) {
		for _, r := range v.Active() {
			v.Modules(r.ID)
			_, _ = v.Definition(r.ID) // need not be one: the proposer makes it
		}

		v.Workers()
		v.Tokens()
		v.Secrets()
		v.Empty()
		v.Tools(pipeline.ToolKey{}, func(*pipeline.ToolEntry) bool { return true })
		v.ToolsByAge(func(*pipeline.ToolEntry) bool { return true })
		v.ToolStats()

		if err := v.References(func(fsm.Reference) error { return nil }); err != nil {
			tb.Fatal(err)
		}
	})
}

// FuzzRestore: a snapshot is taken whole or not at all. The second argument
// says how much of it is made right, so that the fuzzer gets past the checksum.
func FuzzRestore(f *testing.F) {
	source := newStore(f)
	play(source, script(f))
	f.Add(capture(f, source), byte(0), uint64(0))
	f.Add(sealed(head, pair(2, "k", "v"), 1), byte(1), uint64(0))
	f.Add(pair(2, "k", "v"), byte(2), uint64(1))
	f.Add(append(pair(5, "a\x00m", "v"), pair(9, "t", "")...), byte(2), uint64(2))
	f.Add([]byte{2, 1, 'k', 0xff, 0xff, 0xff, 0x1f}, byte(2), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, how byte, count uint64) {
		switch how % 3 {
		case 1:
			data = packed(t, data)
		case 2:
			data = packed(t, sealed(head, data, count))
		}

		s, err := fsm.Open(t.TempDir(), hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		applyAll(s, script(t)[:4])
		old := walk(t, s)
		if err := restore(s, data); err != nil {
			wantEqual(t, "after a refused snapshot", old, walk(t, s))
			return
		}

		taken := walk(t, s)
		if err := restore(s, capture(t, s)); err != nil {
			t.Fatalf("restore what was restored: %v", err)
		}

		if !slices.Equal(taken, walk(t, s)) {
			t.Fatal("a snapshot of what was restored differs")
		}
	})
}
