// Package harness runs real agents of the real binary for tests: as one user
// with a home of his own, on loopback addresses that no other test uses, with
// nothing shared but the cluster key that the first agent makes. It kills them
// and starts them again, and leaves no process behind.
package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/testutil"
)

// Wait bounds every wait for something that should happen soon.
const Wait = 60 * time.Second

var build = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("PIPELINED_BIN"); bin != "" {
		return bin, nil
	}

	dir, err := os.MkdirTemp("", "pipelined-e2e-")
	if err != nil {
		return "", err
	}

	bin := filepath.Join(dir, "pipelined")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/pipelined/pipelined/cmd/pipelined").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}

	return bin, nil
})

// Binary builds the product once for all tests of a package, or returns the one
// that PIPELINED_BIN names.
func Binary(tb testing.TB) string {
	tb.Helper()
	bin, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return bin
}

// Clean removes what Binary built, and stops what Engine started. TestMain calls it
// last.
func Clean() {
	if engineStarted {
		startEngine().stop()
	}
	if bin, err := build(); err == nil && os.Getenv("PIPELINED_BIN") == "" {
		os.RemoveAll(filepath.Dir(bin))
	}
}

// Cluster is some agents of one user.
type Cluster struct {
	tb    testing.TB
	Bin   string
	Dir   string
	Env   []string
	Nodes []*Node
	net   string // the first three numbers of the agents' addresses
}

// Node is one agent.
type Node struct {
	c    *Cluster
	Name string
	IP   string
	Data string
	URL  string
	args []string
	// under is the command that starts the agent, if one does.
	under []string

	mu   sync.Mutex // guards following
	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

// New makes the user; Add and Start make agents.
func New(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, Bin: Binary(tb), Dir: tb.TempDir()}
	c.net = reserve(tb)
	home := filepath.Join(c.Dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		tb.Fatal(err)
	}

	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8", "GOFLAGS=" + os.Getenv("GOFLAGS"),
		"XDG_CONFIG_HOME=" + home + "/config", "XDG_STATE_HOME=" + home + "/state", "XDG_RUNTIME_DIR=" + home}
	tb.Cleanup(c.stopAll)

	return c
}

// reserve takes 256 loopback addresses that no other cluster on this machine has,
// not even one of another test binary, and returns their first three numbers. A
// listener on the last address holds them until the test has ended.
func reserve(tb testing.TB) string {
	tb.Helper()

	var err error
	for range 100 {
		numbers := fmt.Sprintf("127.%d.%d", 1+rand.IntN(250), rand.IntN(256))

		var l net.Listener
		if l, err = net.Listen("tcp", numbers+".254:8080"); err == nil {
			tb.Cleanup(func() { _ = l.Close() }) // it served only as a mark
			return numbers
		}
	}
	tb.Fatalf("no free loopback addresses: %v", err)

	return ""
}

// ConfigFile writes a configuration file of agents, for settings without a flag,
// and returns its path.
func ConfigFile(tb testing.TB, text string) string {
	tb.Helper()

	path := filepath.Join(tb.TempDir(), "agent.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}

	return path
}

// Start makes a cluster of n agents that start at the same moment and waits
// until it is whole.
func Start(tb testing.TB, n int, args ...string) *Cluster {
	tb.Helper()

	c := New(tb)
	for range n {
		c.Add(args...)
	}
	for _, x := range c.Nodes {
		x.Start()
	}

	c.Whole()

	return c
}

// Add describes another agent; it joins the first one.
func (c *Cluster) Add(args ...string) *Node {
	i := len(c.Nodes) + 1
	n := &Node{c: c, Name: "n" + strconv.Itoa(i), IP: c.net + "." + strconv.Itoa(i)}
	n.Data = filepath.Join(c.Dir, n.Name)
	n.URL = "http://" + n.IP + ":8080"
	n.args = []string{"agent", "-name", n.Name, "-bind", n.IP, "-data-dir", n.Data}

	if i > 1 {
		n.args = append(n.args, "-join", c.net+".1")
	}

	n.args = append(n.args, args...)
	n.log = n.Data + ".log"
	c.Nodes = append(c.Nodes, n)

	return n
}

// Start starts the agent's daemon, for the first time or again.
func (n *Node) Start() {
	n.c.tb.Helper()

	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.c.tb.Fatal(err)
	}
	defer out.Close()
	line := slices.Concat(n.under, []string{n.c.Bin}, n.args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = n.c.Env, out, out, n.c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	if err := cmd.Start(); err != nil {
		n.c.tb.Fatal(err)
	}

	done := make(chan struct{})
	go func() { // ends with the process, which stopAll ends
		_ = cmd.Wait() // its log reports how it ended
		close(done)
	}()

	n.mu.Lock()
	n.cmd, n.done = cmd, done
	n.mu.Unlock()
}

// PID is the daemon's.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

// Kill sends SIGKILL to the daemon, and to it alone, and waits for its end.
func (n *Node) Kill() { n.signal(syscall.SIGKILL) }

// Term asks the daemon to stop and waits for its end.
func (n *Node) Term() { n.signal(syscall.SIGTERM) }

func (n *Node) signal(sig syscall.Signal) {
	n.c.tb.Helper()
	n.mu.Lock()
	cmd, done := n.cmd, n.done
	n.mu.Unlock()

	if cmd == nil {
		return
	}

	_ = cmd.Process.Signal(sig) // it may be gone

	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		n.c.tb.Errorf("%s did not end within 30 s of %s:\n%s", n.Name, sig, n.Log())
		<-done
	}
}

