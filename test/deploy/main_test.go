package deploy_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pipelined/pipelined/test/harness"
)

// root is the repository, seen from this package's directory.
const root = "../.."

// How the binary of the image is built: the Makefile's flags.
var (
	tags    = flag.String("tags-of-binary", "", "build tags of the binary")
	ldflags = flag.String("ldflags-of-binary", "", "flags of the linker for the binary")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

// run builds the product: this module does not have what the product requires.
func run(m *testing.M) int {
	if os.Getenv("PIPELINED_BIN") == "" {
		dir, err := os.MkdirTemp("", "pipelined-deploy-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin := filepath.Join(dir, "pipelined")
		build := exec.Command("go", "build", "-C", root, "-o", bin, "./cmd/pipelined")
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // it runs in a container without a C library
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		os.Setenv("PIPELINED_BIN", bin)
	}

	defer harness.Clean()
	return m.Run()
}
