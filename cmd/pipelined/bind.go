package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/internal/tempdir"
)

// devDir makes a data directory in memory where there is a filesystem for that.
func devDir() (string, error) {
	base := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		base = "/dev/shm"
	}

	dir, err := tempdir.Make(base, "dev")
	if err != nil {
		dir, err = tempdir.Make("", "dev")
	}

	if err != nil {
		return "", wrap("create a data directory in memory", err)
	}

	return filepath.Clean(dir), nil
}

// resolveBind turns -bind into an IP. told is what people should know of the
// choice, "" for nothing.
func resolveBind(bind string, join []string) (ip, told string, err error) {
	switch bind {
	case "":
		var unknown []string
		for _, host := range join {
			switch ip, err := routeTo(host); {
			case err != nil:
				unknown = append(unknown, host)
			case ip != "":
				return ip, fmt.Sprintf("-join names another machine: binding %s, the address of the route to %s (-bind overrides it)", ip, host), nil
			}
		}

		if len(unknown) > 0 {
			told = fmt.Sprintf("no route to %s: binding 127.0.0.1, which other machines cannot reach (-bind overrides it)", strings.Join(unknown, ", "))
		}

		return "127.0.0.1", told, nil
	case "private", "public":
		ip, err := interfaceAddress(bind == "private")
		if err != nil {
			return "", "", usagef("-bind %s: %w", bind, err)
		}

		return ip, "binding " + ip, nil
	}

	if net.ParseIP(bind) == nil {
		return "", "", usagef("-bind %q: expected an IP address, private or public", bind)
	}

	return bind, "", nil
}

// routeTo gives the own address of the route to another machine; "" if the
// host is this machine.
func routeTo(host string) (string, error) {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "7946")
	}

	conn, err := net.Dial("udp", host) // sends nothing
	if err != nil {
		return "", wrap("find the route to "+host, err)
	}

	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	remote, ok2 := conn.RemoteAddr().(*net.UDPAddr)
	if !ok || !ok2 || local.IP.IsLoopback() || local.IP.Equal(remote.IP) {
		return "", nil
	}

	return local.IP.String(), nil
}

// interfaceAddress gives the first address of this machine that is private, or
// that is not; IPv4 first.
func interfaceAddress(private bool) (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", wrap("list the addresses of this machine", err)
	}

	var found []net.IP
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if ok && n.IP.IsGlobalUnicast() && n.IP.IsPrivate() == private {
			found = append(found, n.IP)
		}
	}

	slices.SortStableFunc(found, func(a, b net.IP) int {
		is6 := func(ip net.IP) int {
			if ip.To4() == nil {
				return 1
			}
			return 0
		}
		return is6(a) - is6(b)
	})
	if len(found) == 0 {
		return "", errors.New("this machine has no such address")
	}

	return found[0].String(), nil
}
