package client

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// learnEvery is how long the members' addresses are taken as known.
	learnEvery = 15 * time.Second
	// learnWithin is how long a call waits to learn them by the way.
	learnWithin = 2 * time.Second
	// maxNodes bounds how many addresses are kept.
	maxNodes = 64
)

// nodes are the addresses that a client knows.
type nodes struct {
	mu sync.Mutex // guards following
	// list is in the order of arrival; good is the index of the one to ask
	// first.
	list []*url.URL
	good int
	// worked is set once any node answered. plain allows learned addresses
	// without TLS beyond loopback, since the user gave one like it.
	worked, plain bool
	// answers is the node that answered last, until it fails; nil if none does.
	answers *url.URL
	learned time.Time
	// schemes are those of addresses that were named as URLs, by host and port; common
	// is that of all members, "" while none is known or they differ.
	schemes map[string]string
	common  string
}

// parseAddress reads HOST:PORT or a URL.
func parseAddress(given string, secure bool) (*url.URL, error) {
	bad := func() (*url.URL, error) {
		return nil, pipeline.Errorf(pipeline.Invalid, "address %.200q: expected HOST:PORT, or a URL that begins with http:// or https://", given)
	}
	a := strings.TrimSpace(given)
	if !strings.Contains(a, "://") {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || port == "" {
			return bad()
		}

		scheme := "http"
		if secure && !loopback(host) {
			scheme = "https"
		}

		a = scheme + "://" + a
	}

	u, err := url.Parse(strings.TrimRight(a, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return bad()
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return bad()
		}
	}

	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}

	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// add keeps an address, unless it is known. A learned one is only trusted with
// a token over TLS, on loopback, or if the user named a plain one himself.
func (n *nodes) add(u *url.URL, learned bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	open := u.Scheme == "http" && !loopback(u.Hostname())
	if learned && open && !n.plain {
		return
	}

	n.plain = n.plain || open
	for _, have := range n.list {
		if have.String() == u.String() {
			return
		}
	}

	if len(n.list) < maxNodes {
		n.list = append(n.list, u)
	}
}

// name takes note of the scheme that an address has, whatever calls use.
func (n *nodes) name(address string) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.schemes == nil {
		n.schemes = map[string]string{}
	}
	if len(n.schemes) < maxNodes {
		n.schemes[u.Host] = u.Scheme
	}
}

// page is Client.Page. A node that was given by another address than its own, and without
// a scheme, has that of all members.
func (n *nodes) page() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.answers == nil {
		return ""
	}

	u := *n.answers
	u.Scheme = cmp.Or(n.schemes[u.Host], n.common, u.Scheme)
	return u.String()
}

func (n *nodes) len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.list)
}

func (n *nodes) first() *url.URL {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.list[n.good]
}

func (n *nodes) all() []*url.URL {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append(slices.Clone(n.list[n.good:]), n.list[:n.good]...)
}

// answered remembers a node that works.
func (n *nodes) answered(u *url.URL) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.worked, n.answers = true, u
	if i := slices.Index(n.list, u); i >= 0 {
		n.good = i
	}
}

// failed moves on from a node, if it is still the first.
func (n *nodes) failed(u *url.URL) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.answers == u {
		n.answers = nil
	}
	if n.list[n.good] == u {
		n.good = (n.good + 1) % len(n.list)
	}
}

func (n *nodes) everWorked() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.worked
}

// Learn asks for the members of the cluster and keeps their addresses, so that
// the client survives the node it was given. It does nothing if it did so a
// moment ago.
func (c *Client) Learn(ctx context.Context) error { return c.calls.learnMembers(ctx) }

// learnMembers is Client.Learn.
func (c *caller) learnMembers(ctx context.Context) error {
	if c.pinned {
		return nil
	}

	c.nodes.mu.Lock()
	fresh := time.Since(c.nodes.learned) < learnEvery
	c.nodes.mu.Unlock()
	if fresh {
		return nil
	}

	_, err := Cluster{c}.Members(ctx)
	return err
}

// learnSoon is Learn for calls that can continue without it. It
// is called while a node answers, and so as a rule takes no time to speak of.
func (c *caller) learnSoon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, learnWithin)
	defer cancel()
	_ = c.learnMembers(ctx) // there is one address less to go to, at worst
}

// meet is learnSoon at the beginning of something long. It fails if no node
// ever answered, which is better said at once.
func (c *caller) meet(ctx context.Context) error {
	if err := c.learnMembers(ctx); err != nil && (ctx.Err() != nil || !c.pinned && !c.nodes.everWorked()) {
		return err
	}
	return nil
}

// learn keeps the addresses of a list of members.
func (c *caller) learn(list wire.MemberList) {
	if c.pinned {
		return
	}

	schemes := map[string]bool{}
	for _, m := range list.Members {
		if m.HTTP == "" || m.Status == "left" || m.Status == "failed" {
			continue
		}
		if u, err := c.cfg.base(m.HTTP); err == nil {
			c.nodes.add(u, true)
			c.nodes.name(m.HTTP)
			scheme, _, _ := strings.Cut(m.HTTP, "://")
			schemes[scheme] = true
		}
	}

	c.nodes.mu.Lock()
	defer c.nodes.mu.Unlock()
	c.nodes.common = ""
	for scheme := range schemes {
		if len(schemes) == 1 && (scheme == "http" || scheme == "https") {
			c.nodes.common = scheme
		}
	}
	c.nodes.learned = time.Now()
}
