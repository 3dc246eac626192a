package nodereport

import (
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
)

// table makes reports out of lines "viewer: node=state …". A state is ok (answers and
// is heard), deaf (neither), hears, failed or new; a node without a line did not report.
func table(names string, lines ...string) []wire.NodeReport {
	var out []wire.NodeReport
	for name := range strings.FieldsSeq(names) {
		r := wire.NodeReport{Name: name, Missing: "it does not answer"}
		for _, line := range lines {
			viewer, rest, _ := strings.Cut(line, ":")
			if viewer != name {
				continue
			}
			r.Missing = ""
			for field := range strings.FieldsSeq(rest) {
				node, state, _ := strings.Cut(field, "=")
				r.Sees = append(r.Sees, map[string]wire.Sight{
					"ok": {Node: node, Status: "alive", RoundTripSeconds: .001, Hears: true}, "deaf": {Node: node, Status: "silent"},
					"hears": {Node: node, Status: "silent", Hears: true}, "failed": {Node: node, Status: "failed"}, "new": {Node: node, Status: "new"},
				}[state])
			}
		}
		out = append(out, r)
	}
	return out
}

func TestFindings(t *testing.T) {
	for name, tc := range map[string]struct {
		reports []wire.NodeReport
		want    []string
	}{
		"all is well":          {table("a b c", "a: b=ok c=ok", "b: a=ok c=ok", "c: a=ok b=ok"), nil},
		"a node is down":       {table("a b c", "a: b=ok c=failed", "b: a=ok c=failed"), nil},
		"a node has just come": {table("a b", "a: b=new", "b: a=deaf"), nil},
		"one way, to one": {table("a b c", "a: b=hears c=ok", "b: a=deaf c=ok", "c: a=ok b=ok"),
			[]string{"a hears b, but b does not hear a: a link is cut in one direction"}},
		"one way, to all": {table("a b e", "a: b=ok e=deaf", "b: a=ok e=deaf", "e: a=hears b=hears"),
			[]string{"e hears a and b, but no node hears e: a link is cut in one direction, for example by a firewall; e is not dead"}},
		"cut in both directions": {table("a b c", "a: b=deaf c=ok", "b: a=deaf c=ok", "c: a=ok b=ok"),
			[]string{"a and b do not hear each other"}},
		"the node that asks does not reach one": {table("a b c d", "a: b=ok c=failed d=ok", "b: a=ok c=ok d=ok", "d: a=ok b=ok c=ok"),
			[]string{"b and d reach c, but a does not"}},
		"it is heard and does not answer": {table("a b", "a: b=hears"), []string{"a hears b, but b does not answer"}},
	} {
		got := findings(tc.reports)
		if !slices.EqualFunc(got, tc.want, strings.HasPrefix) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
