package worker

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

// The command of a notification finds the last lines of what failed. It waits for outputs
// that are on no node no longer than for one of them, and says of each that it is missing.
func TestNotice(t *testing.T) {
	inRig(t, nil, func(t *testing.T, r *rig) {
		const output = "a\n\x1b[31mb\x1b[0m\n"
		n := &pipeline.RunNotice{Event: pipeline.NotifyFailure, Pipeline: "p", Failed: []pipeline.FailedModule{{Module: "m0", Log: r.put(output), LogSize: int64(len(output))}}}
		for i := 1; i < pipeline.MaxNoticeModules; i++ {
			n.Failed = append(n.Failed, pipeline.FailedModule{Module: fmt.Sprint("m", i), Log: pipeline.Digest(strings.Repeat(fmt.Sprint(i), 64)), LogSize: 9})
		}
		r.take(r.spec("notify", func(s *pipeline.Spec) { s.Notice = n }))
		elapse(fetchLimit)

		var got pipeline.RunNotice
		raw, err := os.ReadFile(r.dirOf("notify") + "/notice.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		for i, f := range got.Failed {
			if lines := strings.Join(f.Lines, "|"); i == 0 && (lines != "a|b" || f.Note != "") || i > 0 && (lines != "" || !strings.Contains(f.Note, "its output cannot be read: ")) || f.Log != "" {
				t.Errorf("%+v", f)
			}
		}
		if len(got.Failed) != pipeline.MaxNoticeModules || n.Failed[0].Log == "" {
			t.Errorf("wrote %+v of %+v", got, n)
		}
		r.end("notify", 0)
		r.wants("notify", pipeline.AttemptSucceeded, "")
	})
}
