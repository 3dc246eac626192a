package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// defaultGossipPort is assumed where -join names none.
	defaultGossipPort = 7946
	// minRetry and maxRetry bound the pause between rounds of joining.
	minRetry = 100 * time.Millisecond
	maxRetry = 5 * time.Second
	// reconnectEvery is how often a node that has company looks for members
	// that gossip has given up: two halves of a cluster find each other again
	// only so.
	reconnectEvery = 5 * time.Second
	// sayEvery is how often a node that waits says so.
	sayEvery = 10 * time.Second
)

// targets are the addresses that -join names, as far as they are others'.
type targets struct {
	hosts    []string // host:port
	own      func(ip net.IP, port string) bool
	namesOwn bool
}

// newTargets takes out what surely is this node; names are looked up later.
func newTargets(join []string, advertise, bind string, port int) *targets {
	t := &targets{}
	ownIPs := []net.IP{net.ParseIP(advertise), net.ParseIP(bind)}
	if ownIPs[1].IsUnspecified() {
		if addrs, err := net.InterfaceAddrs(); err == nil {
			for _, a := range addrs {
				if n, ok := a.(*net.IPNet); ok {
					ownIPs = append(ownIPs, n.IP)
				}
			}
		}
	}
	ownPort := strconv.Itoa(port)
	t.own = func(ip net.IP, port string) bool {
		return port == ownPort && slices.ContainsFunc(ownIPs, ip.Equal)
	}
	for _, j := range join {
		for _, host := range strings.Split(j, ",") {
			if host = withPort(strings.TrimSpace(host)); host == "" || slices.Contains(t.hosts, host) {
				continue
			}
			if h, p, err := net.SplitHostPort(host); err == nil && net.ParseIP(h) != nil && t.own(net.ParseIP(h), p) {
				t.namesOwn = true
				continue
			}
			t.hosts = append(t.hosts, host)
		}
	}
	return t
}

// withPort adds the default port of gossip where there is none.
func withPort(host string) string {
	if host == "" {
		return ""
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(defaultGossipPort))
}

// resolve gives the addresses of all targets of this moment, without our own.
// Names that cannot be looked up now give nothing. namesOwn tells that one of
// them was our own.
func (t *targets) resolve(ctx context.Context) (out []string, namesOwn bool) {
	namesOwn = t.namesOwn
	for _, hp := range t.hosts {
		host, port, err := net.SplitHostPort(hp)
		if err != nil {
			continue
		}
		ips := []net.IP{net.ParseIP(host)}
		if ips[0] == nil {
			lctx, cancel := context.WithTimeout(ctx, askTimeout)
			ips, err = net.DefaultResolver.LookupIP(lctx, "ip", host)
			cancel()
			if err != nil {
				continue
			}
		}
		for _, ip := range ips {
			if t.own(ip, port) {
				namesOwn = true
				continue
			}
			if a := net.JoinHostPort(ip.String(), port); !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out, namesOwn
}

// settle decides at the start what a node without a cluster waits for: whether
// it is the first, and how many fresh nodes must see each other otherwise.
//
//   - told to join nobody but itself, it is the first;
//   - told with -expect, it waits for that many;
//   - with itself among others in -join, it waits for all of them, so that
//     several nodes started with one and the same list make one cluster;
//   - with others only, it waits for their cluster and never makes its own.
func (c *Cluster) settle(ctx context.Context) (first bool) {
	if c.cfg.Mode == pipeline.ModeWorker {
		return false
	}
	if c.cfg.Mode == pipeline.ModeStandalone {
		return true
	}
	others, namesOwn := c.targets.resolve(ctx)
	// A name that nobody can look up yet is not ourselves.
	alone := len(others) == 0 && (len(c.targets.hosts) == 0 || c.onlyOwnNames(ctx))
	switch {
	case c.cfg.Expect > 0:
		c.expect = c.cfg.Expect
	case alone:
		return true
	case namesOwn:
		c.expect = len(others) + 1
	}
	return c.expect == 1
}

// onlyOwnNames reports whether every target was found to be ourselves.
func (c *Cluster) onlyOwnNames(ctx context.Context) bool {
	for _, hp := range c.targets.hosts {
		host, port, err := net.SplitHostPort(hp)
		if err != nil {
			return false
		}
		ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
		if err != nil || len(ips) == 0 || slices.ContainsFunc(ips, func(ip net.IP) bool { return !c.targets.own(ip, port) }) {
			return false
		}
	}
	return true
}

// joinLoop looks for company, for ever: fast at first, then every few seconds.
func (c *Cluster) joinLoop(ctx context.Context) error {
	if c.cfg.Mode == pipeline.ModeStandalone {
		return nil
	}
	pause, said := minRetry, time.Now()
	changed, stop := c.Changes()
	defer stop()
	for {
		lonely := !c.hasCompany()
		addrs := c.wanted(ctx, lonely || c.ID() == "")
		var failed []string
		joined := 0
		for _, a := range addrs {
			if err := c.gossip.Join(ctx, a); err != nil {
				failed = append(failed, err.Error())
				c.log.Debug("cannot join", "reason", err)
				c.sayRefused(err)
				continue
			}
			joined++
		}
		waiting := c.ID() == "" || lonely && len(addrs) > 0 && joined == 0
		if waiting && time.Since(said) >= sayEvery {
			c.log.Warn("still looking for the cluster, and will go on", "tried", failed)
			said = time.Now()
		}
		if c.ID() != "" && c.hasCompany() {
			pause = reconnectEvery
		} else if pause = pause * 2; pause > maxRetry {
			pause = maxRetry
		}
		if lonely && c.ID() != "" && len(addrs) == 0 {
			pause = maxRetry
		}
		if !c.waitToRetry(ctx, pause, changed) {
			return nil
		}
		if pause == reconnectEvery && !c.hasCompany() {
			pause = minRetry
		}
	}
}

// waitToRetry waits for the pause to end; it ends early where company was lost.
func (c *Cluster) waitToRetry(ctx context.Context, pause time.Duration, changed <-chan struct{}) bool {
	had := c.hasCompany()
	// Several nodes that lost the same one need not all knock at once.
	timer := time.NewTimer(pause + rand.N(pause/4+1))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-changed:
			if had && !c.hasCompany() {
				return true
			}
		}
	}
}

