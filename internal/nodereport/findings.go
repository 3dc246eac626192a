package nodereport

import (
	"slices"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
)

// findings are sentences on connections that do not work, out of what the nodes see of
// each other. A node that is down altogether is no finding.
func findings(reports []wire.NodeReport) []string {
	t := sightTable{sees: map[[2]string]wire.Sight{}}
	for _, r := range reports {
		if r.Missing == "" {
			t.reporting = append(t.reporting, r.Name)
		}
		for _, s := range r.Sees {
			t.sees[[2]string{r.Name, s.Node}] = s
		}
	}

	out := []string{}
	for _, r := range reports {
		var text string
		if r.Missing == "" {
			text = t.oneWay(r.Name)
		} else {
			text = t.half(r.Name)
		}
		if text != "" {
			out = append(out, text)
		}
	}
	return append(out, t.cut()...)
}

// sightTable is who sees whom.
type sightTable struct {
	// reporting are the nodes that have reported, by name.
	reporting []string
	// sees is by viewer and node.
	sees map[[2]string]wire.Sight
}

// judged reports whether something follows from what two nodes see of each other.
func (t *sightTable) judged(a, b string) bool {
	x, ok := t.sees[[2]string{a, b}]
	y, also := t.sees[[2]string{b, a}]
	return ok && also && x.Status != wire.SightNew && y.Status != wire.SightNew
}

func (t *sightTable) hears(a, b string) bool { return t.sees[[2]string{a, b}].Hears }

// oneWay says that a node hears others which do not hear it.
func (t *sightTable) oneWay(name string) string {
	var deaf []string
	others := 0
	for _, other := range t.reporting {
		if other == name || !t.judged(name, other) {
			continue
		}
		others++
		if t.hears(name, other) && !t.hears(other, name) {
			deaf = append(deaf, other)
		}
	}
	if len(deaf) == 0 {
		return ""
	}

	text := name + " hears " + inWords(deaf) + ", but "
	if len(deaf) == others && others > 1 {
		text += "no node hears " + name
	} else {
		text += inWords(deaf) + verb(deaf, " does", " do") + " not hear " + name
	}
	return text + ": a link is cut in one direction, for example by a firewall; " + name + " is not dead"
}

// half says that a node which does not report is reached by others.
func (t *sightTable) half(name string) string {
	var reach, miss, hear []string
	for _, other := range t.reporting {
		switch s, ok := t.sees[[2]string{other, name}]; {
		case !ok || s.Status == wire.SightNew:
		case s.RoundTripSeconds > 0 && s.Status == cluster.StatusAlive:
			reach = append(reach, other)
		case s.Hears && s.Status == wire.SightSilent:
			hear = append(hear, other)
		default:
			miss = append(miss, other)
		}
	}
	switch {
	case len(hear) > 0:
		return inWords(hear) + verb(hear, " hears ", " hear ") + name + ", but " + name + " does not answer: a link is cut in one direction, or it hangs"
	case len(reach) > 0 && len(miss) > 0:
		return inWords(reach) + verb(reach, " reaches ", " reach ") + name + ", but " + inWords(miss) + verb(miss, " does not", " do not")
	}
	return ""
}

// cut says which nodes do not hear each other.
func (t *sightTable) cut() []string {
	var out []string
	for i, a := range t.reporting {
		for _, b := range t.reporting[i+1:] {
			if t.judged(a, b) && !t.hears(a, b) && !t.hears(b, a) {
				out = append(out, a+" and "+b+" do not hear each other: the link between them is cut")
			}
		}
	}
	return out
}

func verb(names []string, one, many string) string {
	if len(names) == 1 {
		return one
	}
	return many
}

// inWords lists names: "a", "a and b", "a, b and c".
func inWords(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
