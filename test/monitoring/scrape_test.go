package monitoring

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/test/harness"
)

// family is a metric as a page has it.
type family struct {
	kind, help string
	labels     []string
	series     int
}

var (
	labelName  = regexp.MustCompile(`([a-z_]+)="`)
	metricName = regexp.MustCompile(`\b(?:pipelined|cicd|process|go)_[a-z0-9_]+`)
)

// scrape reads the page of a node as role read, and adds what it has to all.
func scrape(t *testing.T, n *harness.Node, token string, all map[string]*family) {
	t.Helper()
	status, text := get(t, n.URL+"/metrics", token)
	if status != http.StatusOK {
		t.Fatalf("/metrics of %s: %d %s", n.Name, status, text)
	}

	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		words := strings.SplitN(line, " ", 4)
		switch {
		case strings.HasPrefix(line, "# HELP "):
			if all[words[2]] == nil {
				all[words[2]] = &family{}
			}
			all[words[2]].help = words[3]
		case strings.HasPrefix(line, "# TYPE "):
			all[words[2]].kind = words[3]
		default:
			name, _, _ := strings.Cut(words[0], "{")
			f := all[name]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if f == nil {
					f = all[strings.TrimSuffix(name, suffix)]
				}
			}
			if f == nil {
				t.Errorf("series without a family: %s", line)
				continue
			}
			f.series++
			for _, m := range labelName.FindAllStringSubmatch(line, -1) {
				if !slices.Contains(f.labels, m[1]) && m[1] != "le" && m[1] != "quantile" {
					f.labels = append(f.labels, m[1])
				}
			}
		}
	}
}

func get(t *testing.T, address, token string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, text
}

// prepare lets a cluster do something of each kind.
func prepare(t *testing.T, c *harness.Cluster, leader *harness.Node) {
	t.Helper()
	good := c.WriteFile("good.hcl", `pipeline "good" {
  module "make" {
    inputs  = ["in.txt"]
    outputs = ["out"]
    cache   = true
    command = ["cp", "in.txt", "out"]
  }
  module "use" {
    depends_on = [module.make]
    command    = ["cat", "out"]
  }
}`)
	c.WriteFile("in.txt", "text")
	c.OK("submit", "-address", leader.URL, good)
	c.OK("submit", "-address", leader.URL, good)
	open := c.WriteFile("open.hcl", `pipeline "open" {
  module "ask" {
    approval { message = "go on?" }
  }
}`)
	c.OK("submit", "-detach", "-address", leader.URL, open)
	bad := c.WriteFile("bad.hcl", `pipeline "bad" {
  module "fail" { command = ["false"] }
}`)
	if r := c.CLI("submit", "-address", leader.URL, bad); r.Code != 1 {
		t.Fatalf("submit of a pipeline that fails: %d %s", r.Code, r.Stderr)
	}
}

// TestPage reads the pages of a real cluster. They are what docs/metrics.md says, only
// the leader speaks for the cluster, a board and rules name nothing else, and a real
// Prometheus answers each query of the board.
func TestPage(t *testing.T) {
	c := harness.Start(t, 3)
	leader := c.Leader()
	token := strings.TrimSpace(c.OK("token", "create", "-address", leader.URL, "-role", "read", "-name", "prometheus"))
	if status, _ := get(t, leader.URL+"/metrics", ""); status != http.StatusUnauthorized {
		t.Errorf("/metrics without a token: %d", status)
	}
	prepare(t, c, leader)

	onLeader, all := map[string]*family{}, map[string]*family{}
	scrape(t, leader, token, onLeader)
	scrape(t, leader, token, all)
	for _, n := range c.Others(leader) {
		onFollower := map[string]*family{}
		scrape(t, n, token, onFollower)
		scrape(t, n, token, all)
		for _, name := range []string{"pipelined_members", "cicd_worker_count", "pipelined_modules_waiting", "pipelined_raft_peer_lag_entries"} {
			if onFollower[name] != nil || onLeader[name] == nil {
				t.Errorf("%s is to come from the leader alone: leader %v, %s %v", name, onLeader[name] != nil, n.Name, onFollower[name] != nil)
			}
		}
	}

	t.Run("documented", func(t *testing.T) { compareDocs(t, all) })
	t.Run("names", func(t *testing.T) { compareNames(t, all) })
	t.Run("prometheus", func(t *testing.T) { queryBoard(t, c, leader, token) })
}

