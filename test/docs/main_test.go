package docs

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// built is the binary that the tests run; it lies in a directory that goes with
// the test process.
var built struct {
	once sync.Once
	dir  string
	err  error
}

var update = flag.Bool("update", false, "write the generated parts of the pages anew")

// TestMain is also the helper that evaluates expressions in bounds.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == bounded.Command {
		if err := language.RunHelper(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// binary builds pipelined once, unless PIPELINED_BIN names one, and gives the directory
// that it is in.
func binary(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("PIPELINED_BIN"); bin != "" {
		return filepath.Dir(bin)
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "pipelined-docs-"); built.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(built.dir, "pipelined"), "./cmd/pipelined")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build the binary: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}