// sayRefused tells people what only they can mend, seldom enough.
func (c *Cluster) sayRefused(err error) {
	text := err.Error()
	if !errors.Is(err, gossip.ErrWrongKey) && !strings.HasPrefix(text, "refused ") || strings.HasSuffix(text, givesUp) {
		return
	}
	c.mu.Lock()
	last := c.refusedSaid[text]
	again := time.Since(last) >= sayEvery
	if again {
		if len(c.refusedSaid) > 64 {
			clear(c.refusedSaid)
		}
		c.refusedSaid[text] = time.Now()
	}
	c.mu.Unlock()
	if again {
		c.log.Error("cannot join: " + text)
	}
}

// hasCompany reports whether another node is alive.
func (c *Cluster) hasCompany() bool {
	for _, m := range c.gossip.Members() {
		if m.Status == gossip.Alive && m.ID != string(c.cfg.NodeID) {
			return true
		}
	}
	return false
}

// wanted are the addresses to try now: remembered peers first, then -join, and
// members that have failed; never one that is alive already. With company, one
// of them at a time.
func (c *Cluster) wanted(ctx context.Context, all bool) []string {
	alive := map[string]bool{c.Addresses().Gossip: true}
	var failed []string
	for _, m := range c.gossip.Members() {
		switch m.Status {
		case gossip.Alive:
			alive[m.Addr] = true
		case gossip.Failed:
			failed = append(failed, m.Addr)
		}
	}
	joins, _ := c.targets.resolve(ctx)
	var out []string
	for _, list := range [][]string{c.cfg.RememberedPeers, joins, failed} {
		for _, a := range list {
			if !alive[a] && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	if !all && len(out) > 1 {
		out = []string{out[rand.N(len(out))]}
	}
	return out
}

// givesUp ends the refusals that pass by themselves.
const givesUp = " gives up its own empty cluster first"

// admitMember refuses nodes of other clusters. It is called with memberlist's
// locks held.
func (c *Cluster) admitMember(self gossip.Meta, other gossip.Member) error {
	o := other.Meta
	switch {
	case self.Mode == pipeline.ModeStandalone:
		return errors.New("this node is standalone and takes nobody in")
	case o.Mode == pipeline.ModeStandalone:
		return errors.New("it is standalone and takes nobody in")
	case self.Cluster == "" || o.Cluster == "" || self.Cluster == o.Cluster:
		return nil
	case self.Yields && (!o.Yields || o.Cluster < self.Cluster):
		select {
		case c.giveWayTo <- o.Cluster:
		default:
		}
		return errors.New("this node" + givesUp)
	case o.Yields:
		return errors.New("it" + givesUp)
	}
	return &mismatchError{own: self.Cluster, other: o.Cluster}
}

// mismatchError says which clusters do not go together.
type mismatchError struct{ own, other string }

func (e *mismatchError) Error() string {
	return "it belongs to cluster " + e.other + ", this node to " + e.own +
		": to move a node, run \"pipelined leave\" on it, or start it with an empty -data-dir and -join"
}

// noteConflict is told that another address uses our id.
func (c *Cluster) noteConflict(other gossip.Member) {
	select {
	case c.conflicts <- other:
	default:
	}
}
