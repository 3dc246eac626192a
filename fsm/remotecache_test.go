package fsm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

func toolKey(space, team, name string) pipeline.ToolKey {
	return pipeline.ToolKey{Space: pipeline.ToolSpace(space), Team: team, Key: name}
}

// toolPut maps key n of a space to blob d, of d bytes.
func toolPut(space, team string, n, d int) fsm.ToolPut {
	return fsm.ToolPut{Key: toolKey(space, team, string(key(n))), Digest: key(d), Size: int64(d)}
}

func puts(list ...fsm.ToolPut) *fsm.Command { return &fsm.Command{Tools: &fsm.Tools{Puts: list}} }

func takes(when time.Time, list ...fsm.ToolPut) *fsm.Command {
	op := &fsm.Tools{}
	for _, p := range list {
		op.Takes = append(op.Takes, p.Key)
	}
	return &fsm.Command{At: when, Tools: op}
}

// deletes removes the entries that still map to the blobs of these puts.
func deletes(list ...fsm.ToolPut) *fsm.Command {
	op := &fsm.Tools{}
	for _, p := range list {
		op.Deletes = append(op.Deletes, fsm.ToolDelete{Key: p.Key, Digest: p.Digest})
	}
	return &fsm.Command{Tools: op}
}

// kept lists what other tools keep, by key and by age, and checks that the
// counters say the same.
func kept(tb testing.TB, s *fsm.Store) (byKey, byAge []string) {
	tb.Helper()
	view(tb, s, func(v *fsm.View) {
		var counted pipeline.ToolStats
		v.Tools(pipeline.ToolKey{}, func(e *pipeline.ToolEntry) bool {
			byKey = append(byKey, fmt.Sprintf("%s/%s/%s=%s", e.Space, e.Team, strings.TrimLeft(e.Key, "0"), strings.TrimLeft(string(e.Digest), "0")))
			c := counted.Of(e.Space)
			c.Entries++
			c.Bytes += e.Size
			if got := v.Tool(e.ToolKey); got == nil || *got != *e {
				tb.Errorf("found by its key %+v, in the list %+v", got, e)
			}
			return true
		})

		v.ToolsByAge(func(e *pipeline.ToolEntry) bool {
			byAge = append(byAge, strings.TrimLeft(e.Key, "0"))
			return true
		})

		if diff := cmp.Diff(counted, v.ToolStats(), cmpopts.IgnoreFields(pipeline.ToolStats{}, "Evicted")); diff != "" {
			tb.Errorf("counters (-counted +kept):\n%s", diff)
		}
	})

	if len(byKey) != len(byAge) {
		tb.Errorf("%d entries by key, %d by age", len(byKey), len(byAge))
	}

	return byKey, byAge
}

func TestTools_keepsTheNewest(t *testing.T) {
	r := newRig(t)
	r.must(puts(toolPut("ac", "", 1, 10), toolPut("ac", "x", 1, 11), toolPut("cas", "", 1, 1), toolPut("turbo", "", 1, 12)))

	want := []string{"ac//1=a", "ac/x/1=b", "cas//1=1", "turbo//1=c"}
	if got, _ := kept(t, r.Store); !slices.Equal(got, want) {
		t.Errorf("spaces and teams: %v, want %v", got, want)
	}

	// Two of the same key in one entry: the later one, whole.
	p := toolPut("ac", "", 1, 13)
	p.Tag, p.Took = "signed", 3*time.Second
	r.must(puts(toolPut("ac", "", 1, 14), p))
	view(t, r.Store, func(v *fsm.View) {
		got := v.Tool(p.Key)
		want := &pipeline.ToolEntry{ToolKey: p.Key, Digest: key(13), Size: 13, Tag: "signed", Took: 3 * time.Second,
			StoredAt: at.Truncate(time.Second), TakenAt: at.Truncate(time.Second)}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(pipeline.ToolEntry{}, "Index")); diff != "" {
			t.Errorf("entry (-want +got):\n%s", diff)
		}
	})

	// What leads elsewhere by now stays.
	r.must(deletes(toolPut("ac", "", 1, 10), toolPut("cas", "", 1, 1), toolPut("turbo", "", 7, 7)),
		&fsm.Command{Tools: &fsm.Tools{Deletes: []fsm.ToolDelete{{Key: toolKey("turbo", "", string(key(1)))}}}})
	if got, _ := kept(t, r.Store); !slices.Equal(got, []string{"ac//1=d", "ac/x/1=b"}) {
		t.Errorf("after deletions: %v", got)
	}
}

// A call that found the bytes of an entry missing removes that entry, and not a
// later one with the same bytes.
func TestTools_deleteOfOneBefore(t *testing.T) {
	r := newRig(t)
	p := toolPut("ac", "", 1, 10)
	index := func() (i uint64) {
		view(t, r.Store, func(v *fsm.View) {
			if e := v.Tool(p.Key); e != nil {
				i = e.Index
			}
		})
		return i
	}

	drop := func(i uint64) *fsm.Command {
		return &fsm.Command{Tools: &fsm.Tools{Deletes: []fsm.ToolDelete{{Key: p.Key, Digest: p.Digest, Index: i}}}}
	}

	r.must(puts(p))
	first := index()
	r.must(takes(at.Add(time.Hour), p))

	if index() != first || first == 0 {
		t.Errorf("index %d after it was taken, %d before", index(), first)
	}

	r.must(puts(p))
	second := index()
	r.must(drop(first))

	if got, _ := kept(t, r.Store); len(got) != 1 || second == first {
		t.Errorf("kept %v, indexes %d and %d", got, first, second)
	}

	r.must(drop(second))
	if got, _ := kept(t, r.Store); len(got) != 0 {
		t.Errorf("kept %v", got)
	}
}

