package fsm

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// maxCandidates bounds how many runs the error for an ambiguous name lists.
const maxCandidates = 5

// FindRun finds the run that a caller names. A text that may be both is first an
// id, then a number, then the beginning of an id. The kind of an error is NotFound,
// or Invalid if several runs are meant.
func (v *View) FindRun(ref pipeline.RunRef) (pipeline.RunID, error) {
	if ref.Last {
		return v.lastRun(ref)
	}
	if _, ok := v.Run(pipeline.RunID(ref.Prefix)); ok && ref.Prefix != "" {
		return pipeline.RunID(ref.Prefix), nil
	}

	if ref.Number > 0 {
		if id := v.tx.Bucket(bOrder).Get(be64(ref.Number)); id != nil {
			run, _ := v.Run(pipeline.RunID(id))
			if ref.Pipeline != "" && run.Pipeline != ref.Pipeline {
				return "", pipeline.Errorf(pipeline.NotFound, "no run %s: run %d is of pipeline %s", ref.Text, ref.Number, run.Pipeline)
			}
			return run.ID, nil
		}
	}
	if ref.Prefix == "" {
		return "", noRun(ref.Text)
	}
	return v.runByPrefix(ref.Prefix)
}

// noRun is the error for a text that names no run.
func noRun(text string) error {
	return pipeline.Errorf(pipeline.NotFound, "no run %s: pipelined list shows the runs", text)
}

// lastRun is the newest run that no module made, or the newest of a pipeline.
func (v *View) lastRun(ref pipeline.RunRef) (id pipeline.RunID, err error) {
	v.Runs(0, func(r pipeline.Run) bool {
		if ref.Pipeline == "" && r.Parent.Run == "" || r.Pipeline == ref.Pipeline {
			id = r.ID
		}
		return id == ""
	})
	switch {
	case id != "":
		return id, nil
	case ref.Pipeline != "":
		return "", pipeline.Errorf(pipeline.NotFound, "no run %s: there is no run of pipeline %s", ref.Text, ref.Pipeline)
	}
	return "", pipeline.Errorf(pipeline.NotFound, "no run %s: there are no runs yet", ref.Text)
}

// runByPrefix is the only run whose id begins with prefix.
func (v *View) runByPrefix(prefix string) (pipeline.RunID, error) {
	var id pipeline.RunID
	var found []string
	more := false
	c := v.tx.Bucket(bRuns).Cursor()
	for k, b := c.Seek([]byte(prefix)); bytes.HasPrefix(k, []byte(prefix)); k, b = c.Next() {
		if len(found) == maxCandidates {
			more = true
			break
		}
		var r pipeline.Run
		mustUnmarshal(b, &r)
		id, found = r.ID, append(found, fmt.Sprintf("%s (%s %d)", r.ID, r.Pipeline, r.Number))
	}

	switch {
	case len(found) == 0:
		return "", noRun(prefix)
	case len(found) == 1:
		return id, nil
	case more:
		found = append(found, "…")
	}
	return "", pipeline.Errorf(pipeline.Invalid, "run %s is ambiguous: it may be %s", prefix, strings.Join(found, ", "))
}
