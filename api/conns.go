package api

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mostConns bounds the connections of the HTTP port.
	mostConns = 1024
	// acceptPause is the time between two attempts to accept without descriptors.
	acceptPause = 20 * time.Millisecond
)

// portConns is how many connections the HTTP port may have: a quarter of the
// process's descriptors at most. A call may need a second one, for a file or
// another node; half of them stay for raft, the log and the modules.
func portConns() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return mostConns
	}
	return int(min(max(limit.Cur/4, 16), mostConns))
}

// share counts places and who holds them. No holder can take all: the last quarter
// is for those that hold less than a quarter.
type share[K comparable] struct {
	places, taken int
	by            map[K]int
}

func newShare[K comparable](places int) share[K] {
	return share[K]{places: places, by: map[K]int{}}
}

// full reports whether there is no place for a new connection.
func (s *share[K]) full() bool { return s.taken >= s.places }

// much reports whether a holder has as many places as it may have in any case.
func (s *share[K]) much(k K) bool { return s.by[k] >= max(s.places/4, 1) }

// free reports whether a holder may take one more place.
func (s *share[K]) free(k K) bool {
	return !s.full() && (s.taken < s.places-s.places/4 || !s.much(k))
}

func (s *share[K]) take(k K) {
	s.taken++
	s.by[k]++
}

func (s *share[K]) give(k K) {
	s.taken--
	if s.by[k]--; s.by[k] == 0 {
		delete(s.by, k)
	}
}

// conns bounds how many connections of a listener are open, shared between the
// addresses that they come from. If there is no place for a new one, the longest idle
// one goes; if none is idle, the new one is closed. It is safe for concurrent use.
type conns struct {
	net.Listener

	mu     sync.Mutex // guards following
	shares share[netip.Addr]
	open   map[*conn]struct{}
}

// conn is a connection that counts.
type conn struct {
	net.Conn
	of   *conns
	from netip.Addr
	// idle is when its last request ended, or when it was accepted; zero while it
	// serves one. of.mu guards it.
	idle time.Time
}

func limitConns(l net.Listener, n int) *conns {
	return &conns{Listener: l, shares: newShare[netip.Addr](n), open: map[*conn]struct{}{}}
}

// Accept gives the next connection that has a place.
func (l *conns) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			if t := l.admit(c); t != nil {
				return t, nil
			}
		case temporary(err):
			// Perhaps no caller is about to close a connection, so one that is idle goes.
			l.mu.Lock()
			victim := l.longestIdle(func(*conn) bool { return true })
			l.mu.Unlock()
			if victim != nil {
				_ = victim.Close()
			}
			time.Sleep(acceptPause)
		default:
			return nil, err
		}
	}
}

// admit gives a connection a place, or closes it and gives nil.
func (l *conns) admit(c net.Conn) *conn {
	t := &conn{Conn: c, of: l, from: source(c), idle: time.Now()}

	l.mu.Lock()
	var victim *conn
	if !l.shares.free(t.from) {
		much := l.shares.much(t.from)
		victim = l.longestIdle(func(other *conn) bool { return !much || other.from == t.from })
		if victim == nil {
			l.mu.Unlock()
			_ = c.Close()
			return nil
		}
		l.drop(victim)
	}
	l.open[t] = struct{}{}
	l.shares.take(t.from)
	l.mu.Unlock()

	if victim != nil {
		_ = victim.Close()
	}
	return t
}

// longestIdle gives the idle connection that is to go: one of the address that has
// most of them, and of these the one that has served nothing for longest; nil if
// none is idle. mu is held.
func (l *conns) longestIdle(of func(*conn) bool) (victim *conn) {
	for c := range l.open {
		if c.idle.IsZero() || !of(c) {
			continue
		}
		if victim == nil || l.shares.by[c.from] > l.shares.by[victim.from] ||
			l.shares.by[c.from] == l.shares.by[victim.from] && c.idle.Before(victim.idle) {
			victim = c
		}
	}
	return victim
}

// drop gives a connection's place back, once. mu is held.
func (l *conns) drop(c *conn) {
	if _, ok := l.open[c]; ok {
		delete(l.open, c)
		l.shares.give(c.from)
	}
}

// state is the hook of http.Server that notes which connections are idle. One whose
// request has not arrived as a whole is.
func (l *conns) state(c net.Conn, s http.ConnState) {
	t := counted(c)
	if t == nil {
		return
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	switch s {
	case http.StateNew:
	case http.StateIdle:
		t.idle = time.Now()
	default:
		t.idle = time.Time{}
	}
}

// Close closes the connection and gives its place back. Idempotent.
func (c *conn) Close() error {
	c.of.mu.Lock()
	c.of.drop(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// counted finds the connection that counts below those that the sniffer made of it;
// nil if there is none.
func counted(c net.Conn) *conn {
	for {
		switch t := c.(type) {
		case *conn:
			return t
		case *peeked:
			c = t.Conn
		case *tls.Conn:
			c = t.NetConn()
		default:
			return nil
		}
	}
}

// source is the address that a connection counts for. One host has a whole /64 of
// IPv6.
func source(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	addr := at.Addr().Unmap()
	if addr.Is6() && !addr.IsLoopback() {
		prefix, _ := addr.Prefix(64) // an IPv6 address has one of 64 bits
		return prefix.Addr()
	}
	return addr.WithZone("")
}

// temporary reports whether a listener that failed to accept may be able to later.
func temporary(err error) bool {
	var no syscall.Errno
	return errors.As(err, &no) && no.Temporary()
}
