package terminal

import (
	"fmt"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// DidYouMean gives `: did you mean "x"?` for the candidate that is nearest to
// name, or else is the only one that begins with it; "" if there is none.
func DidYouMean(name string, candidates []string) string {
	found := pipeline.Nearest(name, candidates)
	if found == "" {
		found = onlyWithPrefix(name, candidates)
	}
	if found == "" || found == name {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", found)
}

// minPrefix is how long the beginning of a name must be to stand for it.
const minPrefix = 3

func onlyWithPrefix(name string, candidates []string) (found string) {
	if len(name) < minPrefix {
		return ""
	}
	for _, c := range candidates {
		switch {
		case !strings.HasPrefix(c, name) || c == found:
		case found != "":
			return ""
		default:
			found = c
		}
	}
	return found
}
