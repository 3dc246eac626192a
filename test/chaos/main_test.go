package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/pipelined/pipelined/test/harness"
)

// variable turns the test on: how long faults are made, such as 8m.
const variable = "PIPELINED_CHAOS"

// inside is set in the process that has a network of its own.
const inside = "PIPELINED_CHAOS_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(variable) != "" && os.Getenv(inside) == "" {
		os.Exit(again())
	}
	code := m.Run()
	if os.Getenv(inside) != "" {
		harness.Clean()
	}
	os.Exit(code)
}

// again runs this test in new namespaces: nothing of it reaches the machine's
// own network, and its mounts end with it.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos: it needs root, for namespaces:", err)
		return 1
	}
	return 0
}
