package fsm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
)

// TestSnapshot_everywhere makes a snapshot after each entry, restores it into a
// store with another content and applies the rest.
func TestSnapshot_everywhere(t *testing.T) {
	logs := script(t)
	whole := newStore(t)
	play(whole, logs)
	want := walk(t, whole)
	source, target := newStore(t), newRig(t)
	target.must(submit(t, "other", 1), cancel("other"))

	for k := 0; k <= len(logs); k++ {
		if k > 0 {
			source.Apply(logs[k-1])
		}
		if err := restore(target.Store, capture(t, source)); err != nil {
			t.Fatalf("snapshot after entry %d: %v", k, err)
		}
		wantEqual(t, fmt.Sprintf("restored from the snapshot after entry %d", k), walk(t, source), walk(t, target.Store))
		sinceEverywhere(t, target.Store)
		play(target.Store, logs[k:])
		sinceEverywhere(t, target.Store)
		wantEqual(t, fmt.Sprintf("snapshot after entry %d, and the rest", k), want, walk(t, target.Store))
	}
}

func TestApply_twice(t *testing.T) {
	logs := script(t)
	s := newStore(t)
	play(s, logs)
	want := walk(t, s)

	for _, l := range logs {
		if reply := s.Apply(l); reply != nil {
			t.Errorf("entry %d was applied again: %+v", l.Index, reply)
		}
	}

	wantEqual(t, "applied twice, one by one", want, walk(t, s))
	applyAll(s, logs)
	wantEqual(t, "applied again in one batch", want, walk(t, s))

	doubled := newStore(t)

	var twice []*raft.Log
	for _, l := range logs {
		twice = append(twice, l, l)
	}

	for i, reply := range applyAll(doubled, twice) {
		if i%2 == 1 && reply != nil {
			t.Errorf("entry %d was applied again in its own batch: %+v", twice[i].Index, reply)
		}
	}

	wantEqual(t, "each entry twice in one batch", want, walk(t, doubled))
}

// TestApplyBatch_replies: a reply for each entry, in its place, whatever kind
// of entry it is.
func TestApplyBatch_replies(t *testing.T) {
	logs := script(t)
	want := make([]any, len(logs))
	one := newStore(t)
	for i, l := range logs {
		want[i] = one.Apply(l)
	}

	for size := 1; size <= len(logs); size += 3 {
		s := newStore(t)
		var got []any
		for from := 0; from < len(logs); from += size {
			part := logs[from:min(from+size, len(logs))]
			replies := applyAll(s, part)
			if len(replies) != len(part) {
				t.Fatalf("%d replies to %d entries", len(replies), len(part))
			}
			got = append(got, replies...)
		}

		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" {
			t.Errorf("replies in batches of %d (-want +got):\n%s", size, diff)
		}

		wantEqual(t, fmt.Sprintf("state in batches of %d", size), walk(t, one), walk(t, s))
	}
}

func TestApplyBatch_otherEntries(t *testing.T) {
	s := newStore(t)
	if got := applyAll(s, nil); len(got) != 0 {
		t.Errorf("%d replies to nothing", len(got))
	}

	logs := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte("raft's own")},
		{Index: 2, Term: 2, Type: raft.LogNoop},
		{Index: 3, Term: 2, Type: raft.LogBarrier},
	}

	if diff := cmp.Diff([]any{nil, nil, nil}, applyAll(s, logs)); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}

	view(t, s, func(v *fsm.View) {
		if v.Index() != 3 || v.Term() != 2 {
			t.Errorf("index %d, term %d; want 3, 2", v.Index(), v.Term())
		}
	})
}

// TestApply_stops: an entry that this version cannot read stops the replica,
// says what to do, and leaves nothing of its batch behind.
func TestApply_stops(t *testing.T) {
	newer, err := cbor.Marshal(map[int]any{1: fsm.Version + 1, 99: "what is to come"})
	if err != nil {
		t.Fatal(err)
	}

	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"a newer version": {newer, "upgrade this node"},
		"no command":      {[]byte("?"), "decode command"},
		"nothing":         {nil, "decode command"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.must(submit(t, "a", 1))
			before := walk(t, r.Store)
			said := func() (said string) {
				defer func() { said = fmt.Sprint(recover()) }()
				applyAll(r.Store, []*raft.Log{entry(t, 2, submit(t, "b", 1)), {Index: 3, Term: 1, Type: raft.LogCommand, Data: tc.data}})
				return
			}()
			if !strings.Contains(said, tc.want) || !strings.Contains(said, "entry 3") {
				t.Errorf("it said %q; want entry 3 and %q", said, tc.want)
			}
			wantEqual(t, "after the stop", before, walk(t, r.Store))
		})
	}
}

// TestApply_unusual: commands that no proposer makes and that can be decoded
// are answered, and leave a state that a snapshot can carry.
func TestApply_unusual(t *testing.T) {
	long := strings.Repeat("x", 40_000)
	for name, in := range map[string]map[int]any{
		"nothing said":       {1: 1},
		"all at once":        {1: 1, 3: map[int]any{}, 4: map[int]any{}, 5: map[int]any{}, 6: map[int]any{}, 7: map[int]any{}, 8: map[int]any{}},
		"empty submit":       {1: 1, 3: map[int]any{}},
		"empty cancel":       {1: 1, 5: map[int]any{}},
		"empty worker":       {1: 1, 6: map[int]any{}},
		"empty token":        {1: 1, 7: map[int]any{}},
		"empty forget":       {1: 1, 8: map[int]any{}},
		"forget of nobody":   {1: 1, 8: map[int]any{1: []string{"", long, "a"}}},
		"nulls":              {1: 1, 2: nil, 4: map[int]any{1: nil, 2: []any{nil, map[int]any{}}, 3: []any{nil}, 4: []any{nil}, 5: []any{nil}, 6: []any{nil}}},
		"a time of no year":  {1: 1, 2: 1 << 60, 5: map[int]any{1: "a"}},
		"a time of no kind":  {1: 1, 2: -1e17, 8: map[int]any{2: uint64(1 << 63)}},
		"long names":         {1: 1, 4: map[int]any{3: []any{map[int]any{1: "a", 2: long, 3: "skipped"}}, 4: []any{map[int]any{1: map[string]any{"run": "a", "module": long, "attempt": 1}, 2: "w"}}}},
		"a long worker":      {1: 1, 6: map[int]any{1: map[int]any{1: long}}},
		"a long token":       {1: 1, 7: map[int]any{1: map[int]any{1: long}}},
		"a long key":         {1: 1, 3: map[int]any{1: map[string]any{"id": "q", "key": long}}},
		"an attempt below 0": {1: 1, 4: map[int]any{1: []any{map[int]any{1: map[string]any{"run": "a", "module": "m0", "attempt": -1 << 62}}}}},
		"an attempt beyond":  {1: 1, 4: map[int]any{2: []any{map[int]any{1: map[string]any{"id": map[string]any{"run": "a", "module": "m0", "attempt": 1 << 62}, "state": "lost"}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := cbor.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}

			if _, err := fsm.Decode(data); err != nil {
				t.Fatalf("not decodable, so no test: %v", err)
			}

			r := newRig(t)
			r.must(submit(t, "a", 2), batch(assign("a", "m0", 1)))
			r.Apply(&raft.Log{Index: 3, Term: 1, Type: raft.LogCommand, Data: data})
			other := newStore(t)
			if err := restore(other, capture(t, r.Store)); err != nil {
				t.Fatalf("restore what it left: %v", err)
			}

			wantEqual(t, "after a snapshot", walk(t, r.Store), walk(t, other))
		})
	}
}
