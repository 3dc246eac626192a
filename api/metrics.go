package api

import (
	"net/http"
	"path"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// metricsHandler serves what the node measures.
type metricsHandler struct {
	page http.Handler
	open bool
}

func (h *metricsHandler) routes() []Route {
	rt := Route{Method: "GET", Pattern: "/metrics", Role: RoleRead,
		Summary: "what this node measures, for Prometheus; without a token if metrics_open is set",
		// Prometheus chooses the form and the compression by its own headers.
		Produces: "text/plain; version=0.0.4", serve: h.serve}
	if h.open {
		rt.Role = ""
	}
	return []Route{rt}
}

func (h *metricsHandler) serve(c *call) error {
	if h.page == nil {
		return pipeline.Errorf(pipeline.NotFound, "this node measures nothing: it is not an agent")
	}

	h.page.ServeHTTP(c.w, c.r)
	return nil
}

// otherRoute is the label of requests for paths that do not exist, and of those that
// were refused before their path was looked at.
const otherRoute = "_other"

// label names the route in metrics. It is one of a fixed list, whatever callers send.
func (rt *Route) label() string { return rt.Method + " " + rt.Pattern }

// kind names what a long call does: the last word of its pattern.
func (rt *Route) kind() string {
	pattern := rt.Pattern
	for strings.HasSuffix(pattern, "}") {
		pattern = path.Dir(pattern)
	}
	return path.Base(pattern)
}
