package language

import (
	"fmt"

	"github.com/pipelined/pipelined/pipeline"
)

// didYouMean returns `did you mean "x"?` for the nearest candidate, or "".
func didYouMean(name string, candidates []string) string {
	if near := pipeline.Nearest(name, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}
