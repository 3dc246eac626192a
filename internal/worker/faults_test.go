package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

// An attempt that this machine kept from its start is lost and has never begun,
// whatever the fault; one that would fail on every machine has failed.
func TestFaults_notStarted(t *testing.T) {
	b := newBench(t)
	looked := 0
	b.w.faults.filled = func() { looked++ }
	for _, tc := range []struct {
		err        error
		want       pipeline.AttemptState
		begun      bool
		takesWork  bool
		wantLooked int
	}{
		{&fs.PathError{Op: "open", Path: "script", Err: unix.EMFILE}, pipeline.AttemptLost, false, false, 1},
		{&fs.PathError{Op: "write", Path: "script", Err: unix.ENOSPC}, pipeline.AttemptLost, false, false, 1},
		{&fs.PathError{Op: "mkdir", Path: "work", Err: unix.EPERM}, pipeline.AttemptLost, false, false, 1},
		{&fs.PathError{Op: "mkdir", Path: "work", Err: unix.EROFS}, pipeline.AttemptLost, false, false, 1},
		{&fs.PathError{Op: "open", Path: "work", Err: unix.EACCES}, pipeline.AttemptLost, false, false, 1},
		{errors.New("unheard of"), pipeline.AttemptLost, false, false, 1},
		{fmt.Errorf("start: %w", executor.ErrUnknownStart), pipeline.AttemptLost, true, true, 0},
		{pipeline.Errorf(pipeline.Invalid, "outputs of dependencies clash"), pipeline.AttemptFailed, false, true, 0},
		{&fs.PathError{Op: "open", Path: "a very long name", Err: unix.ENAMETOOLONG}, pipeline.AttemptFailed, false, true, 0},
	} {
		looked = 0
		b.w.faults.started()
		o := b.w.lifecycle.notStarted(&attempt{}, fmt.Errorf("prepare: %w", tc.err))
		if o.State != tc.want || o.NeverBegun == tc.begun || looked != tc.wantLooked {
			t.Errorf("%v: %s, %q, never begun %v, looked %d times", tc.err, o.State, o.Reason, o.NeverBegun, looked)
		}
		if closed, why := b.w.admission.status(); closed == tc.takesWork || !tc.takesWork && !strings.Contains(why, tc.err.Error()) {
			t.Errorf("%v: takes no work %v, %q", tc.err, closed, why)
		}
	}
}

// The pause after a fault grows until an attempt starts; faults of the same time
// count once.
func TestFaults_pause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faults{log: hclog.NewNullLogger()}
		for _, want := range []time.Duration{2, 4, 8, 16, 30, 30} {
			for range 3 {
				f.happened("too many open files")
			}
			elapse(want*time.Second - time.Millisecond)
			if !strings.Contains(f.current(), "too many open files") {
				t.Errorf("fit before %v", want*time.Second)
			}
			elapse(time.Millisecond)
			if why := f.current(); why != "" {
				t.Errorf("after %v: %q", want*time.Second, why)
			}
		}
		f.happened("x")
		f.started()
		if why := f.current(); why != "" {
			t.Errorf("after a start: %q", why)
		}
		f.happened("x")
		elapse(2 * time.Second)
		if why := f.current(); why != "" {
			t.Errorf("the pause was not reset: %q", why)
		}
	})
}

// A module has run: a capture that finds no descriptors is repeated for a while.
func TestPatiently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		err := patiently(t.Context(), func() error {
			if tries++; tries < 4 {
				return &fs.PathError{Op: "open", Err: unix.EMFILE}
			}
			return nil
		})
		if err != nil || tries != 4 {
			t.Errorf("%d tries: %v", tries, err)
		}

		tries = 0
		if err := patiently(t.Context(), func() error { tries++; return unix.EIO }); !errors.Is(err, unix.EIO) || tries != 1 {
			t.Errorf("another error: %d tries: %v", tries, err)
		}
		began := time.Now()
		if err := patiently(t.Context(), func() error { return unix.ENFILE }); !errors.Is(err, unix.ENFILE) || time.Since(began) > captureLimit {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