// Running reports whether the daemon runs.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	if n.cmd == nil {
		return false
	}

	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// KillAll sends SIGKILL to the daemon, its keeper, and every process of its
// attempts: the machine is gone.
func (n *Node) KillAll() {
	n.c.tb.Helper()
	keepers := n.Keepers()
	n.Kill()
	for _, pid := range keepers {
		// The keeper first: it must not live to see how they end.
		children := Descendants(pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for _, child := range children {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
	}
}

// Keepers finds the keepers of the data directory.
func (n *Node) Keepers() []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(b, []byte("__keeper")) || !bytes.Contains(b, []byte(n.Data+"/")) && !bytes.Contains(b, []byte(n.Data+"\x00")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
			pids = append(pids, pid)
		}
	}

	return pids
}

// Descendants lists the children of a process, and theirs.
func Descendants(pid int) []int {
	var out []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for s := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(s); err == nil {
				out = append(append(out, child), Descendants(child)...)
			}
		}
	}

	return out
}

// Log returns the end of what the daemon logged.
func (n *Node) Log() string {
	b, _ := os.ReadFile(n.log)
	if len(b) > 6000 {
		b = b[len(b)-6000:]
	}
	return string(b)
}

func (c *Cluster) stopAll() {
	if c.tb.Failed() {
		for _, n := range c.Nodes {
			c.tb.Logf("log of %s:\n%s", n.Name, n.Log())
		}
	}
	for _, n := range c.Nodes {
		n.KillAll()
	}
}

// Health asks the node how it is; no token is needed for it.
func (n *Node) Health() (wire.Health, error) {
	var h wire.Health
	client := http.Client{Timeout: 2 * time.Second}
	res, err := client.Get(n.URL + "/api/health")
	if err != nil {
		return h, err
	}
	defer res.Body.Close()
	return h, json.NewDecoder(res.Body).Decode(&h)
}

// Whole waits until every running agent is healthy, all know the same leader,
// and as many vote as should.
func (c *Cluster) Whole() {
	c.tb.Helper()
	testutil.Eventually(c.tb, Wait, func() error {
		leader, voters, alive := "", 0, c.Others(nil)
		whole := len(alive) == len(c.Nodes)
		for _, n := range alive {
			h, err := n.Health()
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}

			if !h.Quorum || whole && h.Status != "healthy" || h.Leader == "" || leader != "" && leader != h.Leader {
				return fmt.Errorf("%s is %s under %q, another knows %q: %q", n.Name, h.Status, h.Leader, leader, h.Reasons)
			}

			leader, voters = h.Leader, len(h.Voters)
		}

		if n := len(alive); whole && voters != map[int]int{1: 1, 2: 1, 3: 3, 4: 3}[n] && n < 5 {
			return fmt.Errorf("%d voters among %d nodes", voters, n)
		}

		return nil
	})
}

// Leader finds the agent that leads.
func (c *Cluster) Leader() *Node {
	c.tb.Helper()
	var found *Node
	testutil.Eventually(c.tb, Wait, func() error {
		if found = c.Leading(); found == nil {
			return errors.New("no node leads")
		}
		return nil
	})

	return found
}

// Leading is the running agent that leads now, if a majority follows one.
func (c *Cluster) Leading() *Node {
	alive := c.Others(nil)
	for _, n := range alive {
		h, err := n.Health()
		if err != nil || !h.Quorum {
			continue
		}
		for _, l := range alive {
			if l.Name == h.Leader {
				return l
			}
		}
	}
	return nil
}

// Others are the running agents but n, which may be nil.
func (c *Cluster) Others(n *Node) []*Node {
	var out []*Node
	for _, x := range c.Nodes {
		if x != n && x.Running() {
			out = append(out, x)
		}
	}
	return out
}

// Result is what a command line left.
type Result struct {
	Code           int
	Stdout, Stderr string
	Took           time.Duration
}

// CLI runs a command line as the cluster's user, in the cluster's directory.
func (c *Cluster) CLI(args ...string) Result {
	c.tb.Helper()
	return c.Command(c.Dir, 5*time.Minute, args...).Wait()
}

