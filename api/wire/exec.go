package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// ExecProtocol is what the connection of POST …/modules/{module}/exec is
// upgraded to: frames in both directions, each a byte for its type, the length
// of its content in four bytes, big-endian, and the content.
const ExecProtocol = "pipelined-exec"

// ExecRequest asks for a process in the directory of a module's attempt.
type ExecRequest struct {
	// Attempt is the attempt's number; 0 is the newest.
	Attempt int `json:"attempt,omitempty"`
	// Command is run without a shell; empty is a shell.
	Command []string `json:"command,omitempty"`
	// TTY gives it a terminal of so many columns and rows, called Term.
	TTY     bool   `json:"tty,omitempty"`
	Columns int    `json:"columns,omitempty"`
	Rows    int    `json:"rows,omitempty"`
	Term    string `json:"term,omitempty"`
}

// ExecFrame is the type of a frame.
type ExecFrame byte

// The frames. Who asks sends ExecInput, ExecEOF and ExecSize; what runs answers
// with ExecOutput and ExecError, and ExecExit as the last.
const (
	ExecInput  ExecFrame = 'i' // bytes for standard input
	ExecEOF    ExecFrame = 'e' // standard input has ended
	ExecSize   ExecFrame = 's' // the terminal's size: an ExecWindow
	ExecOutput ExecFrame = 'o' // standard output, or all of a terminal's
	ExecError  ExecFrame = 'r' // standard error
	ExecExit   ExecFrame = 'x' // the end: an ExecStatus
)

// MaxExecFrame bounds the content of a frame, in bytes.
const MaxExecFrame = 64 << 10

// ExecWindow is the size of a terminal.
type ExecWindow struct {
	Columns int `json:"columns"`
	Rows    int `json:"rows"`
}

// ExecStatus says how the process ended; Message why it could not start, or
// who ended it.
type ExecStatus struct {
	ExitCode int    `json:"exitCode"`
	Message  string `json:"message,omitempty"`
}

// ExecWriter writes frames. It is safe for concurrent use.
type ExecWriter struct {
	W io.Writer

	mu  sync.Mutex
	buf []byte
}

// Frame writes a frame; content of more than MaxExecFrame becomes several.
func (w *ExecWriter) Frame(kind ExecFrame, content []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		part := content[:min(len(content), MaxExecFrame)]
		content = content[len(part):]
		w.buf = append(w.buf[:0], byte(kind))
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(part)))
		w.buf = append(w.buf, part...)
		if _, err := w.W.Write(w.buf); err != nil || len(content) == 0 {
			return err
		}
	}
}

// JSON writes a frame that holds a document.
func (w *ExecWriter) JSON(kind ExecFrame, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.Frame(kind, b)
}

// Of gives a writer of frames of one kind.
func (w *ExecWriter) Of(kind ExecFrame) io.Writer { return execPart{w, kind} }

type execPart struct {
	w    *ExecWriter
	kind ExecFrame
}

func (p execPart) Write(b []byte) (int, error) {
	if err := p.w.Frame(p.kind, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadExecFrame reads the next frame, into buf if it fits. io.EOF is the end
// between two frames.
func ReadExecFrame(r io.Reader, buf []byte) (ExecFrame, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > MaxExecFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes: at most %d are allowed", n, MaxExecFrame)
	}
	if int(n) > cap(buf) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return ExecFrame(head[0]), buf, nil
}
