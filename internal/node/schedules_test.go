package node

import (
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/api/wire"
)

// A name that no schedule has is told with the one that comes nearest, whatever
// was asked for.
func TestSchedule_nearestName(t *testing.T) {
	_, c := openTest(t)
	source := "pipeline \"nightly\" {\n  schedule { cron = \"@yearly\" }\n  module \"m\" { command = [\"true\"] }\n}\n"
	if _, err := c.Schedules().Register(t.Context(), client.NewKey(), wire.SubmitRequest{Source: source, FileName: "test.hcl"}); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"show":    func() error { _, err := c.Schedules().Get(t.Context(), "nigthly"); return err },
		"pause":   func() error { _, err := c.Schedules().Pause(t.Context(), "nigthly"); return err },
		"trigger": func() error { _, err := c.Schedules().Trigger(t.Context(), "nigthly"); return err },
		"remove":  func() error { return c.Schedules().Remove(t.Context(), "nigthly") },
	}
	for what, call := range calls {
		if err := call(); err == nil || !strings.Contains(err.Error(), `no schedule "nigthly" is registered: did you mean "nightly"?`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.Schedules().Get(t.Context(), "other"); err == nil || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("a name like no other: %v", err)
	}
}
