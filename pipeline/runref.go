package pipeline

import (
	"strconv"
	"strings"
)

// lastRun names the newest run.
const lastRun = "last"

// runIDLength is the number of hexadecimal digits of every id that a node makes.
const runIDLength = 32

// RunRef is how a caller names a run: by its id or the unique beginning of one, its
// number, PIPELINE/NUMBER, "last" or PIPELINE/last.
type RunRef struct {
	// Text is what the caller wrote.
	Text string
	// Pipeline is the one that the run must be of; "" is any.
	Pipeline string
	// Last asks for the newest run.
	Last bool
	// Number is the run's number; 0 if the text is none.
	Number uint64
	// Prefix is the beginning of an id, or an id; "" if the text cannot be one.
	Prefix string
}

// ParseRunRef reads how a caller names a run. The error is of kind Invalid.
func ParseRunRef(s string) (RunRef, error) {
	bad := Errorf(Invalid, "run %.80q: expected an id or the beginning of one, a number, PIPELINE/NUMBER, last or PIPELINE/last", s)
	ref := RunRef{Text: s}

	name, run, qualified := strings.Cut(s, "/")
	if !qualified {
		run = s
	} else if ref.Pipeline = name; !ValidName(name) {
		return RunRef{}, bad
	}

	if run == lastRun {
		ref.Last = true
		return ref, nil
	}
	if n, err := strconv.ParseUint(run, 10, 63); err == nil && n > 0 && run[0] != '0' {
		ref.Number = n
	}
	if !qualified && idPattern.MatchString(run) {
		ref.Prefix = run
	}
	if ref.Number == 0 && ref.Prefix == "" {
		return RunRef{}, bad
	}
	return ref, nil
}

// ID gives the id that the reference is, if it is a whole one: it needs no search.
func (r RunRef) ID() (RunID, bool) {
	if len(r.Prefix) != runIDLength || strings.Trim(r.Prefix, "0123456789abcdef") != "" {
		return "", false
	}
	return RunID(r.Prefix), true
}
