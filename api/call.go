package api

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Bounds of what a caller may ask for.
const (
	maxWait     = 5 * time.Minute
	defaultWait = 30 * time.Second
	maxList     = 1000
	maxCursor   = 512
)

// call is one request on its way through the server. One goroutine uses it.
type call struct {
	w   *response
	r   *http.Request
	log hclog.Logger
	// node is this node's name, for messages.
	node string
	// id is the request's id.
	id    string
	route *Route
	by    Subject
	// token is the bearer token that by was found by, "" if there is none here.
	token string
	// authenticated is set once by is known, or need not be.
	authenticated bool
	// peer is set on the port between nodes, forwarded if another node has passed
	// the request on, relayed if that node knows no leader.
	peer, forwarded, relayed bool
	// body is the decompressed JSON document, if the route takes one.
	body []byte
	// key is the Idempotency-Key.
	key string
	// run is the run that the path names, once it was found.
	run pipeline.RunID
	// current is set on reads that only the leader answers: nil if this node has
	// led since the call was placed, else pipeline.ErrNotLeader.
	current func() error
}

// callWriter carries the call through the ServeMux.
type callWriter struct {
	*response
	call *call
}

// callOf finds the call that a writer belongs to.
func callOf(w http.ResponseWriter) *call { return w.(*callWriter).call }

// ok answers 200 with a document.
func (c *call) ok(v any) error {
	c.json(http.StatusOK, v)
	return nil
}

// done answers 200 with wire.Success, or gives the error on.
func (c *call) done(err error) error {
	if err != nil {
		return err
	}

	return c.ok(wire.Success{Success: true})
}

// reply answers 200 with a document, or gives the error on.
func (c *call) reply(v any, err error) error {
	if err != nil {
		return err
	}

	return c.ok(v)
}

// created answers 201 with a document and the address of what was created.
func (c *call) created(location string, v any) error {
	c.w.Header().Set("Location", location)
	c.json(http.StatusCreated, v)
	return nil
}

// document decodes the body of a call; without a body it gives the zero value.
func document[T any](c *call) (T, error) {
	var in T
	if len(c.body) == 0 {
		return in, nil
	}

	err := decode(c.body, &in, c.route.Body != LenientBody)
	return in, err
}

// submission is the body of a call that takes a pipeline.
func (c *call) submission() (wire.SubmitRequest, error) {
	in, err := document[wire.SubmitRequest](c)
	if err != nil || in.Workspace == "" {
		return in, err
	}

	in.Workspace, err = digest(string(in.Workspace))
	return in, err
}

// module is the module's name in the path, or in the query of a path without one.
func (c *call) module() (string, error) {
	name, err := c.moduleParam()
	inPath := c.r.PathValue("module")
	switch {
	case err != nil:
		return "", err
	case inPath == "" && name == "":
		return "", invalid("query: missing module=NAME, or name it in the path: %s", strings.Replace(c.route.Pattern, "/modules/", "/modules/{module}/", 1))
	case inPath == "":
		return name, nil
	case name != "" && name != inPath:
		return "", invalid("module: the path names %.80q, the query %.80q", inPath, name)
	case !wire.ValidModule(inPath):
		return "", badModule(inPath)
	}
	return inPath, nil
}

// moduleParam is the module's name in the query; "" if there is none.
func (c *call) moduleParam() (string, error) {
	name := c.r.URL.Query().Get("module")
	if name != "" && !wire.ValidModule(name) {
		return "", badModule(name)
	}

	return name, nil
}

func badModule(name string) error {
	return invalid("module %.80q: expected a module's name, or an instance's as in build[linux,amd64]", name)
}

func digest(s string) (pipeline.Digest, error) {
	d, err := pipeline.ParseDigest(s)
	if err != nil {
		return "", invalid("%w", err)
	}

	return d, nil
}

// digests normalizes a list in place.
func digests(list []pipeline.Digest) (err error) {
	for i, d := range list {
		if list[i], err = digest(string(d)); err != nil {
			return err
		}
	}

	return nil
}

// flag reads a parameter that is set or not: ?name, ?name=1, ?name=false.
func flag(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	if q.Get(name) == "" {
		return true, nil
	}

	on, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, invalid("%s=%.40s: expected 1 or 0", name, q.Get(name))
	}
	return on, nil
}

// count reads a whole number from 0; def if the parameter is not given.
func count(q url.Values, name string, def uint64) (uint64, error) {
	if !q.Has(name) {
		return def, nil
	}

	n, err := strconv.ParseUint(q.Get(name), 10, 63)
	if err != nil {
		return 0, invalid("%s=%.40s: expected a whole number from 0", name, q.Get(name))
	}
	return n, nil
}

// listLimit is how many entries of a list are asked for, from 1 to most.
func listLimit(q url.Values, def, most uint64) (int, error) {
	n, err := count(q, "limit", def)
	if err != nil {
		return 0, err
	}
	if n < 1 || n > most {
		return 0, invalid("limit=%d: expected 1 to %d", n, most)
	}

	return int(n), nil
}

// requestID is the caller's id if it is well formed, else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get(wire.HeaderRequestID); token(id, 128) {
		return id
	}

	return strconv.FormatUint(rand.Uint64()|1<<63, 16)
}

// token reports whether s is 1 to max of letters, digits and "._:-".
func token(s string, max int) bool {
	if s == "" || len(s) > max {
		return false
	}

	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != ':' {
			return false
		}
	}
	return true
}
