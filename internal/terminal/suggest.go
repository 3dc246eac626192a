package terminal

import (
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
)

// DidYouMean gives `: did you mean "x"?` for the candidate that is nearest to
// name, or "" if none is near enough.
func DidYouMean(name string, candidates []string) string {
	if found := pipeline.Nearest(name, candidates); found != "" && found != name {
		return fmt.Sprintf(": did you mean %q?", found)
	}

	return ""
}
