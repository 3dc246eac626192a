package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
)

// Run brings the file to the disk, at most every 100 ms, and writes it anew
// when most of it is dead, until ctx ends. A failed sync is returned: nothing
// says then what the disk holds.
func (j *Journal) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return j.sync()
		case <-j.wake:
		}
		if err := j.sync(); err != nil {
			return err
		}
		if err := j.compactIfDead(); err != nil {
			return err
		}
		timer.Reset(journalSyncEvery)
		select {
		case <-ctx.Done():
			return j.sync()
		case <-timer.C:
		}
	}
}

// sync waits for the disk without holding up those who append.
func (j *Journal) sync() error {
	j.mu.Lock()
	if j.closed || !j.dirty {
		j.mu.Unlock()
		return nil
	}
	j.dirty = false
	f := j.f
	// Raw, so that Close may come meanwhile: it waits for this call.
	conn, err := f.SyscallConn()
	j.mu.Unlock()
	if err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	cerr := conn.Control(func(fd uintptr) { err = fdatasync(int(fd)) })
	if err == nil && cerr != nil && !errors.Is(cerr, os.ErrClosed) {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync journal: %w", diskError(err))
	}
	return nil
}

func (j *Journal) compactIfDead() error {
	j.mu.Lock()
	dead := j.size - j.state.live
	worth := !j.closed && dead > journalDead && dead > 3*j.state.live
	j.mu.Unlock()
	if !worth {
		return nil
	}
	return j.compact()
}

// compact writes the live records to a new file and puts it in the old one's
// place. What is appended meanwhile goes to both.
func (j *Journal) compact() error {
	j.mu.Lock()
	if j.closed || j.tee != nil {
		j.mu.Unlock()
		return nil
	}
	buf := []byte(journalHeader)
	var err error
	for _, e := range j.state.sorted() {
		if buf, err = appendTake(buf, &e.JournalEntry); err == nil && e.Outcome != nil {
			buf, err = appendOutcome(buf, e.Outcome)
		}
		if err != nil {
			j.mu.Unlock()
			return fmt.Errorf("compact journal: %w", err)
		}
	}
	var tee bytes.Buffer
	j.tee = &tee
	j.mu.Unlock()

	f, err := j.writeNew(buf)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tee = nil
	if err == nil {
		err = j.swapLocked(f, buf, tee.Bytes())
	}
	if err != nil {
		// The old file is whole: the next time may do better.
		if pipeline.KindOf(err) == pipeline.Unavailable || errors.Is(err, errJournalClosed) {
			return nil
		}
		return fmt.Errorf("compact journal: %w", err)
	}
	return nil
}

// writeNew makes a durable file beside the journal.
func (j *Journal) writeNew(buf []byte) (*os.File, error) {
	f, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	if _, err = f.Write(buf); err == nil {
		err = fdatasync(int(f.Fd()))
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, diskError(err)
	}
	return f, nil
}

func (j *Journal) swapLocked(f *os.File, head, tail []byte) error {
	fail := func(err error) error {
		f.Close()
		os.Remove(f.Name())
		return diskError(err)
	}
	if j.closed {
		return fail(errJournalClosed)
	}
	if _, err := f.Write(tail); err != nil {
		return fail(err)
	}
	if err := unix.Rename(f.Name(), j.path); err != nil {
		return fail(err)
	}
	j.f.Close()
	j.f, j.size, j.dirty = f, int64(len(head)+len(tail)), true
	return nil
}

// Close brings what is left to the disk and closes the file. It may be called
// more than once; methods that write fail after it.
func (j *Journal) Close() error {
	err := j.sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	if cerr := j.f.Close(); err == nil {
		err = cerr
	}
	return err
}
