package attack

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

var update = flag.Bool("update", false, "write the statuses that are met to testdata/access.txt")

// accessFile has the expected status of every route for every kind of caller.
const accessFile = "testdata/access.txt"

// callers are the kinds of callers, in the order of the columns of accessFile. Those
// that every route must refuse come first.
var callers = []string{"none", "garbled", "wrong", "expired", "revoked", "query", "host", "origin", "read", "worker", "submit", "admin"}

// refused says with what a caller is refused by every route that needs a token.
var refused = map[string]int{"none": 401, "garbled": 401, "wrong": 401, "expired": 401, "revoked": 401, "query": 400, "host": 403, "origin": 403}

// harmful are calls of an admin that would end the test.
var harmful = []string{"POST /api/v1/leave"}

// skipped stands in the table for what is not called.
const skipped = "-"

// TestRoutes_callers makes every call as every kind of caller, and compares the status
// with the table. The bodies are empty documents and the names exist nowhere, so that a
// caller who is let in gets 200, 400 or 404.
func TestRoutes_callers(t *testing.T) {
	c := harness.Start(t, 1)
	tokens := makeTokens(t, c)
	want := readTable(t)
	var lines []string
	for _, rt := range api.Routes() {
		name := rt.Method + " " + rt.Pattern
		row := []string{name}
		for i, caller := range callers {
			got := skipped
			if caller != "admin" || !slices.Contains(harmful, name) {
				got = fmt.Sprint(call(t, c.Nodes[0], &rt, caller, tokens))
			}
			row = append(row, got)
			if must := mustBe(&rt, caller); must != 0 && got != fmt.Sprint(must) {
				t.Errorf("%s as %s: %s, must be %d", name, caller, got, must)
			}
			if !*update && (len(want[name]) != len(callers) || want[name][i] != got) {
				t.Errorf("%s as %s: %s, %s has %q; if that is right: go test ./test/attack -run TestRoutes -update", name, caller, got, accessFile, want[name])
			}
		}
		lines = append(lines, strings.Join(row, "\t"))
		delete(want, name)
	}
	for name := range want {
		if !*update {
			t.Errorf("%s is in %s and is no route", name, accessFile)
		}
	}

	if *update {
		text := "# The status of every route for every kind of caller (go test ./test/attack -run TestRoutes -update).\n# route\t" +
			strings.Join(callers, "\t") + "\n" + strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(accessFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// mustBe is the status by which a route has to refuse a caller; 0 if it lets it in.
func mustBe(rt *api.Route, caller string) int {
	if rt.Role == "" {
		return 0
	}
	if status := refused[caller]; status != 0 {
		return status
	}

	ranks := []api.Role{api.RoleRead, api.RoleSubmit, api.RoleAdmin}
	role := api.Role(caller)
	if role == api.RoleWorker && rt.Worker || role != api.RoleWorker && slices.Index(ranks, role) >= slices.Index(ranks, rt.Role) {
		return 0
	}
	return http.StatusForbidden
}

// makeTokens makes a token of each role, one that has expired, and one that is revoked.
func makeTokens(t *testing.T, c *harness.Cluster) map[string]string {
	t.Helper()
	node := c.Nodes[0]
	tokens := map[string]string{"garbled": "x y", "wrong": "pd_" + strings.Repeat("0", 16) + "_" + strings.Repeat("A", 43)}
	for _, role := range []string{"read", "submit", "worker", "admin"} {
		tokens[role] = strings.TrimSpace(c.OK("token", "create", "-address", node.URL, "-role", role, "-name", role))
	}

	tokens["expired"] = strings.TrimSpace(c.OK("token", "create", "-address", node.URL, "-role", "admin", "-name", "short", "-ttl", "1s"))
	tokens["revoked"] = strings.TrimSpace(c.OK("token", "create", "-address", node.URL, "-role", "admin", "-name", "gone"))
	c.OK("token", "rm", "-address", node.URL, strings.Split(tokens["revoked"], "_")[1])
	members := &api.Route{Method: "GET", Pattern: "/api/v1/members"}
	for _, caller := range []string{"expired", "revoked"} {
		testutil.Eventually(t, harness.Wait, func() error {
			if status := call(t, node, members, caller, tokens); status != http.StatusUnauthorized {
				return fmt.Errorf("%s token: %d", caller, status)
			}
			return nil
		})
	}
	return tokens
}

// call makes a call as a caller, and returns the status.
func call(t *testing.T, n *harness.Node, rt *api.Route, caller string, tokens map[string]string) int {
	t.Helper()
	const body = "{}"
	sum := sha256.Sum256([]byte(body))
	path := strings.NewReplacer("{id}", strings.Repeat("0", 32), "{module}", "m", "{path...}", "x", "{digest}", hex.EncodeToString(sum[:]),
		"{key}", hex.EncodeToString(sum[:]), "{hash}", "abc", "{name}", "nobody", "{team}", "t").Replace(rt.Pattern)
	if caller == "query" {
		path += "?token=" + tokens["admin"] + "&access_token=" + tokens["admin"]
	}
	req, err := http.NewRequestWithContext(t.Context(), rt.Method, n.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if rt.Body == api.StreamBody {
		req.Header.Set("Content-Type", "application/octet-stream")
	}

	token := tokens[caller]
	switch caller {
	case "host":
		token, req.Host = tokens["admin"], "evil.example"
	case "origin":
		token = tokens["admin"]
		req.Header.Set("Origin", "http://evil.example")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}

	client := http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		t.Errorf("%s %s as %s: %v", rt.Method, path, caller, err)
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)) // the status is what counts
	return res.StatusCode
}

// readTable reads accessFile.
func readTable(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open(accessFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := map[string][]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if line := lines.Text(); line != "" && line[0] != '#' {
			cells := strings.Split(line, "\t")
			table[cells[0]] = cells[1:]
		}
	}
	return table
}