// compareDocs compares the table of docs/metrics.md with the pages.
func compareDocs(t *testing.T, all map[string]*family) {
	var rows []string
	for name, f := range all {
		// The libraries' are theirs to describe.
		if !strings.HasPrefix(name, "pipelined_") && !strings.HasPrefix(name, "cicd_") {
			continue
		}
		slices.Sort(f.labels)
		labels := ""
		if len(f.labels) > 0 {
			labels = "`" + strings.Join(f.labels, "`, `") + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", name, f.kind, labels, strings.TrimSuffix(f.help, ".")))
	}
	slices.Sort(rows)
	want := strings.Join(rows, "\n") + "\n"

	const head = "| metric | type | labels | what it is |\n|---|---|---|---|\n"
	raw, err := os.ReadFile(docsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), head)
	table, after, ok2 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 {
		t.Fatalf("%s has no table that begins with:\n%s", docsPage, head)
	}
	if *update {
		if err := os.WriteFile(docsPage, []byte(before+head+want+"\n"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table+"\n" != want {
		t.Errorf("%s has another table than the pages of a cluster (go test ./test/monitoring -run TestPage -update):\n%s", docsPage, want)
	}
}

// compareNames finds names in rules and board that no page has.
func compareNames(t *testing.T, all map[string]*family) {
	rules, err := os.ReadFile(examples + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	texts := append(queries(), regexp.MustCompile(`(?m)^\s+(?:expr:|sum by|/|and).*$`).FindAllString(string(rules), -1)...)
	labels := []string{"cicd_pipeline_name", "cicd_pipeline_result", "cicd_pipeline_run_state", "cicd_worker_state", "cicd_system_component"}
	seen := 0
	for _, text := range texts {
		for _, name := range metricName.FindAllString(text, -1) {
			if slices.Contains(labels, name) {
				continue
			}
			seen++
			f := all[name]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if base := all[strings.TrimSuffix(name, suffix)]; f == nil && base != nil && base.kind == "histogram" {
					f = base
				}
			}
			if f == nil {
				t.Errorf("no page has %s, which is in: %s", name, text)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d names were found", seen)
	}
}

// queryBoard has a real Prometheus scrape the cluster, with the rules loaded, and asks
// it every query of the board.
func queryBoard(t *testing.T, c *harness.Cluster, leader *harness.Node, token string) {
	address := startPrometheus(t, c, token)
	// Rates need two scrapes, and something that changes between them.
	testutil.Eventually(t, harness.Wait, func() error {
		if c.CLI("submit", "-quiet", "-address", leader.URL, filepath.Join(c.Dir, "good.hcl")).Code != 0 {
			return fmt.Errorf("submit")
		}
		for _, q := range []string{`count(count_over_time(pipelined_build_info[30s]) > 2) == 3`, `sum(rate(pipelined_attempts_total[10s])) > 0`} {
			if n, err := ask(t, address, q); err != nil || n == 0 {
				return fmt.Errorf("%s: %d results, %v", q, n, err)
			}
		}
		return nil
	})

	// What needs an event that did not happen here may be empty.
	rare := []string{"pipelined_failover", "pipelined_streams"}
	for _, q := range queries() {
		n, err := ask(t, address, q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
		}
		if n == 0 && !slices.ContainsFunc(rare, func(s string) bool { return strings.Contains(q, s) }) {
			t.Errorf("%s: no result", q)
		}
	}
}

// startPrometheus starts Debian's Prometheus with the example's rules, scraping all
// nodes each second, and returns its address.
func startPrometheus(t *testing.T, c *harness.Cluster, token string) string {
	t.Helper()
	program := tool(t, "prometheus")
	dir := t.TempDir()
	var targets []string
	for _, n := range c.Nodes {
		targets = append(targets, strings.TrimPrefix(n.URL, "http://"))
	}
	rules, err := filepath.Abs(examples + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s}\nrule_files: [%q]\nscrape_configs:\n- job_name: pipelined\n  authorization: {credentials: %q}\n  static_configs: [{targets: [%s]}]\n",
		rules, token, strings.Join(targets, ", "))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	// It cannot report a port of its own choice: one that is free now is tried.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()

	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus:\n%s", log.String())
		}
	})

	testutil.Eventually(t, harness.Wait, func() error {
		res, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("prometheus: %d", res.StatusCode)
		}
		return nil
	})
	return address
}

// ask evaluates a query and returns the number of results.
func ask(t *testing.T, address, query string) (int, error) {
	t.Helper()
	status, text := get(t, "http://"+address+"/api/v1/query?query="+url.QueryEscape(query), "")
	var doc struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal(text, &doc); err != nil || doc.Status != "success" {
		return 0, fmt.Errorf("%d %s", status, text)
	}
	return len(doc.Data.Result), nil
}

// TestPage_open: with metrics_open no token is needed, for this page alone.
func TestPage_open(t *testing.T) {
	c := harness.Start(t, 1, "-config", harness.ConfigFile(t, "metrics_open = true\n"))
	if status, text := get(t, c.Nodes[0].URL+"/metrics", ""); status != http.StatusOK || !bytes.Contains(text, []byte("pipelined_build_info{")) {
		t.Errorf("/metrics: %d %.200s", status, text)
	}
	if status, _ := get(t, c.Nodes[0].URL+"/api/v1/runs", ""); status != http.StatusUnauthorized {
		t.Errorf("runs without a token: %d", status)
	}
}
