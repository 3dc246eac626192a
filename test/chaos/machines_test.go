package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/test/harness"
)

// network is the first three numbers of the machines' addresses. They exist in
// the test's own namespaces only.
const network = "10.99.0"

// diskSize is the size of a machine's file system.
const diskSize = "768m"

// machine is one agent with its network and its disk.
type machine struct {
	*harness.Node
	// holder is a process that only keeps the network namespace.
	holder *exec.Cmd
	port   string
}

// cluster is what is broken.
type cluster struct {
	*harness.Cluster
	tb       testing.TB
	machines []*machine
	keys     *keys.Keys
	// ended counts the daemons that ended by themselves.
	ended int
}

// build makes n machines and starts their agents.
func build(tb testing.TB, n int) *cluster {
	tb.Helper()
	c := &cluster{Cluster: harness.New(tb), tb: tb}
	c.Place(network)
	c.key()
	for _, line := range []string{"mount --make-rprivate /", "ip link set lo up", "ip link add br0 type bridge", "ip link set br0 up", "ip addr add " + network + ".254/24 dev br0"} {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			tb.Skipf("needs network namespaces and bridges: %s: %v\n%s", line, err, out)
		}
	}
	tb.Cleanup(func() { c.sh("ip link del br0") })

	config := harness.ConfigFile(tb, "keep_runs = 1000000\n")
	for range n {
		m := &machine{Node: c.Add("-config", config, "-max-parallel", "4")}
		m.connect(c, len(c.machines)+1)
		if err := os.MkdirAll(m.Data, 0o700); err != nil {
			tb.Fatal(err)
		}
		c.sh("mount -t tmpfs -o size=" + diskSize + ",mode=700 tmpfs " + m.Data)
		// Lazily: its processes end after this.
		tb.Cleanup(func() { c.sh("umount -l " + m.Data) })
		c.machines = append(c.machines, m)
	}
	for _, m := range c.machines {
		m.Start()
	}
	return c
}

// key creates the cluster key: agents that join another machine do not.
func (c *cluster) key() {
	key, err := keys.Parse(strings.TrimSpace(c.MakeKey()))
	if err == nil {
		c.keys, err = keys.New(key)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
}

// connect gives a machine a network namespace and a cable to the others.
func (m *machine) connect(c *cluster, i int) {
	m.holder = exec.Command("sleep", "infinity")
	m.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := m.holder.Start(); err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(func() { _ = m.holder.Process.Kill(); _ = m.holder.Wait() })
	pid := strconv.Itoa(m.holder.Process.Pid)
	m.port = "v" + strconv.Itoa(i)
	c.sh("ip link add " + m.port + " type veth peer name eth0 netns " + pid)
	// The kernel deletes it with the namespace, but only some time after that.
	c.tb.Cleanup(func() { _ = exec.Command("ip", "link", "del", m.port).Run() })
	c.sh("ip link set " + m.port + " master br0 up")
	in := "nsenter -t " + pid + " -n "
	for _, line := range []string{"ip link set lo up", "ip addr add " + m.IP + "/24 dev eth0", "ip link set eth0 up"} {
		c.sh(in + line)
	}
	m.Under("nsenter", "-t", pid, "-n")
}

// sh runs a command that must succeed.
func (c *cluster) sh(line string) {
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		c.tb.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// link plugs a machine's cable in, or out.
func (c *cluster) link(m *machine, up bool) {
	c.sh("ip link set " + m.port + " " + map[bool]string{true: "up", false: "down"}[up])
}

// apart separates two machines from each other, and from no other, or connects
// them again.
func (c *cluster) apart(a, b *machine, on bool) {
	for _, m := range []*machine{a, b} {
		c.sh("bridge link set dev " + m.port + " isolated " + map[bool]string{true: "on", false: "off"}[on])
	}
}

// token creates an admin token once the cluster answers.
func (c *cluster) token() string {
	c.tb.Helper()
	deadline := time.Now().Add(harness.Wait)
	for {
		r := c.CLI("token", "create", "-role", "admin", "-address", c.machines[0].api())
		if r.Code == 0 {
			return strings.TrimSpace(r.Stdout)
		}
		if time.Now().After(deadline) {
			c.tb.Fatalf("no token: %s", r.Stderr)
		}
	}
}

// client asks machines in this order.
func (c *cluster) client(token string, machines ...*machine) (*client.Client, error) {
	cfg := client.Config{Token: token, TLS: c.keys.HTTPClient(), RetryFor: 2 * time.Minute, ConnectFor: 2 * time.Minute}
	for _, m := range machines {
		cfg.Addresses = append(cfg.Addresses, m.api())
	}
	return client.New(cfg)
}

// leader is the machine that leads, if one does.
func (c *cluster) leader() *machine {
	n := c.Leading()
	for _, m := range c.machines {
		if m.Node == n {
			return m
		}
	}
	return nil
}

// whole reports whether every machine knows a leader and nothing is wrong with
// it.
func (c *cluster) whole() error {
	for _, m := range c.machines {
		if !m.Running() {
			return fmt.Errorf("%s does not run", m.Name)
		}
		h, err := m.Health()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", m.Name, err)
		case h.Status != "healthy" || h.Leader == "":
			return fmt.Errorf("%s is %s: %q", m.Name, h.Status, h.Reasons)
		case len(h.Voters) != len(c.machines):
			return fmt.Errorf("%s: voters %q", m.Name, h.Voters)
		}
	}
	return nil
}

// api is the address of a machine's API; health alone is answered in plain text.
func (m *machine) api() string { return "https://" + m.IP + ":8080" }
