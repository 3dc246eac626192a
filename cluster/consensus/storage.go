package consensus

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/internal/awake"
)

// ErrStorageStalled is why a node is unfit whose log does not complete a write.
var ErrStorageStalled = errors.New("raft's log has stalled")

const (
	// retryWrite is how often a write is repeated if raft must not see that it has
	// failed.
	retryWrite = 100 * time.Millisecond
	// yieldFor is how long a node that gives up leadership leaves it to others:
	// longer than an election takes.
	yieldFor = 5 * time.Second
)

// fault is why something cannot be written; it has no error while it can. It is
// safe for concurrent use.
type fault struct {
	err atomic.Pointer[error]
	// appeared is called when there was none before; it may be nil.
	appeared func(error)
}

func (f *fault) set(err error) {
	if f.err.Swap(&err) == nil && f.appeared != nil {
		f.appeared(err)
	}
}

func (f *fault) clear() { f.err.Store(nil) }

func (f *fault) get() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// isDiskError reports whether an error comes from the machine and not from the
// content of a file: it may pass.
func isDiskError(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// storage follows whether this node can write its log and its state. While it
// cannot, it neither leads nor stands for election, so that a node with a sound
// disk does (H3, H4); it continues to follow as far as the disk permits.
type storage struct {
	store    *logStore
	state    *fault
	timings  Timings
	instance *instance
	trans    *transport
	lead     *epochs
	changed  func()
	// clock is beaten by the watchdog.
	clock *awake.Clock
	log   hclog.Logger
	// wake has an element if check should run at once.
	wake chan struct{}
	// yieldUntil is until when this node leaves leadership to others, in Unix
	// nanoseconds.
	yieldUntil atomic.Int64
	// reason is why the node is unfit.
	reason fault

	// mu makes a change of fitness and one of leadership exclude each other.
	mu sync.Mutex
}

// poke makes the watchdog check at once.
func (s *storage) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// repair tries whether a log that could not be written can be.
func (s *storage) repair() {
	if s.store.failure.get() != nil && s.store.probe() == nil {
		s.poke()
	}
}

// check compares what the disk does with what this node does.
func (s *storage) check() {
	stalled := s.store.stalled(s.clock)
	err := s.store.failure.get()
	switch state := s.state.get(); {
	case err != nil:
		err = fmt.Errorf("raft's log cannot be written: %w", err)
	case stalled > s.timings.Stall:
		err = fmt.Errorf("%w: a write has taken %v", ErrStorageStalled, stalled.Round(time.Second))
	case state != nil:
		err = fmt.Errorf("the state cannot be written: %w", state)
	}
	s.apply(err, time.Now().UnixNano() < s.yieldUntil.Load())
}

// apply makes the node fit or unfit.
func (s *storage) apply(err error, yielding bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	was := s.reason.get() != nil
	if err != nil {
		s.reason.set(err)
	} else {
		s.reason.clear()
	}
	s.trans.muted.Store(err != nil || yielding)
	s.instance.unfit.Store(err != nil)

	switch unfit := err != nil; {
	case unfit && !was:
		s.log.Error("leaving leadership to others until the disk accepts writes", "error", err)
		s.lead.set(false)
	case !unfit && was:
		s.log.Info("log and state can be written: this node may lead again")
		if s.instance.leads() {
			s.lead.set(true)
		}
	default:
		return
	}
	s.changed()
}

// leadership notes what raft says. An unfit node does not lead whatever it says.
func (s *storage) leadership(leading bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lead.set(leading && !s.instance.unfit.Load())
}

// Storage is why this node cannot write its log or its state, or gets no answer
// from the disk, so that it does not lead; nil while both can be written.
func (n *Node) Storage() error { return n.storage.reason.get() }

// StepDown leaves leadership to the other voters for a while, if this node has
// it. Unlike TransferLeadership it may be called at any time.
func (n *Node) StepDown() {
	if n.instance.raft.State() != raft.Leader {
		return
	}
	n.storage.yieldUntil.Store(time.Now().Add(yieldFor).UnixNano())
	n.storage.poke()
}
