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

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster/gossip"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// defaultGossipPort is assumed if -join names none.
	defaultGossipPort = 7946
	// minRetry and maxRetry bound the pause between rounds of joining.
	minRetry = 200 * time.Millisecond
	maxRetry = 5 * time.Second
	// reconnectInterval is how often a node with other members around tries those
	// that gossip has given up: only so do two halves of a cluster reunite.
	reconnectInterval = 5 * time.Second
	// warnInterval is after how long a node that waits logs it, at first and if what it
	// finds has changed; repeatInterval is how often it repeats the same.
	warnInterval   = 10 * time.Second
	repeatInterval = time.Minute
	// maxWarned is how many refusals are remembered, to log each one seldom.
	maxWarned = 64
)

// targets are the addresses that -join names, without this node's own.
type targets struct {
	hosts    []string // host:port
	own      func(ip net.IP, port string) bool
	namesOwn bool
}

// newTargets removes addresses of this node. Host names are looked up later.
func newTargets(join []string, advertise, bind string, port int) *targets {
	t := &targets{own: ownPort(advertise, bind, port)}
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

// ownPort gives a function that reports whether this node has a port at an address.
func ownPort(advertise, bind string, port int) func(ip net.IP, port string) bool {
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
	own := strconv.Itoa(port)
	return func(ip net.IP, port string) bool { return port == own && slices.ContainsFunc(ownIPs, ip.Equal) }
}

// withPort adds the default port of gossip if there is none.
func withPort(host string) string {
	if host == "" {
		return ""
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(defaultGossipPort))
}

// resolve looks up the addresses of all targets, without this node's own. Names
// that cannot be looked up now are left out, and unknown says why. namesOwn reports
// that one of the targets is this node.
func (t *targets) resolve(ctx context.Context) (out []string, namesOwn bool, unknown []error) {
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
				unknown = append(unknown, err)
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
	return out, namesOwn, unknown
}

// onlyOwn reports whether every target was found to be this node.
func (t *targets) onlyOwn(ctx context.Context) bool {
	for _, hp := range t.hosts {
		host, port, err := net.SplitHostPort(hp)
		if err != nil {
			return false
		}
		ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
		if err != nil || len(ips) == 0 || slices.ContainsFunc(ips, func(ip net.IP) bool { return !t.own(ip, port) }) {
			return false
		}
	}
	return true
}

// joiner connects this node's gossip to other members, again and again: two
// halves of a cluster can lose each other at any time.
type joiner struct {
	cfg     *Config
	log     hclog.Logger
	view    *view
	targets *targets
	// remembered are the targets of an earlier start.
	remembered *targets
	changes    *subscribers
	clusterID  func() string
	// connect joins the node at a gossip address.
	connect func(ctx context.Context, addr string) error
	// ownAddr is this node's own gossip address.
	ownAddr string
	// unknown is why names could not be looked up when that was tried last.
	unknown []error
	// warned is when each refusal was logged last, and how often it came since.
	warned map[string]repeated
}

// repeated says when something was logged last, and how often it came since.
type repeated struct {
	at    time.Time
	times int
}

// run joins until ctx is done: fast at first, then every few seconds.
func (j *joiner) run(ctx context.Context) error {
	if j.cfg.Mode == pipeline.ModeStandalone {
		return nil
	}
	// The jitter keeps nodes that lost the same member from returning together.
	retry := &backoff.ExponentialBackOff{InitialInterval: minRetry, Multiplier: 2, RandomizationFactor: 0.2, MaxInterval: maxRetry}
	retry.Reset()
	said, last := time.Now(), "nothing yet"
	changed, stop := j.changes.add()
	defer stop()

	for {
		alone := !j.view.company()
		addrs := j.candidates(ctx, alone || j.clusterID() == "")
		joined, failed, refused := j.round(ctx, addrs)
		for _, err := range j.unknown {
			if j.clusterID() == "" {
				j.warn(err.Error())
				refused = true
			} else {
				failed = append(failed, err.Error())
			}
		}

		waiting := j.clusterID() == "" || alone && len(addrs) > 0 && joined == 0
		text := strings.Join(failed, ", ")
		if explained := refused && text == ""; waiting && !explained && (time.Since(said) >= repeatInterval || text != last && time.Since(said) >= warnInterval) {
			j.log.Warn("still looking for the cluster", "tried", failed)
			said, last = time.Now(), text
		}

		pause := retry.NextBackOff()
		switch {
		case j.clusterID() != "" && j.view.company():
			pause = reconnectInterval + rand.N(reconnectInterval/4)
			retry.Reset()
		case alone && j.clusterID() != "" && len(addrs) == 0:
			pause = maxRetry
		}
		if !j.wait(ctx, pause, changed) {
			return nil
		}
	}
}

// round tries each address once. refused is set if warnRefused said why some failed; the
// others are in failed.
func (j *joiner) round(ctx context.Context, addrs []string) (joined int, failed []string, refused bool) {
	for _, a := range addrs {
		if err := j.connect(ctx, a); err != nil {
			j.log.Debug("cannot join", "error", err)
			if j.warnRefused(err) {
				refused = true
			} else {
				failed = append(failed, err.Error())
			}
			continue
		}
		joined++
	}
	return joined, failed, refused
}

// wait waits for the pause to end; it ends early if the last other member is
// lost. It reports false if ctx is done.
func (j *joiner) wait(ctx context.Context, pause time.Duration, changed <-chan struct{}) bool {
	had := j.view.company()
	timer := time.NewTimer(pause)
	defer timer.Stop()

	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-changed:
			if had && !j.view.company() {
				return true
			}
		}
	}
}

