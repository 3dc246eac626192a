package api

import (
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

const (
	// MaxConns is how many connections one listener serves at a time.
	MaxConns = 1024
	// maxHeader bounds a request's header, in bytes; net/http allows 4 KiB
	// beyond its limit.
	maxHeader = 32<<10 - 4096
)

// NewHTTPServer gives a server for a handler with every bound set that a
// listener needs. There is no timeout over a whole request: bodies and answers
// have deadlines that move with their progress. The caller sets TLS, ErrorLog
// and what else it needs before it serves.
func NewHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:                      handler,
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 512},
	}
}

// LimitConns bounds how many of a listener's connections are open at a time;
// further ones wait in the kernel's queue. n below 1 is MaxConns.
func LimitConns(l net.Listener, n int) net.Listener {
	if n < 1 {
		n = MaxConns
	}
	return netutil.LimitListener(l, n)
}