// OK is CLI that must exit 0.
func (c *Cluster) OK(args ...string) string {
	c.tb.Helper()
	r := c.CLI(args...)
	if r.Code != 0 {
		c.tb.Fatalf("pipelined %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// buffer collects what a process writes while others read it.
type buffer struct {
	mu   sync.Mutex // guards following
	text bytes.Buffer
}

// Write appends a piece.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is everything so far.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Stderr is what the command has written to its standard error so far.
func (r *Running) Stderr() string { return r.err.String() }

// Stdout is what the command has written to its standard output so far.
func (r *Running) Stdout() string { return r.out.String() }

// Running is a command line under way.
type Running struct {
	tb       testing.TB
	cmd      *exec.Cmd
	out, err buffer
	began    time.Time
	done     chan error
	timeout  time.Duration
}

// Command starts a command line in a directory.
func (c *Cluster) Command(dir string, timeout time.Duration, args ...string) *Running {
	c.tb.Helper()
	r := &Running{tb: c.tb, cmd: exec.Command(c.Bin, args...), began: time.Now(), done: make(chan error, 1), timeout: timeout}
	r.cmd.Dir, r.cmd.Env = dir, c.Env
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	if err := r.cmd.Start(); err != nil {
		c.tb.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }() // ends with the process, which Wait bounds
	return r
}

// Signal sends a signal to the command.
func (r *Running) Signal(s os.Signal) { _ = r.cmd.Process.Signal(s) }

// Wait waits for the end of the command.
func (r *Running) Wait() Result {
	r.tb.Helper()
	select {
	case <-r.done:
	case <-time.After(r.timeout):
		_ = r.cmd.Process.Kill()
		<-r.done
		r.tb.Errorf("command did not end within %s", r.timeout)
	}
	return Result{Code: r.cmd.ProcessState.ExitCode(), Stdout: r.out.String(), Stderr: r.err.String(), Took: time.Since(r.began)}
}

// Run reads a run through any node that answers.
func (c *Cluster) Run(id string) (wire.Run, error) {
	var out wire.Run

	var list []string
	for _, n := range c.Nodes {
		if n.Running() {
			list = append(list, n.URL)
		}
	}

	r := c.Command(c.Dir, Wait, "status", "-json", "-address", strings.Join(list, ","), id).Wait()
	if r.Code != 0 {
		return out, fmt.Errorf("status: exit %d: %s", r.Code, r.Stderr)
	}

	return out, json.Unmarshal([]byte(r.Stdout), &out)
}

// WriteFile writes a file below the cluster's directory and returns its path.
func (c *Cluster) WriteFile(name, text string) string {
	c.tb.Helper()
	path := filepath.Join(c.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.tb.Fatal(err)
	}
	return path
}

// MakeKey creates the cluster key before the first start, and returns it: agents
// that join another machine do not.
func (c *Cluster) MakeKey() string {
	c.tb.Helper()
	text := c.OK("keygen")
	if err := os.Chmod(c.WriteFile("home/config/pipelined/cluster.key", text), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	return text
}

// SetJoin changes the node that the agent joins at its next start; "" for none.
func (n *Node) SetJoin(addr string) {
	for i := 0; i+1 < len(n.args); i++ {
		if n.args[i] == "-join" {
			n.args = append(n.args[:i:i], n.args[i+2:]...)
			break
		}
	}
	if addr != "" {
		n.args = append(n.args, "-join", addr)
	}
}

// crash is how Go ends a process.
var crash = regexp.MustCompile(`(?m)^(panic: |fatal error: |goroutine \d+ \[|unexpected fault)`)

// CrashIn returns the beginning of the stack trace in what a process wrote, "" if
// there is none.
func CrashIn(text []byte) string {
	at := crash.FindIndex(text)
	if at == nil {
		return ""
	}
	return string(bytes.TrimSpace(text[at[0]:min(len(text), at[0]+1500)]))
}

// LogFile is the path of the daemon's log.
func (n *Node) LogFile() string { return n.log }

// Under starts the agent through another command, which must become the agent.
func (n *Node) Under(command ...string) { n.under = command }

// Place gives agents that are added later these addresses: the first three
// numbers.
func (c *Cluster) Place(numbers string) { c.net = numbers }

// Rearg adds arguments for the next start; later ones win over earlier ones.
func (n *Node) Rearg(args ...string) { n.args = append(n.args, args...) }

// Move gives the agent another address from its next start on, at which it joins no
// other by itself. last is the last number of the address.
func (n *Node) Move(last int) {
	n.SetJoin("")
	n.IP = n.IP[:strings.LastIndexByte(n.IP, '.')+1] + strconv.Itoa(last)
	n.URL = "http://" + n.IP + ":8080"
	n.Rearg("-bind", n.IP)
}
