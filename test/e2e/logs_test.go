package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/test/harness"
)

const loggedLines = 300_000

// loggedText is what the module of TestCompressedLogs writes.
func loggedText() string {
	var b strings.Builder
	for i := 1; i <= loggedLines; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// get reads a path of a node's API.
func get(t *testing.T, n *harness.Node, path, token string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %q %v", path, res.Status, body, err)
	}
	return body
}

// checkLog reads the log of a run's module through each node: as a whole, from
// an offset, the last lines, and as a stream.
func checkLog(t *testing.T, c *harness.Cluster, nodes []*harness.Node, run, token string) {
	t.Helper()
	text := loggedText()
	for _, n := range nodes {
		for _, args := range [][]string{{"logs"}, {"logs", "-f"}} {
			if got := c.OK(append(args, "-address", n.URL, run, "make")...); got != text {
				t.Errorf("%q through %s: %d bytes", args, n.Name, len(got))
			}
		}
		if got := c.OK("logs", "-address", n.URL, "-tail", "3", run, "make"); got != text[len(text)-3*7:] {
			t.Errorf("the last lines through %s: %q", n.Name, got)
		}
		for _, at := range []int{1, 256<<10 - 10, 1 << 20, len(text) - 500, len(text)} {
			path := fmt.Sprintf("/api/v1/runs/%s/modules/make/logs?offset=%d", run, at)
			if got := get(t, n, path, token); string(got) != text[at:] {
				t.Errorf("from %d through %s: %d bytes", at, n.Name, len(got))
			}
		}
	}
}

// The log of an attempt is compressed when the attempt ends: it takes less room
// on both nodes that have it, any zstd program reads it, offsets are those of the
// output, and if a copy is damaged every byte is right all the same.
func TestCompressedLogs(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "1")
	nodes := c.Nodes
	token := strings.TrimSpace(c.OK("token", "create", "-address", nodes[0].URL, "-role", "read"))
	file := c.WriteFile("logged.hcl", fmt.Sprintf(`pipeline "logged" {
  workspace { exclude = ["**"] }
  module "make" {
    script = "seq 1 %d"
  }
}`, loggedLines))
	run := strings.TrimSpace(c.OK("submit", "-detach", "-address", nodes[0].URL, file))
	if r := c.CLI("wait", "-address", nodes[0].URL, run); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	attempts := lastModule(t, c, run, "make").Attempts
	last := attempts[len(attempts)-1]
	if last.LogSize != int64(len(loggedText())) {
		t.Errorf("the log is said to have %d bytes", last.LogSize)
	}

	holders := compressedLogs(t, nodes)
	if len(holders) < 2 {
		t.Fatalf("%d nodes have the log compressed", len(holders))
	}
	checkLog(t, c, nodes, run, token)

	for path, n := range holders {
		flipByte(t, path)
		checkLog(t, c, []*harness.Node{n}, run, token)
		if !strings.Contains(wholeLog(t, n), "blob is damaged on this disk") {
			t.Errorf("%s did not report the damaged log", n.Name)
		}
		break
	}
}

// compressedLogs gives the nodes that have the log of TestCompressedLogs in less
// than half of its length, as a file that the zstd program reads, by that file.
func compressedLogs(t *testing.T, nodes []*harness.Node) map[string]*harness.Node {
	t.Helper()
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	holders := map[string]*harness.Node{}
	for _, n := range nodes {
		for _, path := range blobFiles(t, n) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := z.DecodeAll(raw, nil) // fails for other blobs
			if err == nil && strings.HasPrefix(string(plain), loggedText()) && len(raw) < len(plain)/2 {
				holders[path] = n
			}
		}
	}
	return holders
}
