package attack

import (
	"os"
	"testing"

	"github.com/pipelined/pipelined/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}