func TestTools_order(t *testing.T) {
	r := newRig(t)
	r.must(puts(toolPut("cas", "", 1, 1), toolPut("cas", "", 2, 2), toolPut("cas", "", 3, 3)))

	for _, step := range []struct {
		c    *fsm.Command
		want string
	}{
		{takes(at.Add(time.Hour), toolPut("cas", "", 1, 1)), "2 3 1"},
		{takes(at.Add(time.Minute), toolPut("cas", "", 1, 1)), "2 3 1"}, // a clock that goes back
		{takes(at.Add(2*time.Hour), toolPut("cas", "", 2, 2), toolPut("cas", "", 8, 8)), "3 1 2"},
		{deletes(toolPut("cas", "", 1, 1)), "3 2"},
	} {
		r.must(step.c)
		if _, got := kept(t, r.Store); strings.Join(got, " ") != step.want {
			t.Errorf("those taken longest ago first: %v, want %s", got, step.want)
		}
	}
}

func TestTools_bounded(t *testing.T) {
	defer fsm.SetMaxTools(10)()

	r := newRig(t)
	for i := range 25 {
		c := puts(toolPut("ac", "", i, i))
		c.At = at.Add(time.Duration(i) * time.Minute)
		r.must(c)
		if i == 12 {
			r.must(takes(at.Add(13*time.Hour), toolPut("ac", "", 5, 5)))
		}
	}

	byKey, byAge := kept(t, r.Store)
	if len(byKey) != 10 || byAge[9] != "5" || byAge[0] != "10" {
		t.Errorf("kept %v; want the last nine and 5, which was taken", byAge)
	}

	view(t, r.Store, func(v *fsm.View) {
		if n := v.ToolStats().Evicted; n != 15 {
			t.Errorf("%d were evicted, want 15", n)
		}
	})
}

// A change that cannot be made is passed over, and those beside it are made.
func TestTools_refuses(t *testing.T) {
	upper := toolPut("ac", "", 1, 1)
	upper.Key.Key = strings.Repeat("A", 64)
	noDigest, prefixed, negative, tagged := toolPut("ac", "", 1, 1), toolPut("ac", "", 1, 1), toolPut("ac", "", 1, 1), toolPut("ac", "", 1, 1)
	noDigest.Digest, prefixed.Digest, negative.Size, tagged.Tag = "", "sha256:"+key(1), -1, strings.Repeat("x", pipeline.MaxToolTag+1)

	long := toolPut("turbo", strings.Repeat("x", pipeline.MaxToolName+1), 1, 1)
	zero := toolPut("turbo", "a\x00b", 1, 1)
	for name, bad := range map[string]fsm.ToolPut{"a space": toolPut("odd", "", 1, 1), "upper case": upper, "no digest": noDigest, "prefixed": prefixed,
		"negative": negative, "a long tag": tagged, "a long team": long, "a zero byte": zero} {
		r := newRig(t)
		if why := refused(r.do(puts(bad, toolPut("cas", "", 2, 2)))); !strings.HasPrefix(why, "invalid: ") {
			t.Errorf("%s: %q", name, why)
		}
		if got, _ := kept(t, r.Store); !slices.Equal(got, []string{"cas//2=2"}) {
			t.Errorf("%s: kept %v", name, got)
		}
	}

	r := newRig(t)
	odd := toolPut("odd", "", 1, 1)
	for _, c := range []*fsm.Command{takes(at, odd), deletes(odd)} {
		if why := refused(r.do(c)); !strings.HasPrefix(why, "invalid: ") {
			t.Errorf("%+v: %q", c.Tools, why)
		}
	}
}

// The entries of other tools are referenced, so that no sweep deletes their
// blobs.
func TestReferences_tools(t *testing.T) {
	r := newRig(t)
	empty := toolPut("cas", "", 1, 1)
	empty.Digest, empty.Size = pipeline.EmptyDigest, 0
	r.must(puts(empty, toolPut("ac", "", 2, 2), toolPut("turbo", "t", 3, 3)))
	var got []pipeline.Digest
	view(t, r.Store, func(v *fsm.View) {
		err := v.References(func(ref fsm.Reference) error {
			got = append(got, ref.Digest)
			if ref.Tree || ref.Attempt.Run != "" {
				t.Errorf("%+v: want a blob of no run", ref)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})

	if !slices.Equal(got, []pipeline.Digest{key(2), key(3)}) {
		t.Errorf("named are %v", got)
	}
}

// As many changes as a proposer may make at once fit into an entry.
func TestTools_largest(t *testing.T) {
	name := strings.Repeat("x", pipeline.MaxToolName)
	op := &fsm.Tools{}
	for range fsm.MaxToolChanges {
		op.Puts = append(op.Puts, fsm.ToolPut{Key: toolKey("turbo", name, name), Digest: key(1), Size: 1 << 60, Took: 1 << 60, Tag: strings.Repeat("t", pipeline.MaxToolTag)})
	}
	if _, err := fsm.Encode(&fsm.Command{At: at, Tools: op}); err != nil {
		t.Error(err)
	}
}
