package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/test/harness"
)

// root is the repository's.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRunExamples(t *testing.T) {
	c := harness.New(t)
	out := c.OK("run", filepath.Join(root(t), "examples/hello.hcl"))
	if !strings.Contains(out, "hello | Hello, world!") {
		t.Errorf("hello: %s", out)
	}
	out = c.OK("run", "-var", "name=Ada", filepath.Join(root(t), "examples/hello.hcl"))
	if !strings.Contains(out, "hello | Hello, Ada!") {
		t.Errorf("hello -var: %s", out)
	}
	if out = c.OK("run", filepath.Join(root(t), "examples/wordcount.hcl")); out == "" {
		t.Error("wordcount prints nothing")
	}
}

// Files made on one node are used on another; a node that joins in the middle
// gets work.
func TestFilesFollowTheWork(t *testing.T) {
	c := harness.Start(t, 3, "-max-parallel", "1")
	c.WriteFile("p/data/in.txt", "one\ntwo\nthree\n")
	var b strings.Builder
	b.WriteString("pipeline \"files\" {\n")
	for i := range 12 {
		fmt.Fprintf(&b, "  module \"part%d\" {\n    inputs = [\"data/**\"]\n    outputs = [\"out/*\"]\n    script = <<-SH\n      sleep 0.4\n      mkdir out\n      wc -l < data/in.txt > out/part%d\n      echo \"$PIPELINED_WORKER\" > out/where%d\n    SH\n  }\n", i, i, i)
	}
	b.WriteString("  module \"sum\" {\n    depends_on = [")
	for i := range 12 {
		fmt.Fprintf(&b, "module.part%d, ", i)
	}
	b.WriteString("]\n    inputs = []\n    outputs = [\"total\"]\n    script = \"cat out/part* | awk '{s+=$1} END {print s}' > total; sort -u out/where*\"\n  }\n}\n")
	file := c.WriteFile("p/files.hcl", b.String())
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[1].URL, file))
	late := c.Add("-max-parallel", "1")
	late.Start()
	if r := c.CLI("wait", "-address", c.Nodes[2].URL, id); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	run, err := c.Run(id)
	if err != nil {
		t.Fatal(err)
	}
	workers := map[string]int{}
	for _, m := range run.Modules {
		workers[m.Worker]++
	}
	if len(workers) < 4 {
		t.Errorf("worked: %v, want four nodes", workers)
	}
	dir := filepath.Join(c.Dir, "got")
	c.OK("artifacts", "-address", late.URL, "-o", dir, id)
	if total, err := os.ReadFile(filepath.Join(dir, "sum/total")); err != nil || string(total) != "36\n" {
		t.Errorf("total is %q, %v", total, err)
	}
}

// The node that took the submission dies at once and for good.
func TestWorkspaceNodeKilled(t *testing.T) {
	c := harness.Start(t, 3)
	c.WriteFile("p/data/in.txt", strings.Repeat("a line\n", 1000))
	file := c.WriteFile("p/files.hcl", `pipeline "files" {
  module "first"  { script = "sleep 1; wc -l < data/in.txt" }
  module "second" {
    depends_on = [module.first]
    script     = "wc -l < data/in.txt"
  }
}`)
	leader := c.Leader()
	victim := c.Others(leader)[0]
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", victim.URL, file))
	victim.KillAll()
	if r := c.CLI("wait", "-address", leader.URL, id); r.Code != 0 {
		t.Fatalf("wait: exit %d %s", r.Code, r.Stderr)
	}
	if out := c.OK("logs", "-address", leader.URL, id, "second"); strings.TrimSpace(out) != "1000" {
		t.Errorf("second printed %q", out)
	}
}

