package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/worker"
)

// hangUpGrace is how long a process has between the end of its connection and
// KILL; drainGrace how long output is awaited that others still hold open.
const (
	hangUpGrace = 2 * time.Second
	drainGrace  = 500 * time.Millisecond
)

// shell is one process that somebody has asked for, and its streams.
type shell struct {
	cmd *exec.Cmd
	out *wire.ExecWriter
	// tty is the terminal's end that is ours; nil without one. in is the process's
	// standard input.
	tty *os.File
	in  io.WriteCloser
	// drained is closed when all output was sent.
	drained chan struct{}
}

// runShell runs a process in a place until it ends, the place goes, ctx ends, or
// the stream breaks. It tells how it ended as its last frame.
func (n *Node) runShell(ctx context.Context, place *worker.SessionDir, in *wire.ExecRequest, stream io.ReadWriter) {
	defer place.Leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &shell{out: &wire.ExecWriter{W: stream}, drained: make(chan struct{})}
	if len(place.Omitted) > 0 && len(in.Command) == 0 {
		kind := wire.ExecError
		if in.TTY {
			kind = wire.ExecOutput
		}
		_ = s.out.Frame(kind, []byte("[pipelined: left out of the environment: "+strings.Join(place.Omitted, ", ")+"]\r\n")) // a stream that is gone shows below
	}
	if err := s.start(place, in); err != nil {
		code := 127
		if errors.Is(err, os.ErrPermission) {
			code = 126
		}
		_ = s.out.JSON(wire.ExecExit, wire.ExecStatus{ExitCode: code, Message: err.Error()})
		return
	}
	go func() { // ends with the stream, which the caller closes
		s.take(stream)
		cancel()
	}()
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }() // ends with the process, which is killed below
	status := wire.ExecStatus{}
	select {
	case <-ended:
		// What it has left running ends with it.
		s.drain()
		s.hangUp()
	case <-ctx.Done():
		s.hangUp()
		<-ended
	case <-place.Gone.Done():
		status.Message = "the module has ended, and its folder goes"
		s.hangUp()
		<-ended
	}
	status.ExitCode = exitCodeOf(s.cmd.ProcessState)
	if s.tty != nil {
		s.tty.Close()
	}
	<-s.drained
	_ = s.out.JSON(wire.ExecExit, status) // whoever is gone needs no word
}

// start starts the process, with a terminal or with pipes.
func (s *shell) start(place *worker.SessionDir, in *wire.ExecRequest) error {
	argv := in.Command
	if len(argv) == 0 {
		argv = []string{"sh"}
		if bash, err := exec.LookPath("bash"); err == nil {
			argv = []string{bash}
		}
	}
	path, err := lookPath(argv[0], place)
	if err != nil {
		return err
	}
	s.cmd = &exec.Cmd{Path: path, Args: argv, Dir: place.Dir, Env: place.Env}
	if in.TTY {
		term := in.Term
		if term == "" {
			term = "xterm"
		}
		s.cmd.Env = append(s.cmd.Env, "TERM="+term)
		if err := s.startTerminal(windowOf(in.Columns, in.Rows)); err != nil {
			return err
		}
		go s.copy(s.tty) // ends when the terminal has no other end, or is closed
	} else if err := s.startPipes(); err != nil {
		return err
	}
	unpreferred(s.cmd.Process.Pid)
	return nil
}

func (s *shell) startTerminal(size *pty.Winsize) error {
	f, err := pty.StartWithSize(s.cmd, size)
	if err != nil {
		return err
	}
	defer f.Close()
	// What the library gives is in blocking mode: its Close would wait for a Read
	// that waits for the terminal.
	fd, err := unix.Dup(int(f.Fd()))
	if err == nil {
		unix.CloseOnExec(fd)
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = s.cmd.Process.Kill() // it was just started
		_ = s.cmd.Wait()
		return fmt.Errorf("set up the terminal: %w", err)
	}
	s.tty = os.NewFile(uintptr(fd), f.Name())
	s.in = s.tty
	return nil
}

// control does something with the terminal that os.File has no method for; a
// terminal that is closed is passed over.
func (s *shell) control(fn func(fd int)) {
	if c, err := s.tty.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { fn(int(fd)) })
	}
}

func (s *shell) startPipes() error {
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	s.cmd.Stdout, s.cmd.Stderr = s.out.Of(wire.ExecOutput), s.out.Of(wire.ExecError)
	s.cmd.WaitDelay = drainGrace
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	close(s.drained) // Wait waits for the output
	return s.cmd.Start()
}

// lookPath finds a program as the module would: in its own PATH, and relative to
// its folder.
func lookPath(name string, place *worker.SessionDir) (string, error) {
	if strings.Contains(name, "/") {
		if !strings.HasPrefix(name, "/") {
			name = place.Dir + "/" + name
		}
		return name, nil
	}
	for _, kv := range place.Env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(list, ":") {
			if path := dir + "/" + name; strings.HasPrefix(path, "/") {
				if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
					return path, nil
				}
			}
		}
	}
	return "", fmt.Errorf("%q: no such program in the module's PATH", name)
}

func windowOf(columns, rows int) *pty.Winsize {
	if columns <= 0 || columns > 10_000 || rows <= 0 || rows > 10_000 {
		columns, rows = 80, 24
	}
	return &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}
}

// take hands input to the process until the stream ends.
func (s *shell) take(stream io.Reader) {
	buf := make([]byte, wire.MaxExecFrame)
	for {
		kind, b, err := wire.ReadExecFrame(stream, buf)
		if err != nil {
			return
		}
		switch kind {
		case wire.ExecInput:
			_, _ = s.in.Write(b) // a process may end, or close its input
		case wire.ExecEOF:
			if s.tty == nil {
				_ = s.in.Close() // it may have ended
			} else {
				_, _ = s.tty.Write([]byte{4})
			}
		case wire.ExecSize:
			var size wire.ExecWindow
			if s.tty != nil && json.Unmarshal(b, &size) == nil {
				w := windowOf(size.Columns, size.Rows)
				s.control(func(fd int) {
					_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: w.Rows, Col: w.Cols}) // it may have ended
				})
			}
		}
	}
}

// copy sends what comes from the terminal.
func (s *shell) copy(from io.Reader) {
	defer close(s.drained)
	_, _ = io.Copy(s.out.Of(wire.ExecOutput), from) // its end is an error, EIO
}

// hangUp ends the process and all that it has in its session: HUP, and KILL
// where that is not enough. Agents that were started with nohup pass on that HUP
// is ignored.
func (s *shell) hangUp() {
	session := s.cmd.Process.Pid
	if s.tty != nil {
		s.tty.Close() // which is a HUP to the session as well
	}
	sig := syscall.SIGHUP
	for end := time.Now().Add(hangUpGrace); ; sig = 0 {
		if time.Now().After(end) {
			sig = syscall.SIGKILL
		}
		members := sessionMembers(session)
		for _, pid := range members {
			if sig != 0 {
				_ = syscall.Kill(pid, sig) // it may have ended by itself
			}
		}
		if len(members) == 0 || sig == syscall.SIGKILL {
			_ = syscall.Kill(-session, syscall.SIGKILL)
			return
		}
		time.Sleep(hangUpGrace / 100)
	}
}

// drain waits for the rest of the output, though not for long: others may hold
// the terminal open.
func (s *shell) drain() {
	select {
	case <-s.drained:
	case <-time.After(drainGrace):
	}
}

// exitCodeOf is a process's exit code, as a shell would give it.
func exitCodeOf(st *os.ProcessState) int {
	if st == nil {
		return 255
	}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return st.ExitCode()
}
