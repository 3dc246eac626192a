package terminal

import (
	"fmt"

	"github.com/agext/levenshtein"
)

// longestName bounds the names that are compared, in bytes: the work grows with
// the square of their length.
const longestName = 64

// DidYouMean gives `: did you mean "x"?` for the candidate that is nearest to
// name, or "" if none is near enough.
func DidYouMean(name string, candidates []string) string {
	if found := nearest(name, candidates); found != "" {
		return fmt.Sprintf(": did you mean %q?", found)
	}

	return ""
}

// transposed reports whether two names differ by two letters that changed places.
func transposed(a, b string) bool {
	if len(a) != len(b) {
		return false
	}

	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}

	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}

// nearest gives the candidate that is fewest edits away from name, at most a
// third of its length; the first of several.
func nearest(name string, candidates []string) string {
	if len(name) > longestName {
		return ""
	}

	best, limit := "", max(1, (len(name)+1)/3)+1
	for _, candidate := range candidates {
		if len(candidate) > longestName || candidate == name {
			continue
		}

		d := levenshtein.Distance(name, candidate, nil)
		if transposed(name, candidate) {
			d = 1
		}

		if d < limit {
			best, limit = candidate, d
		}
	}

	return best
}
