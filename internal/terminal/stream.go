package terminal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// usualColumns and usualRows are the size of a terminal that does not say it.
const usualColumns, usualRows = 80, 24

// ErrReaderClosed is the error of a Stream whose reader closed its end, as
// `head` does: there is nothing to report.
var ErrReaderClosed = errors.New("the reader of the output closed it")

// Stream is stdout or stderr: buffered, and aware of whether a terminal is
// behind it. A writer flushes before it waits for something. It is safe
// for concurrent use.
type Stream struct {
	// Terminal reports that a person sees what is written; size is asked for the
	// number of columns and rows then.
	Terminal bool
	size     func() (columns, rows int)

	mu sync.Mutex
	// guards following
	buf *bufio.Writer
	err error
}

func NewStream(w io.Writer) *Stream {
	s := &Stream{buf: bufio.NewWriterSize(w, 32<<10), size: func() (int, int) { return usualColumns, usualRows }}
	if IsTerminal(w) {
		fd := int(w.(*os.File).Fd())
		s.Terminal = true
		s.size = func() (int, int) {
			if columns, rows, err := term.GetSize(fd); err == nil && columns > 0 && rows > 0 {
				return columns, rows
			}
			return usualColumns, usualRows
		}
	}

	return s
}

// IsTerminal reports whether a reader or writer is a terminal.
func IsTerminal(x any) bool {
	f, ok := x.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Write appends to the buffer. The first error of the device stays, see Err.
func (s *Stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.buf.Write(b)
	return n, s.note(err)
}

// WriteString is Write without a copy.
func (s *Stream) WriteString(text string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.buf.WriteString(text)
	return n, s.note(err)
}

// Flush hands everything to the device.
func (s *Stream) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.note(s.buf.Flush()) // see Err
}

// Unbuffered gives a writer that hands every write to the device at once: log
// lines are read while they are written.
func (s *Stream) Unbuffered() io.Writer { return unbuffered{s} }

type unbuffered struct{ stream *Stream }

// Write implements io.Writer.
func (u unbuffered) Write(b []byte) (int, error) {
	n, err := u.stream.Write(b)
	u.stream.Flush()
	return n, err
}

// Err is the first error of the device, nil where all went well.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// note keeps the first error; its answer is what a writer returns.
func (s *Stream) note(err error) error {
	switch {
	case err == nil || s.err != nil:
	case errors.Is(err, syscall.EPIPE):
		s.err = ErrReaderClosed

	default:
		s.err = fmt.Errorf("write output: %w", err)
	}

	if err != nil {
		return s.err
	}

	return nil
}
