package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/internal/localsocket"
)

// maxKeeperLog is how long keeper.log may be when a keeper is started; beyond
// it becomes keeper.log.old.
const maxKeeperLog = 1 << 20

// keeperChild is a keeper that this process started and has not waited for.
type keeperChild struct{ pid int }

// reap takes a dead keeper away; one that lives stays, also when this process
// ends.
func (k *keeperChild) reap() {
	if k.pid == 0 {
		return
	}
	pid, err := unix.Wait4(k.pid, nil, unix.WNOHANG, nil)
	if pid == k.pid || err == unix.ECHILD {
		k.pid = 0
	}
}

// establish connects to the keeper that is there, or to a new one.
func (c *Client) establish(ctx context.Context) (*session, error) {
	var last error
	pause := growingPause(2*time.Millisecond, 250*time.Millisecond)
	for {
		c.child.reap()
		s, err := c.greet(ctx)
		if err == nil {
			return s, nil
		}
		var refusal *refusalError
		if errors.As(err, &refusal) {
			return nil, err
		}
		last = err
		// No process listens: there is no keeper, or it is just beginning or
		// ending, which the lock shows.
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			err := c.startKeeper(ctx)
			if err == nil {
				pause.Reset()
				continue
			}
			last = err
			if !errors.Is(err, errHeld) {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (last: %w)", ctx.Err(), last)
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// refusalError is a keeper's answer that no repetition changes.
type refusalError struct{ err error }

func (e *refusalError) Error() string { return e.err.Error() }
func (e *refusalError) Unwrap() error { return e.err }

// greet connects and says hello.
func (c *Client) greet(ctx context.Context) (*session, error) {
	conn, err := localsocket.Dial(ctx, filepath.Join(c.cfg.DataDir, socketName))
	if err != nil {
		return nil, err
	}
	s, err := c.hello(ctx, &session{conn: conn, r: bufio.NewReaderSize(conn, 64<<10), calls: make(map[uint64]*pendingCall)})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (c *Client) hello(ctx context.Context, s *session) (*session, error) {
	if err := checkPeer(s.conn); err != nil {
		return nil, &refusalError{err}
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := s.conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	err := s.send(&message{Kind: kindHello, Magic: protoMagic, Version: protoVersion, DataDir: c.cfg.DataDir, PID: os.Getpid()})
	if err != nil {
		return nil, err
	}
	m, _, err := readFrame(s.r, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("the keeper is there but does not answer: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if len(m.Errors) > 0 {
		return nil, &refusalError{m.Errors[0].err()}
	}
	if m.Kind != kindWelcome || m.Magic != protoMagic || m.Version != protoVersion {
		return nil, &refusalError{errors.New("what listens on the keeper's socket is no keeper")}
	}
	if !stop() {
		return nil, ctx.Err()
	}
	s.incarnation, s.pid = m.Incarnation, m.PID
	s.process, _ = os.FindProcess(m.PID) // never fails on Unix
	return s, s.conn.SetReadDeadline(time.Time{})
}

// KillKeeper kills a keeper that does not answer. This client then starts another
// one, which kills what the former one left before it answers.
func (c *Client) KillKeeper() error {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return errSessionLost
	}
	if err := s.process.Kill(); err != nil {
		return fmt.Errorf("kill keeper %d: %w", s.pid, err)
	}
	return nil
}

// startKeeper starts a keeper and waits until it listens. errHeld means that
// another one has the data dir.
func (c *Client) startKeeper(ctx context.Context) error {
	if err := os.MkdirAll(c.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	logPath := filepath.Join(c.cfg.DataDir, logName)
	if st, err := os.Stat(logPath); err == nil && st.Size() > maxKeeperLog {
		_ = os.Rename(logPath, logPath+".old") // else it grows
	}
	log, err := os.OpenFile(logPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	defer r.Close()
	pid, err := syscall.ForkExec(c.cfg.Executable, append([]string{c.cfg.Executable}, keeperArgs(&c.cfg)...), &syscall.ProcAttr{
		Env:   keeperEnv(os.Environ()),
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd(), w.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		return fmt.Errorf("start keeper %s: %w", c.cfg.Executable, err)
	}
	c.child.pid = pid
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	word, rest, _ := strings.Cut(string(b), " ")
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("start keeper: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("start keeper: %w", err)
	case word == "ready":
		c.cfg.Logger.Info("started keeper", "pid", pid, "incarnation", rest)
		return nil
	case word == "held":
		return errHeld
	case word == "error":
		return fmt.Errorf("start keeper: %s", rest)
	}
	return fmt.Errorf("start keeper: it ended without an answer; see %s", logPath)
}

// keeperEnv is what a keeper gets of the daemon's environment: nothing that a
// module or a look into /proc could find secrets in. The cookie of a pipeline
// around us goes along, so that the outer runner still finds all of us.
func keeperEnv(env []string) []string {
	var out []string
	for _, kv := range env {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "PATH", "HOME", "LANG", "TZ", "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GOCOVERDIR", "GORACE", CookieVariable:
			out = append(out, kv)
		}
	}
	return out
}
