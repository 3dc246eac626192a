package session

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

const (
	// hangUpGrace is how long a process has between the end of its connection and
	// KILL.
	hangUpGrace = 2 * time.Second
	// drainGrace is how long the rest of the output is awaited while other processes
	// hold it open.
	drainGrace = 500 * time.Millisecond
)

// The exit codes of a shell for a program that could not be started.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// process is one process of a session, and its streams.
type process struct {
	cmd *exec.Cmd
	out *wire.ExecWriter
	// tty is this side of the terminal; nil without one. in is the process's
	// standard input.
	tty *os.File
	in  io.WriteCloser
	// drained is closed when all output was sent.
	drained chan struct{}
}

// run runs a process in a directory until it ends, the directory is removed, ctx
// ends, or the stream breaks. The last frame says how it ended. The caller closes
// the stream.
func (s *Sessions) run(ctx context.Context, dir *worker.SessionDir, in *wire.ExecRequest, stream io.ReadWriter) {
	defer dir.Leave()
	p := &process{out: &wire.ExecWriter{W: stream}, drained: make(chan struct{})}
	p.sayOmitted(dir, in)

	if err := p.start(dir, in); err != nil {
		code := exitNotFound
		if errors.Is(err, os.ErrPermission) {
			code = exitNotExecutable
		}
		_ = p.out.JSON(wire.ExecExit, wire.ExecStatus{ExitCode: code, Message: err.Error()}) // the caller may be gone
		return
	}
	s.cfg.Started(p.cmd.Process.Pid)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the stream, which the caller closes
		p.feed(stream)
		cancel()
	}()
	_ = p.out.JSON(wire.ExecExit, p.wait(ctx, dir)) // the caller may be gone
}

// sayOmitted tells the user of a shell which variables of the module are missing.
func (p *process) sayOmitted(dir *worker.SessionDir, in *wire.ExecRequest) {
	if len(dir.Omitted) == 0 || len(in.Command) > 0 {
		return
	}

	kind := wire.ExecError
	if in.TTY {
		kind = wire.ExecOutput
	}
	text := "[pipelined: not in this environment: " + strings.Join(dir.Omitted, ", ") + "]\r\n"
	_ = p.out.Frame(kind, []byte(text)) // if the stream is gone, feed ends the process
}

// wait waits for the end of the process, or ends it. It returns when all output
// was sent.
func (p *process) wait(ctx context.Context, dir *worker.SessionDir) (status wire.ExecStatus) {
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }() // ends with the process, which is killed below

	select {
	case <-ended:
		p.drain()
		p.hangUp() // what it left running ends with it

	case <-ctx.Done():
		p.hangUp()
		<-ended

	case <-dir.Gone.Done():
		status.Message = "the module has ended, and its directory is being removed"
		p.hangUp()
		<-ended
	}

	status.ExitCode = exitCodeOf(p.cmd.ProcessState)
	if p.tty != nil {
		p.tty.Close()
	}
	<-p.drained
	return status
}

// start starts the process, with a terminal or with pipes.
func (p *process) start(dir *worker.SessionDir, in *wire.ExecRequest) error {
	argv := in.Command
	if len(argv) == 0 {
		argv = []string{"sh"}
		if bash, err := exec.LookPath("bash"); err == nil {
			argv = []string{bash}
		}
	}

	path, err := lookPath(argv[0], dir)
	if err != nil {
		return err
	}

	p.cmd = &exec.Cmd{Path: path, Args: argv, Dir: dir.Dir, Env: dir.Env}
	if !in.TTY {
		return p.startPipes()
	}

	term := in.Term
	if term == "" {
		term = "xterm"
	}
	p.cmd.Env = append(p.cmd.Env, "TERM="+term)
	if err := p.startTerminal(windowOf(in.Columns, in.Rows)); err != nil {
		return err
	}
	go p.copy(p.tty) // ends when the terminal has no other end, or is closed
	return nil
}

