package recording

import (
	"os"
	"testing"

	"github.com/pipelined/pipelined/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("PIPELINED_RECORDING") != "" {
		harness.Clean()
	}
	os.Exit(code)
}
