package webhook

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/pipelined/pipelined/pipeline"
)

// maxURL bounds the address of a receiver, in bytes.
const maxURL = 2048

// Rules say which addresses receivers may have. The zero value refuses those that lead
// to this machine or its link: an agent can reach there what the caller who names the
// receiver cannot.
type Rules struct {
	// Allow lists ranges that are not refused.
	Allow []netip.Prefix
}

// ParseRules reads ranges that are allowed: addresses, or prefixes such as 127.0.0.0/8.
func ParseRules(allow []string) (Rules, error) {
	var r Rules
	for _, text := range allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return Rules{}, pipeline.Errorf(pipeline.Invalid, "%.80q: expected an IP address or a range, such as 127.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if p.Addr().Is4In6() {
			return Rules{}, pipeline.Errorf(pipeline.Invalid, "%.80q: write the address as IPv4", text)
		}
		r.Allow = append(r.Allow, p.Masked())
	}
	return r, nil
}

// special are ranges that are refused, besides those that netip.Addr knows, with what
// they are.
var special = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this machine"},
	{netip.MustParsePrefix("255.255.255.255/32"), "a broadcast address"},
	{netip.MustParsePrefix("fec0::/10"), "link-local"},
	// Where machines of clouds find their credentials, if not at a link-local address.
	{netip.MustParsePrefix("100.100.100.200/32"), "a cloud's metadata service"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "a cloud's metadata service"},
}

// embedding are ranges of IPv6 whose addresses lead to an IPv4 address in them, and
// the byte at which it begins.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// Check refuses an address that a receiver may not have.
func (r Rules) Check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	what := kindOf(addr)
	if what == "" {
		return nil
	}
	for _, p := range r.Allow {
		if p.Contains(addr) {
			return nil
		}
	}
	return pipeline.Errorf(pipeline.Forbidden, "the address %s is %s: receivers there are refused, unless webhook_allow in the configuration of the agents names it", addr, what)
}

// kindOf is what makes an address one to refuse, "" if nothing does.
func kindOf(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return "not valid"
	case addr.IsUnspecified():
		return "this machine"
	case addr.IsLoopback():
		return "loopback"
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case addr.IsMulticast():
		return "a multicast address"
	}

	for _, s := range special {
		if s.prefix.Contains(addr) {
			return s.what
		}
	}
	for _, e := range embedding {
		if e.prefix.Contains(addr) {
			b := addr.As16()
			return kindOf(netip.AddrFrom4([4]byte(b[e.at : e.at+4])))
		}
	}
	return ""
}

// control refuses a connection before it is made: address is what is dialled, whatever
// a name resolved to before.
func (r Rules) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return r.Check(to.Addr())
}

// CheckURL refuses what cannot be the address of a receiver. An address in place of a
// name is checked by the rules; what a name resolves to, when it is dialled.
func (r Rules) CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return pipeline.Errorf(pipeline.Invalid, "url: at most %d bytes", maxURL)
	case err != nil:
		return pipeline.Errorf(pipeline.Invalid, "url %.80q: expected one such as https://example.com/hook", text)
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Opaque != "":
		return pipeline.Errorf(pipeline.Invalid, "url %.80q: expected https:// or http:// and a host", text)
	case u.User != nil:
		return pipeline.Errorf(pipeline.Invalid, "url: a user and a password in it would be shown in lists; the receiver verifies the signature instead")
	case u.Fragment != "":
		return pipeline.Errorf(pipeline.Invalid, "url %.80q: a receiver does not get what follows #", text)
	case strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return pipeline.Errorf(pipeline.Invalid, "url %.80q: has spaces or control characters", text)
	}

	if ip := net.ParseIP(u.Hostname()); ip != nil {
		addr, _ := netip.AddrFromSlice(ip) // it is one
		return r.Check(addr)
	}
	return nil
}
