package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

// TestEvents wants the table in docs/events.md to have all types of events, in their
// order, and nothing else.
func TestEvents(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/events.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, k := range pipeline.EventKinds {
		want = append(want, fmt.Sprintf("| `%s` | `%s` | %s |", k.Name, k.Full(), k.About))
	}
	table := "| name | type | it happens when |\n|---|---|---|\n" + strings.Join(want, "\n") + "\n\n"
	if !strings.Contains(string(page), table) {
		t.Errorf("docs/events.md needs this table:\n%s", table)
	}
}
