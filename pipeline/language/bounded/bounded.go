// Package bounded evaluates expensive expressions in a helper process: a fresh
// one for each request, of the same program, that limits its own processor time
// and memory before it looks at what it is asked (language.RunHelper). HCL's
// evaluation can be stopped in no other way.
//
// The program must run language.RunHelper(os.Stdin, os.Stdout) when its first
// argument is Command. This package knows nothing of pipelines.
package bounded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/pipelined/pipelined/pipeline/language"
)

// Command is the hidden command of the program that is the helper.
const Command = "__eval"

const (
	// wallLimit ends a helper that does not use the processor time it is
	// allowed: on a machine that is too busy, or stopped.
	wallLimit = 30 * time.Second
	// maxAnswer and maxErrors bound what is read from a helper.
	maxAnswer = 64 << 20
	maxErrors = 4 << 10
)

// Evaluator runs helpers, for everybody who asks through it. It is safe for
// concurrent use.
type Evaluator struct {
	executable string
	slots      *slots
	// limit bounds an answer, in bytes; a test has a smaller one.
	limit int
}

// New gives an evaluator that runs an executable, which is normally
// os.Executable(). It starts nothing.
func New(executable string) *Evaluator {
	return &Evaluator{executable: executable, slots: newSlots(max(2, runtime.NumCPU())), limit: maxAnswer}
}

// For returns what evaluates for one party. Parties share the helpers: more requests
// of one than processors wait, and hold up no other party.
func (e *Evaluator) For(party string) language.Evaluator { return partyEvaluator{e, party} }

type partyEvaluator struct {
	*Evaluator
	party string
}

var _ language.Evaluator = partyEvaluator{}

// Do implements language.Evaluator.
func (e partyEvaluator) Do(ctx context.Context, request func() ([]byte, error)) ([]byte, error) {
	if err := e.slots.acquire(ctx, e.party); err != nil {
		return nil, err
	}
	defer e.slots.release(e.party)

	b, err := request()
	if err != nil {
		return nil, fmt.Errorf("encode a request to the helper: %w", err)
	}
	return e.run(ctx, b)
}

// run runs one helper.
func (e *Evaluator) run(ctx context.Context, request []byte) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, wallLimit)
	defer cancel()
	cmd := exec.CommandContext(limited, e.executable, Command)
	// One thread for the work: the limit of processor time is then one of time
	// too. The daemon's environment is none of the helper's business.
	cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}
	cmd.Dir = os.TempDir()
	cmd.Stdin = bytes.NewReader(request)
	stdout, stderr := &limitedBuffer{max: e.limit}, &limitedBuffer{max: maxErrors, drop: true}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case err == nil && !stdout.over:
		return stdout.kept.Bytes(), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case stdout.over:
		return nil, fmt.Errorf("%w: %w", language.ErrTooExpensive, errTooLong)
	case limited.Err() != nil:
		return nil, fmt.Errorf("evaluation helper: no answer after %s, this machine is too busy", wallLimit)
	case beyondLimit(err, stderr.kept.String()):
		return nil, language.ErrTooExpensive
	}
	return nil, fmt.Errorf("evaluation helper: %w: %s", err, firstLine(stderr.kept.String()))
}

// beyondLimit tells a helper that went beyond its limits from one that is
// broken: the kernel kills it for its time, and the Go runtime gives up where
// it gets no memory or its stack is too large.
func beyondLimit(err error, stderr string) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		switch status.Signal() {
		case syscall.SIGKILL, syscall.SIGXCPU:
			return true
		}
	}
	return exit.ExitCode() == language.HelperTooLarge ||
		strings.Contains(stderr, "out of memory") || strings.Contains(stderr, "cannot allocate memory") || strings.Contains(stderr, "address space") ||
		strings.Contains(stderr, "stack overflow") || strings.Contains(stderr, "stack exceeds")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// limitedBuffer keeps at most max bytes; more is an error, or dropped. It does
// not embed the buffer, whose ReadFrom would go past the limit.
type limitedBuffer struct {
	kept bytes.Buffer
	max  int
	drop bool
	// over is set once something did not fit.
	over bool
}

// Write implements io.Writer.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	room := b.max - b.kept.Len()
	if len(p) <= room {
		return b.kept.Write(p)
	}
	b.over = true
	if !b.drop {
		return 0, errTooLong
	}
	b.kept.Write(p[:max(room, 0)])
	return len(p), nil
}

var errTooLong = errors.New("the answer is too long")
