package fsm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// Runs are found by id, number, beginning and "last", and what is meant by several is
// said.
func TestView_FindRun(t *testing.T) {
	r := newRig(t)
	ids := []string{"aa10", "aa11", "2bcd", "3", "cc01"} // numbers 1 to 5
	for _, id := range ids {
		r.must(submit(t, id, 1))
	}
	name := r.run("aa10").Pipeline

	for _, tc := range []struct{ text, want string }{
		{"aa10", "aa10"}, {"aa11", "aa11"}, {"1", "aa10"}, {"5", "cc01"}, {"last", "cc01"}, {name + "/last", "cc01"}, {name + "/2", "aa11"},
		{"3", "3"},    // the id comes before the number
		{"2", "aa11"}, // the number before the beginning
		{"2b", "2bcd"}, {"c", "cc01"},
		{"aa", "run aa is ambiguous: it may be aa10 (" + name + " 1), aa11 (" + name + " 2)"},
		{"9", "no run 9: pipelined list shows the runs"}, {"d", "no run d: pipelined list shows the runs"}, {"other/last", "no run other/last: there is no run of pipeline other"},
		{"other/2", "no run other/2: run 2 is of pipeline " + name}, {name + "/77", "no run " + name + "/77: pipelined list shows the runs"},
	} {
		ref, err := pipeline.ParseRunRef(tc.text)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		view(t, r.Store, func(v *fsm.View) {
			id, err := v.FindRun(ref)
			if got := string(id) + errText(err); got != tc.want {
				t.Errorf("%s: got %q, want %q", tc.text, got, tc.want)
			}
		})
	}
}

// A long list of candidates is cut.
func TestView_FindRun_manyCandidates(t *testing.T) {
	r := newRig(t)
	for i := range 7 {
		r.must(submit(t, fmt.Sprintf("f%d", i), 1))
	}
	view(t, r.Store, func(v *fsm.View) {
		_, err := v.FindRun(pipeline.RunRef{Text: "f", Prefix: "f"})
		if pipeline.KindOf(err) != pipeline.Invalid || strings.Count(errText(err), "(") != 5 || !strings.HasSuffix(errText(err), ", …") {
			t.Errorf("got %v", err)
		}
		if id, err := v.FindRun(pipeline.RunRef{Text: "last", Last: true}); id != "f6" || err != nil {
			t.Errorf("last: %s, %v", id, err)
		}
	})
	empty := newRig(t)
	view(t, empty.Store, func(v *fsm.View) {
		if _, err := v.FindRun(pipeline.RunRef{Text: "last", Last: true}); pipeline.KindOf(err) != pipeline.NotFound {
			t.Errorf("last of none: %v", err)
		}
	})
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestParseRunRef(t *testing.T) {
	for _, bad := range []string{"", "/", "a/", "/1", "a/b", "a/1/2", "A", "x y", "rel/0", strings.Repeat("a", 64), "p/LAST", "p/01"} {
		if ref, err := pipeline.ParseRunRef(bad); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%q: %+v, %v", bad, ref, err)
		}
	}
	whole := strings.Repeat("0123456789abcdef", 2)
	for text, want := range map[string]bool{whole: true, whole[:31]: false, whole[:31] + "g": false, "last": false, "12": false} {
		ref, err := pipeline.ParseRunRef(text)
		if id, ok := ref.ID(); err != nil || ok != want || ok && string(id) != text {
			t.Errorf("%s: %q %v, %v", text, id, ok, err)
		}
	}
}

// Whoever names the last run means none that a module made, unless the pipeline is named.
func TestView_FindRun_child(t *testing.T) {
	r := parent(t)
	view(t, r.Store, func(v *fsm.View) {
		for text, want := range map[string]pipeline.RunID{"last": "r", "c/last": "c"} {
			ref, err := pipeline.ParseRunRef(text)
			if err != nil {
				t.Fatal(err)
			}
			if id, err := v.FindRun(ref); id != want || err != nil {
				t.Errorf("%s: %s, %v, want %s", text, id, err, want)
			}
		}
	})
}
