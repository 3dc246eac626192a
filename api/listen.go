package api

import (
	"net/http"
	"time"
)

// maxHeader bounds a request's header, in bytes; net/http allows 4 KiB beyond its
// limit.
const maxHeader = 32<<10 - 4096

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
