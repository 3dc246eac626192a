package monitoring

import (
	"flag"
	"os"
	"testing"

	"github.com/pipelined/pipelined/test/harness"
)

var update = flag.Bool("update", false, "write docs/metrics.md and examples/monitoring/dashboard.json")

const (
	examples = "../../examples/monitoring/"
	docsPage = "../../docs/metrics.md"
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}
