package api

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/pipelined/pipelined/api/wire"
)

// preflightAge is how long a browser remembers a preflight, in seconds.
const preflightAge = "600"

// allowOrigin lets a page that a member served read the answer: it brings a token,
// and nothing that a browser sends by itself. It reports whether it is such a page.
func (g *guard) allowOrigin(c *call) bool {
	h := c.w.Header()
	h.Add("Vary", "Origin")
	origins := c.r.Header.Values("Origin")
	if len(origins) != 1 || !slices.ContainsFunc(g.addresses(), func(address string) bool { return isOrigin(origins[0], address) }) {
		return false
	}

	h.Set("Access-Control-Allow-Origin", origins[0])
	h.Set("Access-Control-Expose-Headers", "*")
	if c.preflight() {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Range, Range, If-None-Match, Last-Event-ID, "+
			wire.HeaderIdempotencyKey+", "+wire.HeaderRequestID)
		h.Set("Access-Control-Max-Age", preflightAge)
	}
	return true
}

// isOrigin reports whether a browser calls a page of an address by that origin: it
// leaves the usual port out, and a user may have written localhost.
func isOrigin(origin, address string) bool {
	if origin == address {
		return true
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return false
	case u.Hostname() == "127.0.0.1" && origin == u.Scheme+"://localhost:"+u.Port():
		return true
	}
	return (address == origin+":80" && u.Scheme == "http") || (address == origin+":443" && u.Scheme == "https")
}

// preflight reports whether a browser asks whether it may make a call.
func (c *call) preflight() bool {
	return c.r.Method == http.MethodOptions && c.r.Header.Get("Access-Control-Request-Method") != ""
}
