package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// isolated names the test that runs in a network namespace of its own.
	isolated = "PIPELINED_ISOLATED"
	// linkNet is the first three numbers of the addresses of a Network, which exist
	// in its namespaces only; linkOwn is that of the test itself.
	linkNet, linkOwn = "10.99.0", "10.99.0.254"
	// linkQueue is how many packets one direction of a link holds.
	linkQueue = 8192
)

// Isolated reports whether the test runs in a network namespace of its own, so
// that nothing of it reaches the machine's network. If not, it runs the test again
// in one, and the caller returns. It skips the test if this machine cannot.
func Isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolated) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		t.Skipf("needs TUN devices: %v", err)
	} else {
		f.Close()
	}
	for _, name := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s (packages iproute2 and util-linux)", name)
		}
	}

	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), isolated+"="+t.Name(), "PIPELINED_BIN="+Binary(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // its end would kill the process
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("needs network namespaces: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	return false
}

// Link is what happens to packets in one direction.
type Link struct {
	Delay, Jitter time.Duration
	// Loss is the share of packets that are lost.
	Loss float64
}

// Network connects the nodes of a cluster: each is in an empty network namespace
// with a TUN device, and this process moves packets between the devices. The
// test's own packets are not delayed.
type Network struct {
	tb testing.TB

	mu    sync.Mutex // guards following
	ports map[netip.Addr]*os.File
	links map[direction]Link
	lines map[direction]chan packet
}

// direction is from one address to another.
type direction struct{ from, to netip.Addr }

// packet leaves a link when it is due.
type packet struct {
	due  time.Time
	data []byte
}

// StartSlow makes a cluster of n agents on a Network on which all links between
// them are like link, and starts them. It does not wait for a leader.
func StartSlow(tb testing.TB, n int, link Link, args ...string) (*Cluster, *Network) {
	tb.Helper()
	c := New(tb)
	c.Place(linkNet)
	c.MakeKey()
	w := &Network{tb: tb, ports: map[netip.Addr]*os.File{}, links: map[direction]Link{}, lines: map[direction]chan packet{}}
	tb.Cleanup(w.close)
	w.sh("ip link set lo up")
	w.open(linkOwn, "")
	for range n {
		x := c.Add(args...)
		w.connect(x)
	}
	for i, a := range c.Nodes {
		for _, b := range c.Nodes[:i] {
			w.Between(a, b, link)
		}
	}
	for _, x := range c.Nodes {
		x.Start()
	}
	return c, w
}

// Between changes both directions between two nodes.
func (w *Network) Between(a, b *Node, link Link) {
	x, y := netip.MustParseAddr(a.IP), netip.MustParseAddr(b.IP)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links[direction{x, y}], w.links[direction{y, x}] = link, link
}

// Around changes all links of a node.
func (w *Network) Around(n *Node, link Link) {
	for _, x := range n.c.Nodes {
		if x != n {
			w.Between(n, x, link)
		}
	}
}

// connect gives a node a network namespace and a device.
func (w *Network) connect(n *Node) {
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	pid := strconv.Itoa(holder.Process.Pid)
	w.open(n.IP, pid)
	n.Under("nsenter", "-t", pid, "-n")
}

// open makes a device with an address, in the namespace of a process or in this
// one's, and moves what comes from it.
func (w *Network) open(ip, pid string) {
	w.tb.Helper()
	name := "tun" + ip[strings.LastIndexByte(ip, '.')+1:]
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		w.tb.Fatal(err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		w.tb.Fatalf("make a TUN device: %v", err)
	}
	port := os.NewFile(uintptr(fd), name)

	in := ""
	if pid != "" {
		w.sh("ip link set " + name + " netns " + pid)
		in = "nsenter -t " + pid + " -n "
		w.sh(in + "ip link set lo up")
	}
	w.sh(in + "ip addr add " + ip + "/24 dev " + name)
	w.sh(in + "ip link set " + name + " up")

	w.mu.Lock()
	w.ports[netip.MustParseAddr(ip)] = port
	w.mu.Unlock()
	go w.read(port) // ends with the device
}

// read takes packets from a device and puts them on their links.
func (w *Network) read(port *os.File) {
	buf := make([]byte, 1<<16)
	for {
		n, err := port.Read(buf)
		if err != nil {
			return
		}
		if n < 20 || buf[0]>>4 != 4 {
			continue
		}
		d := direction{netip.AddrFrom4([4]byte(buf[12:16])), netip.AddrFrom4([4]byte(buf[16:20]))}
		w.send(d, buf[:n])
	}
}

// send puts a packet on a link.
func (w *Network) send(d direction, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to, link := w.ports[d.to], w.links[d]
	if to == nil || rand.Float64() < link.Loss {
		return
	}
	line := w.lines[d]
	if line == nil {
		line = make(chan packet, linkQueue)
		w.lines[d] = line
		go deliver(line, to) // ends when the line is closed
	}
	due := time.Now().Add(link.Delay)
	if link.Jitter > 0 {
		due = due.Add(rand.N(link.Jitter))
	}
	select {
	case line <- packet{due, append([]byte(nil), data...)}:
	default: // as a switch whose buffer is full
	}
}

// close ends the network.
func (w *Network) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, port := range w.ports {
		port.Close()
	}
	for _, line := range w.lines {
		close(line)
	}
	clear(w.ports) // nothing is sent from now on
}

// deliver hands packets over when they are due, in their order.
func deliver(line <-chan packet, to *os.File) {
	for p := range line {
		<-time.After(time.Until(p.due))
		_, _ = to.Write(p.data) // a device that is gone has no reader
	}
}

// sh runs a command that must succeed.
func (w *Network) sh(line string) {
	w.tb.Helper()
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		w.tb.Fatal(fmt.Errorf("%s: %w\n%s", line, err, out))
	}
}
