package storage_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/storage"
)

// TestMain lets the test binary be a second process, see startHelper.
func TestMain(m *testing.M) {
	if args := os.Getenv("STORAGE_TEST_HELPER"); args != "" {
		helper(strings.Split(args, "\n"))
		return
	}
	goleak.VerifyTestMain(m)
}

// helper does one thing, reports it, and stays until its input ends.
func helper(args []string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	switch args[0] {
	case "lock":
		d, err := storage.OpenDataDir(args[1])
		fail(err)
		defer d.Close()
		fmt.Println("locked")
	case "call":
		conn, err := net.Dial("unix", args[1])
		fail(err)
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		fmt.Println("the call ended:", err)
	case "serve":
		l, err := net.Listen("unix", args[1])
		fail(err)
		defer l.Close()
		conn, err := l.Accept()
		fail(err)
		conn.Close()
	}
	io.Copy(io.Discard, os.Stdin)
}

// process is a running helper.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startHelper runs this test binary again as another process.
func startHelper(tb testing.TB, args ...string) *process {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORAGE_TEST_HELPER="+strings.Join(args, "\n"))
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewReader(out)}
	tb.Cleanup(p.kill)
	return p
}

// line waits for the next line that the helper prints.
func (p *process) line(tb testing.TB) string {
	tb.Helper()
	text, err := p.out.ReadString('\n')
	if err != nil || strings.HasPrefix(text, "error:") {
		tb.Fatalf("helper: %s %v", text, err)
	}
	return strings.TrimSpace(text)
}

// kill ends the helper as a crash would.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}