// warnRefused logs refusals that only an operator can resolve, each one seldom. It
// reports whether err is one.
func (j *joiner) warnRefused(err error) bool {
	text := err.Error()
	var wrong *gossip.WrongKeyError
	if !errors.As(err, &wrong) && !errors.Is(err, gossip.ErrOtherPort) && !strings.HasPrefix(text, "refused ") || strings.HasSuffix(text, givesUp) {
		return false
	}
	if wrong != nil {
		text += ": if they are to be one cluster, copy the key from there; `pipelined keygen -fingerprint FILE` tells keys apart"
	}
	j.warn(text)
	return true
}

// warn says why the node cannot join, and repeats that after repeatInterval only.
func (j *joiner) warn(text string) {
	before := j.warned[text]
	if !before.at.IsZero() && time.Since(before.at) < repeatInterval {
		before.times++
		j.warned[text] = before
		return
	}
	if len(j.warned) > maxWarned || j.warned == nil {
		j.warned = map[string]repeated{}
	}
	j.warned[text] = repeated{at: time.Now()}
	if before.times > 0 {
		j.log.Error("still cannot join: "+text, "tries", before.times+1)
		return
	}
	j.log.Error("cannot join: " + text)
}

// candidates are the addresses to try now: where members said that they are now, then
// remembered peers, -join, and members that have failed; never one that is alive
// already. Unless all are wanted, one of them at random is enough.
func (j *joiner) candidates(ctx context.Context, all bool) []string {
	alive := map[string]bool{j.ownAddr: true}
	var moved, failed []string
	for _, m := range j.view.gossip.Members() {
		moved = append(moved, m.Elsewhere...)
		switch m.Status {
		case gossip.Alive:
			alive[m.Addr] = true
		case gossip.Failed:
			failed = append(failed, m.Addr)
		}
	}

	var joins []string
	joins, _, j.unknown = j.targets.resolve(ctx)
	var named []string
	if all && j.clusterID() != "" { // a node without a cluster joins only those that it was given
		named, _, _ = j.remembered.resolve(ctx)
	}
	var out []string
	for _, list := range [][]string{moved, j.cfg.RememberedPeers, joins, failed, named} {
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