func (p *process) startTerminal(size *pty.Winsize) error {
	f, err := pty.StartWithSize(p.cmd, size)
	if err != nil {
		return err
	}
	defer f.Close()

	// The library's file is in blocking mode: its Close would wait for a Read that
	// waits for the terminal.
	fd, err := unix.Dup(int(f.Fd()))
	if err == nil {
		unix.CloseOnExec(fd)
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = p.cmd.Process.Kill() // it was just started
		_ = p.cmd.Wait()
		return fmt.Errorf("set up the terminal: %w", err)
	}

	p.tty = os.NewFile(uintptr(fd), f.Name())
	p.in = p.tty
	return nil
}

// control calls fn with the terminal's descriptor, unless it is closed.
func (p *process) control(fn func(fd int)) {
	if c, err := p.tty.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { fn(int(fd)) })
	}
}

func (p *process) startPipes() error {
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.Stdout, p.cmd.Stderr = p.out.Of(wire.ExecOutput), p.out.Of(wire.ExecError)
	p.cmd.WaitDelay = drainGrace
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	close(p.drained) // Wait waits for the output
	return p.cmd.Start()
}

// lookPath finds a program as the module would: in the module's PATH, and relative
// to its directory.
func lookPath(name string, dir *worker.SessionDir) (string, error) {
	if strings.Contains(name, "/") {
		if !strings.HasPrefix(name, "/") {
			name = dir.Dir + "/" + name
		}
		return name, nil
	}

	for _, kv := range dir.Env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for directory := range strings.SplitSeq(list, ":") {
			if path := directory + "/" + name; strings.HasPrefix(path, "/") {
				if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
					return path, nil
				}
			}
		}
	}

	return "", fmt.Errorf("%q: not found in the module's PATH", name)
}

func windowOf(columns, rows int) *pty.Winsize {
	if columns <= 0 || columns > 10_000 || rows <= 0 || rows > 10_000 {
		columns, rows = 80, 24
	}
	return &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}
}

// feed gives input to the process until the stream ends.
func (p *process) feed(stream io.Reader) {
	buf := make([]byte, wire.MaxExecFrame)
	for {
		kind, b, err := wire.ReadExecFrame(stream, buf)
		if err != nil {
			return
		}

		switch kind {
		case wire.ExecInput:
			_, _ = p.in.Write(b) // a process may end, or close its input
		case wire.ExecEOF:
			if p.tty == nil {
				_ = p.in.Close() // it may have ended
			} else {
				_, _ = p.tty.Write([]byte{4})
			}
		case wire.ExecSize:
			var size wire.ExecWindow
			if p.tty != nil && json.Unmarshal(b, &size) == nil {
				w := windowOf(size.Columns, size.Rows)
				p.control(func(fd int) {
					_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: w.Rows, Col: w.Cols}) // it may have ended
				})
			}
		}
	}
}

// copy sends the terminal's output.
func (p *process) copy(from io.Reader) {
	defer close(p.drained)
	_, _ = io.Copy(p.out.Of(wire.ExecOutput), from) // its end is an error, EIO
}

// hangUp ends the process and its session: with HUP, then with KILL if that is not
// enough. A daemon that was started with nohup makes its children ignore HUP.
func (p *process) hangUp() {
	session := p.cmd.Process.Pid
	if p.tty != nil {
		p.tty.Close() // which is a HUP to the session as well
	}
	sig := syscall.SIGHUP
	for end := time.Now().Add(hangUpGrace); ; sig = 0 {
		if time.Now().After(end) {
			sig = syscall.SIGKILL
		}
		list := members(session)
		for _, pid := range list {
			if sig != 0 {
				_ = syscall.Kill(pid, sig) // it may have ended by itself
			}
		}
		if len(list) == 0 || sig == syscall.SIGKILL {
			_ = syscall.Kill(-session, syscall.SIGKILL)
			return
		}
		time.Sleep(hangUpGrace / 100)
	}
}

// drain waits a bounded time for the rest of the output: other processes may hold
// the terminal open.
func (p *process) drain() {
	select {
	case <-p.drained:
	case <-time.After(drainGrace):
	}
}

// exitCodeOf is a process's exit code, as a shell reports it.
func exitCodeOf(st *os.ProcessState) int {
	if st == nil {
		return 255
	}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return st.ExitCode()
}
