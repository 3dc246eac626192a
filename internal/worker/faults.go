package worker

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// faultPause is how long a node takes no work after it could not start an
	// attempt; it doubles up to maxFaultPause until one starts.
	faultPause    = 2 * time.Second
	maxFaultPause = 30 * time.Second
	// captureLimit is how long a capture is repeated that found the machine
	// exhausted: the module has run, and need not run again for that.
	captureLimit = 5 * time.Second
	capturePause = 250 * time.Millisecond
)

// faults decides whether it is the module or this machine that keeps an attempt
// from its start or its capture. After a fault of the machine the node takes no
// work for a while, and says why: it would attract attempts by being idle, and
// lose them all. It is safe for concurrent use.
type faults struct {
	// full is why the node has no capacity for more work; "" if it has. It may be
	// nil.
	full func() string
	// filled makes the node look at its disk now; may be nil.
	filled func()
	log    hclog.Logger

	mu     sync.Mutex // guards following
	reason string
	until  time.Time
	pause  time.Duration
}

// look makes the node look at its disk, because a write failed.
func (f *faults) look() {
	if f.filled != nil {
		f.filled()
	}
}

// happened notes that the machine kept an attempt from its start.
func (f *faults) happened(reason string) {
	f.look()

	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Before(f.until) {
		return // of the same time: one pause is enough for all of them
	}

	f.pause = min(max(2*f.pause, faultPause), maxFaultPause)
	f.reason, f.until = reason, now.Add(f.pause)
	f.log.Error("this node could not start an attempt, and takes no work for a while", "for", f.pause, "error", reason)
}

// started notes that an attempt could be started.
func (f *faults) started() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reason, f.pause, f.until = "", 0, time.Time{}
}

// current is why the node takes no work; "" if it does.
func (f *faults) current() string {
	if f.full != nil {
		if why := f.full(); why != "" {
			return why
		}
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if !time.Now().Before(f.until) {
		return ""
	}
	return "this node could not start an attempt: " + f.reason
}

// isModules reports whether an error before the start is the module's: it would
// be the same on every machine. Everything else is a fault of this one.
func isModules(err error) bool {
	switch pipeline.KindOf(err) {
	case pipeline.Invalid, pipeline.TooLarge, pipeline.Conflict:
		return true
	}

	// Directory and files are made here, so what is missing or may not be opened is
	// no mistake of the module's.
	var errno syscall.Errno
	return errors.As(err, &errno) && !executor.IsMachineFault(err) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission)
}

// patiently repeats f for captureLimit if the machine has no descriptors or no
// memory left. The error is that of the last try.
func patiently(ctx context.Context, f func() error) error {
	try := func() (struct{}, error) {
		err := f()
		if err != nil && !executor.IsExhausted(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}

	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(backoff.NewConstantBackOff(capturePause)), backoff.WithMaxElapsedTime(captureLimit))
	return err
}
