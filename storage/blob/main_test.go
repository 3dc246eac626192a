package blob_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/storage/blob"
)

// TestMain lets the test binary be a second process, see startHelper.
func TestMain(m *testing.M) {
	if args := os.Getenv("BLOB_TEST_HELPER"); args != "" {
		helper(strings.Split(args, "\n"))
		return
	}
	goleak.VerifyTestMain(m)
}

// helper does one thing, says so, and stays until its input ends.
func helper(args []string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	switch args[0] {
	case "half-written":
		b, err := blob.Open(args[1], blob.Options{LowWater: -1})
		fail(err)
		// The first 300 KiB reach the temporary file, then it waits for more.
		r := io.MultiReader(strings.NewReader(strings.Repeat("x", 300<<10)), said{}, os.Stdin)
		_, _, err = b.Put(nilContext{}, r)
		fail(err)
	}
	io.Copy(io.Discard, os.Stdin)
}

// said prints a line when it is read, and has nothing to give.
type said struct{}

func (said) Read([]byte) (int, error) {
	fmt.Println("writing")
	return 0, io.EOF
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
	cmd.Env = append(os.Environ(), "BLOB_TEST_HELPER="+strings.Join(args, "\n"))
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
