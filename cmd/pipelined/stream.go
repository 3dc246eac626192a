package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// stream is stdout or stderr: buffered, and aware of whether a terminal is
// behind it. Whoever writes flushes before it waits for something. It is safe
// for concurrent use.
type stream struct {
	// terminal reports that a person sees what is written; width is asked for
	// the number of columns then.
	terminal bool
	width    func() int

	mu sync.Mutex
	// guards following
	buf *bufio.Writer
	err error
}

func newStream(w io.Writer) *stream {
	s := &stream{buf: bufio.NewWriterSize(w, 32<<10), width: func() int { return 80 }}
	if isTerminal(w) {
		fd := int(w.(*os.File).Fd())
		s.terminal = true
		s.width = func() int {
			if n, _, err := term.GetSize(fd); err == nil && n > 0 {
				return n
			}
			return 80
		}
	}
	return s
}

// isTerminal reports whether a reader or writer is a terminal.
func isTerminal(x any) bool {
	f, ok := x.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Write appends to the buffer. The first error of the device stays, see Err.
func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.buf.Write(b)
	return n, s.note(err)
}

// WriteString is Write without a copy.
func (s *stream) WriteString(text string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.buf.WriteString(text)
	return n, s.note(err)
}

// Flush hands everything to the device.
func (s *stream) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.note(s.buf.Flush()) // see Err
}

// Err is the first error of the device, nil where all went well.
func (s *stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// note keeps the first error; its answer is what a writer returns.
func (s *stream) note(err error) error {
	switch {
	case err == nil || s.err != nil:
	case errors.Is(err, syscall.EPIPE):
		s.err = exit(exitFailed) // the reader has seen enough
	default:
		s.err = &exitError{code: exitFailed, err: wrap("write output", err)}
	}
	if err != nil {
		return s.err
	}
	return nil
}
