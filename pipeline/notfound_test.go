package pipeline_test

import (
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

// An error about a webhook that does not exist names those that do.
func TestNoWebhook(t *testing.T) {
	for want, names := range map[string][]string{
		`no webhook "x": there are none`:     nil,
		`no webhook "x": there are chat, ci`: {"chat", "ci"},
	} {
		if err := pipeline.NoWebhook("x", names); err.Error() != want || pipeline.KindOf(err) != pipeline.NotFound {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
