package main

import (
	"net"
	"strings"
)

// sdNotify tells systemd how the service does ("READY=1", "STOPPING=1") over
// the datagram socket that $NOTIFY_SOCKET names; without one it does nothing.
// A socket that begins with "@" is an abstract one.
func sdNotify(socket, state string) error {
	if socket == "" {
		return nil
	}

	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
		return usagef("NOTIFY_SOCKET %q: expected a path, or an abstract name with @", socket)
	}

	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return wrap("notify systemd", err)
	}

	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return wrap("notify systemd", err)
}
