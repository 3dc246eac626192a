package recording

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

const (
	columns, rows = 96, 22
	// between is the least time between two frames.
	between = 150 * time.Millisecond
)

const scene = `pipeline "release" {
  module "lint" {
    script = "echo checking; sleep 2; echo 412 files are clean"
  }

  module "unit" {
    matrix = { part = ["api", "fsm", "node", "raft"] }
    script = "for i in 1 2 3 4 5 6; do echo package $i of 6; sleep 1; done"
  }

  module "build" {
    depends_on = [module.lint]
    matrix     = { arch = ["amd64", "arm64"] }
    script     = "echo compiling; sleep 3; echo linked"
  }

  module "publish" {
    depends_on = [module.unit, module.build]
    script     = "echo published 1.4.0; sleep 1"
  }
}
`

// TestRecording plays the scene and writes the file that PIPELINED_RECORDING names.
func TestRecording(t *testing.T) {
	to := os.Getenv("PIPELINED_RECORDING")
	if to == "" {
		t.Skip("PIPELINED_RECORDING names no file")
	}
	c := harness.New(t)
	var addresses []string
	for _, name := range []string{"alpha", "beta", "gamma"} {
		n := c.Add("-max-parallel", "3")
		n.Rearg("-name", name)
		n.Name = name
		n.Start()
		addresses = append(addresses, n.IP+":8080")
	}
	c.Whole()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pipeline.hcl"), []byte(scene), 0o600); err != nil {
		t.Fatal(err)
	}
	leader := c.Leader()

	cmd := exec.Command(c.Bin, "submit", "pipeline.hcl")
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(c.Env), "TERM=xterm-256color", "PIPELINED_ADDR="+strings.Join(addresses, ","))
	rec := start(t, cmd)

	testutil.Eventually(t, harness.Wait, func() error {
		if !strings.Contains(rec.shown(), "● build") {
			return errors.New("build does not run yet")
		}
		return nil
	})
	rec.note("$ kill -9 $(pidof " + leader.Name + ")   # the leader")
	leader.Kill()
	testutil.Eventually(t, harness.Wait, func() error {
		if !strings.Contains(rec.shown(), " led ") {
			return errors.New("no other node leads yet")
		}
		return nil
	})
	leader.Start()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, rec.shown())
	}
	rec.end()
	text := rec.shown()
	if !strings.Contains(text, "succeeded") || !strings.Contains(text, " led ") {
		t.Fatalf("the recording shows no success after a change of the leader:\n%s", text)
	}
	if err := os.WriteFile(to, []byte(svg(rec.frames, columns)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d frames\n%s", len(rec.frames), text)
}

// recorder keeps what a program shows on its terminal.
type recorder struct {
	began time.Time
	done  chan struct{}

	mu     sync.Mutex
	screen *screen
	frames []frame
	// said is shown at the bottom until then.
	said  string
	until time.Duration
}

// noted is how long a note is shown.
const noted = 2500 * time.Millisecond

// note shows a line at the bottom for a while.
func (r *recorder) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Since(r.began)
	r.said, r.until = text, at+noted
	r.frames = append(r.frames, frame{at, r.screen.copyLines(), text})
}

// start starts a program on a terminal and records it. The command is typed first.
func start(t *testing.T, cmd *exec.Cmd) *recorder {
	t.Helper()
	r := &recorder{began: time.Now(), done: make(chan struct{}), screen: newScreen(columns, rows)}
	typed := "$ pipelined " + strings.Join(cmd.Args[1:], " ")
	fmt.Fprintf(r.screen, "%s\r\n", typed)
	r.frames = []frame{{lines: r.screen.copyLines()}}

	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: rows, Cols: columns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	go r.read(tty) // ends with the program
	return r
}

func (r *recorder) read(tty io.Reader) {
	defer close(r.done)
	b := make([]byte, 32<<10)
	for {
		n, err := tty.Read(b)
		if n > 0 {
			r.take(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// take prints what came, and makes a frame of it or adds it to the last one.
func (r *recorder) take(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.screen.Write(b)
	at := time.Since(r.began)
	if at > r.until {
		r.said = ""
	}
	if last := &r.frames[len(r.frames)-1]; at-last.at < between && len(r.frames) > 1 {
		last.lines, last.note = r.screen.copyLines(), r.said
		return
	}
	r.frames = append(r.frames, frame{at, r.screen.copyLines(), r.said})
}

// end waits until everything was read.
func (r *recorder) end() { <-r.done }

func (r *recorder) shown() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.screen.text()
}

// TestScreen wants the screen to print, move, erase and colour as terminals do.
func TestScreen(t *testing.T) {
	for in, want := range map[string]string{
		"one\r\ntwo":                       "one\ntwo\n",
		"one\r\ntwo\r\n\x1b[2Athree\x1b[K": "three\ntwo\n\n",
		"one\r\ntwo\r\n\x1b[2A\r\x1b[Jnew": "new\n",
		"\x1b[?2026h\x1b[1;32m✓\x1b[0m ok": "✓ ok\n",
		"1\r\n2\r\n3\r\n4":                 "2\n3\n4\n",
		"abcdefghijkl":                     "abcdefghij\nkl\n",
		"long line\rshort\x1b[K":           "short\n",
	} {
		whole := newScreen(10, 3)
		_, _ = whole.Write([]byte(in))
		if got := whole.text(); got != want {
			t.Errorf("%q shows %q, want %q", in, got, want)
		}
	}
	s := newScreen(10, 3)
	for _, b := range []byte("\x1b[32m✓") {
		_, _ = s.Write([]byte{b})
	}
	if got := s.lines[0]; len(got) != 1 || got[0] != (cell{'✓', "32"}) {
		t.Errorf("in parts: %v", got)
	}
}