// Every process of a cancelled run is gone, those included that left their
// session.
func TestCancelLeavesNoProcess(t *testing.T) {
	c := harness.Start(t, 3)
	mark := "cancel-mark-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	file := c.WriteFile("p/tree.hcl", fmt.Sprintf(`pipeline "tree" {
  workspace { exclude = ["**"] }
  module "stubborn" {
    grace  = "1s"
    script = <<-SH
      trap "" TERM
      setsid sh -c 'trap "" TERM; exec -a %[1]s sleep 300' &
      (sh -c 'trap "" TERM; exec -a %[1]s sleep 300' &)
      sh -c 'exec -a %[1]s sleep 300'
      while true; do sleep 1; done
    SH
  }
  module "plain" { script = "sh -c 'exec -a %[1]s sleep 300'" }
}`, mark))
	// dash has no exec -a: use bash for the marks.
	b, _ := os.ReadFile(file)
	if err := os.WriteFile(file, bytes.ReplaceAll(b, []byte("sh -c '"), []byte("bash -c '")), 0o644); err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(c.OK("submit", "-detach", "-address", c.Nodes[0].URL, file))
	marked := func() int { return processes(mark) }
	testutil.Eventually(t, harness.Wait, func() error {
		if n := marked(); n != 4 {
			return fmt.Errorf("%d marked processes", n)
		}
		return nil
	})
	began := time.Now()
	c.OK("cancel", "-address", c.Nodes[1].URL, id)
	testutil.Eventually(t, 3*time.Second, func() error {
		if n := marked(); n > 0 {
			return fmt.Errorf("%d marked processes live on", n)
		}
		return nil
	})
	t.Logf("gone after %s", time.Since(began).Round(time.Millisecond))
	if r := c.CLI("wait", "-address", c.Nodes[2].URL, id); r.Code != 3 {
		t.Errorf("wait: exit %d, want 3", r.Code)
	}
}

// processes counts those whose first argument is the mark.
func processes(mark string) int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.HasPrefix(b, []byte(mark+"\x00")) {
			n++
		}
	}
	return n
}

func TestExternalWorker(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is needed; .ci/run installs it")
	}
	c := harness.Start(t, 3)
	token := strings.TrimSpace(c.OK("token", "create", "-role", "worker", "-name", "external", "-address", c.Nodes[0].URL))
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, n.URL)
	}
	args := externalArgs(t, c, urls)
	cmd := exec.Command(python, args...)
	cmd.Env = append(append([]string{}, c.Env...), "PIPELINED_TOKEN="+token, "PIPELINED_ADDR="+strings.Join(urls, ","))
	log, err := os.Create(filepath.Join(c.Dir, "external.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // killed
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("the worker's output:\n%s", b)
		}
	})
	status := func() string {
		var list wire.WorkerList
		if err := json.Unmarshal([]byte(c.OK("workers", "-json", "-address", liveURL(c))), &list); err != nil {
			t.Fatal(err)
		}
		for _, w := range list.Workers {
			if w.External {
				return w.Status
			}
		}
		return "unknown"
	}
	wait := func(want string) {
		t.Helper()
		testutil.Eventually(t, harness.Wait, func() error {
			if s := status(); s != want {
				return fmt.Errorf("the external worker is %s", s)
			}
			return nil
		})
	}
	wait(pipeline.WorkerOnline)
	dir := filepath.Join(root(t), "examples/external-worker")
	r := c.CLI("submit", "-address", c.Nodes[1].URL, filepath.Join(dir, "pipeline.hcl"))
	if r.Code != 0 {
		t.Fatalf("submit: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	c.Leader().Kill()
	wait(pipeline.WorkerOnline)
	r = c.CLI("submit", "-address", liveURL(c), filepath.Join(dir, "pipeline.hcl"))
	if r.Code != 0 {
		t.Fatalf("submit after the leader's death: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	// The worker masks nothing; the node that takes its log does.
	id := strings.TrimSpace(c.OK("submit", "-quiet", "-detach", "-address", liveURL(c), c.WriteFile("masked/pipeline.hcl", maskedExternally)))
	c.OK("wait", "-address", liveURL(c), id)
	if out := c.OK("logs", "-address", liveURL(c), id, "m"); !strings.Contains(out, "logged in with ***") {
		t.Errorf("the log is not masked: %s", out)
	}
	all := c.OK("logs", "-address", liveURL(c), id, "m") + c.OK("status", "-json", "-address", liveURL(c), id)
	if strings.Contains(all, "made-12345") || strings.Contains(all, "::add-mask::") {
		t.Errorf("the value shows: %s", all)
	}

	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGSTOP)
	wait(pipeline.WorkerOffline)
}

const maskedExternally = `pipeline "masked" {
  module "m" {
    requires = { tags = ["python-example"] }
    script   = <<-SH
      value="made-$((12000 + 345))"
      echo "::add-mask::$value"
      echo "logged in with $value"
      echo "token=$value" >> "$PIPELINED_OUTPUT"
    SH
  }
}
`

// externalArgs is the command line of the example's worker, on a free port of
// its own address.
func externalArgs(t *testing.T, c *harness.Cluster, urls []string) []string {
	t.Helper()
	ip := strings.TrimSuffix(c.Nodes[0].IP, "1") + "99"
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return append([]string{filepath.Join(root(t), "examples/external-worker/worker.py"), "--tag", "python-example",
		"--bind", l.Addr().String()}, urls...)
}

func liveURL(c *harness.Cluster) string {
	for _, n := range c.Nodes {
		if n.Running() {
			return n.URL
		}
	}
	return c.Nodes[0].URL
}

func TestSecondAgentOnADataDir(t *testing.T) {
	c := harness.Start(t, 1)
	n := c.Nodes[0]
	r := c.Command(c.Dir, 10*time.Second, "agent", "-bind", n.IP, "-http-port", "0", "-peer-port", "0", "-gossip-port", "0", "-data-dir", n.Data).Wait()
	if r.Code == 0 || !strings.Contains(r.Stderr, strconv.Itoa(n.PID())) {
		t.Errorf("second agent: exit %d, %q; want the holder's pid %d", r.Code, r.Stderr, n.PID())
	}
}

// A node with another key, and one of another cluster, are refused, and both
// sides say why.
func TestStrangersAreRefused(t *testing.T) {
	c := harness.Start(t, 1)
	other := filepath.Join(c.Dir, "other.key")
	c.OK("keygen", "-o", other)
	stranger := c.Add("-key-file", other)
	stranger.Start()
	said := func(n *harness.Node, text string) {
		t.Helper()
		testutil.Eventually(t, 30*time.Second, func() error {
			if !strings.Contains(n.Log(), text) {
				return fmt.Errorf("%s does not say %q", n.Name, text)
			}
			return nil
		})
	}
	said(stranger, "uses a different cluster key than")
	said(c.Nodes[0], "uses a different cluster key than")
	stranger.KillAll()

	// A cluster of its own that has a run does not give way.
	own := c.Add()
	own.SetJoin("")
	own.Start()
	testutil.Eventually(t, harness.Wait, func() error {
		h, err := own.Health()
		if err == nil && h.Status != "healthy" {
			err = fmt.Errorf("%s is %s", own.Name, h.Status)
		}
		return err
	})
	c.OK("submit", "-address", own.URL, filepath.Join(root(t), "examples/hello.hcl"))
	own.Term()
	own.SetJoin(c.Nodes[0].IP)
	own.Start()
	testutil.Eventually(t, 30*time.Second, func() error {
		if own.Running() && !strings.Contains(own.Log(), "cluster") {
			return fmt.Errorf("%s joined another cluster without a word", own.Name)
		}
		if !strings.Contains(own.Log(), "belongs to") && !strings.Contains(own.Log(), "another cluster") && !strings.Contains(own.Log(), "of cluster") {
			return fmt.Errorf("%s does not name the two clusters", own.Name)
		}
		return nil
	})
}

// The only node of a cluster cannot leave it; one of several can, and what it
// left goes on.
func TestLeave(t *testing.T) {
	c := harness.Start(t, 3)
	leader := c.Leader()
	gone := c.Others(leader)[0]
	c.OK("leave", "-yes", "-address", gone.URL)
	testutil.Eventually(t, harness.Wait, func() error {
		if gone.Running() {
			return fmt.Errorf("%s runs", gone.Name)
		}
		return nil
	})
	c.OK("submit", "-quiet", "-address", leader.URL, filepath.Join(root(t), "examples/hello.hcl"))

	alone := harness.Start(t, 1)
	if r := alone.CLI("leave", "-yes", "-address", alone.Nodes[0].URL); r.Code == 0 || !strings.Contains(r.Stderr, "only node") {
		t.Errorf("leave of the only node: exit %d, %q", r.Code, r.Stderr)
	}
	alone.OK("submit", "-quiet", "-address", alone.Nodes[0].URL, filepath.Join(root(t), "examples/hello.hcl"))
}
