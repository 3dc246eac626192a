package external

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

var (
	errEndpoint  = errors.New("expected http://HOST:PORT or https://HOST:PORT and nothing more")
	errLinkLocal = errors.New("link-local addresses are not called: services of the machine listen there")
	errLoopback  = errors.New("loopback is called only for a worker that registers from there: give an address that the nodes can reach")
)

// checkEndpoint checks the address that a worker wants to be called at. What follows
// from a host's name is checked when it is called.
func checkEndpoint(endpoint string, loopback bool) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.TrimRight(endpoint, "/") != u.Scheme+"://"+u.Host { // neither path, query nor fragment
		return errEndpoint
	}

	if u.Hostname() == "localhost" && !loopback {
		return errLoopback
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return checkAddress(ip, loopback)
	}
	return nil
}

// checkAddress refuses addresses at which a machine serves itself.
func checkAddress(ip netip.Addr, loopback bool) error {
	ip = ip.Unmap()
	switch {
	case ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsMulticast():
		return errLinkLocal
	case (ip.IsLoopback() || ip.IsUnspecified()) && !loopback:
		return errLoopback
	}
	return nil
}

// newCaller makes a client for calls of workers. It checks every address that it
// connects to, whatever name led there.
func newCaller(loopback bool) *http.Client {
	d := net.Dialer{Timeout: callTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return checkAddress(to.Addr(), loopback)
	}}
	return &http.Client{
		Timeout: callTimeout,
		Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
			ResponseHeaderTimeout: callTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
