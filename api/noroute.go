package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/pipelined/pipelined/pipeline"
)

// noRoute tells a path that does not exist from a method that it does not have.
func noRoute(c *call, routes []Route) error {
	path := c.r.URL.Path
	var methods []string
	nearest, best := "", 1<<30

	for i := range routes {
		rt := &routes[i]
		filled, match := fill(rt.Pattern, path)

		if match {
			methods = append(methods, rt.Method)
			if rt.Method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
		}

		if rt.Basic || !strings.HasPrefix(rt.Pattern, "/api/") {
			continue // short or full of wildcards, so close to everything
		}
		if d := distance(path, filled); d < best {
			nearest, best = rt.Pattern, d
		}
	}

	if len(methods) > 0 {
		slices.Sort(methods)
		allow := strings.Join(slices.Compact(methods), ", ")
		c.w.Header().Set("Allow", allow)
		return withStatus(http.StatusMethodNotAllowed, pipeline.Invalid, "method %.20s: %s takes %s", c.r.Method, path, allow)
	}
	return pipeline.Errorf(pipeline.NotFound, "path %.200q: there is no such call; the nearest is %s", path, nearest)
}

// fill puts the segments of a path into the wildcards of a pattern, and
// reports whether the two match.
func fill(pattern, path string) (string, bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	match := true

	for i, w := range want {
		switch {
		case strings.HasSuffix(w, "...}") && i < len(got):
			want[i] = strings.Join(got[i:], "/")
			return strings.Join(want, "/"), match

		case strings.HasPrefix(w, "{") && i < len(got) && got[i] != "":
			want[i] = got[i]

		case i >= len(got) || w != got[i]:
			match = false
		}
	}

	return strings.Join(want, "/"), match && len(want) == len(got)
}

// distance is the number of edits between two paths, of which the first 200
// bytes count: the cost grows with the product of the lengths.
func distance(a, b string) int {
	return levenshtein.Distance(a[:min(len(a), 200)], b[:min(len(b), 200)], nil)
}
