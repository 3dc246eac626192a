package convert

import (
	"slices"
	"strings"

	"github.com/rhysd/actionlint"
)

// labels are what a job runs on; an expression is one of them.
func (j *job) labels() []*actionlint.String {
	r := j.src.RunsOn
	switch {
	case r == nil:
		return nil
	case r.LabelsExpr != nil:
		return []*actionlint.String{r.LabelsExpr}
	}
	return r.Labels
}

func (j *job) labelsPos() *actionlint.Pos {
	if list := j.labels(); len(list) > 0 {
		return list[0].Pos
	}
	return j.src.Pos
}

// runsOnAxis is the axis of the matrix that names the runner, and what stands around its
// value; "" if none does.
func (j *job) runsOnAxis() (axis, before, after string) {
	for _, l := range j.labels() {
		before, rest, is := strings.Cut(strings.TrimSpace(l.Value), "${{")
		inner, after, ended := strings.Cut(rest, "}}")
		if name, of := strings.CutPrefix(strings.TrimSpace(inner), "matrix."); is && ended && of && identifier(name) && !strings.Contains(after, "${{") {
			return name, before, after
		}
	}
	return "", "", ""
}

// otherSystem reports whether a label is of a runner without Linux.
func otherSystem(label string) bool {
	label = strings.ToLower(label)
	return strings.HasPrefix(label, "windows") || strings.HasPrefix(label, "macos") || label == "darwin"
}

// requires converts runs-on, and names the tools.
func (j *job) requires(s *scope) string {
	var tags []string
	arch := ""
	for _, l := range j.labels() {
		label := strings.ToLower(l.Value)
		switch {
		case strings.Contains(label, "${{"):
			if axis, _, _ := j.runsOnAxis(); axis == "" {
				j.w.note(j, l.Pos, "runs-on: "+l.Value, "requires has values, no expressions")
			}
		case otherSystem(label):
			j.w.note(j, l.Pos, "runs-on: "+l.Value, otherSystemWhy)
			j.blocked = true
		case label == "arm64" || strings.HasSuffix(label, "-arm"):
			arch = "arm64"
		case label == "self-hosted" || label == "linux" || label == "x64" || strings.HasPrefix(label, "ubuntu"):
		case !strings.ContainsAny(label, " ,"):
			tags = append(tags, l.Value)
		}
	}
	var pairs []pair
	if arch != "" {
		pairs = append(pairs, pair{"arch", quote(arch)})
	}
	slices.Sort(j.tools)
	if len(j.tools) > 0 && !j.inContainer() { // they are the image's
		pairs = append(pairs, pair{"tools", list(quoteAll(j.tools))})
	}
	if len(tags) > 0 {
		pairs = append(pairs, pair{"tags", list(quoteAll(tags))})
	}
	if len(pairs) == 0 {
		return ""
	}
	texts := make([]string, len(pairs))
	for i, p := range pairs {
		texts[i] = p.name + " = " + p.expr
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}
