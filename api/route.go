package api

import (
	"reflect"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
)

// Where says which node serves a route.
type Where int

// The places of routes.
const (
	// Anywhere: the node that was asked.
	Anywhere Where = iota
	// OnState: any node that holds the replicated state.
	OnState
	// OnLeader: the leader. If the route's Stale is set, a read with ?stale=1 is
	// served as OnState.
	OnLeader
	// OnNode: the node that the path names.
	OnNode
)

// Body says what a route reads.
type Body int

// The bodies of requests.
const (
	NoBody Body = iota
	// JSONBody is one JSON object; unknown fields are refused.
	JSONBody
	// OptionalBody is JSONBody, or nothing at all.
	OptionalBody
	// LenientBody is JSONBody with unknown fields ignored: the protocol's calls,
	// which programs of other versions and languages make.
	LenientBody
	// StreamBody is bytes of any number up to the route's limit.
	StreamBody
)

// Limits of documents, in bytes.
const (
	maxDocument = 1 << 20
	maxRunDoc   = 2 << 20
	// A follower of the largest runs sends one position per module.
	maxPositions = 8 << 20
)

// Route is one call of the API: its address, who may call it, which node serves
// it, and the documents that it takes and gives.
type Route struct {
	Method string
	// Pattern is a path of http.ServeMux.
	Pattern string
	// Summary says what the call does, in one sentence without a verb's subject.
	Summary string

	// Role is the least that a caller must have; "" admits everyone. Worker opens
	// the route to tokens of external workers too.
	Role   Role
	Worker bool
	// Basic also accepts a token as the password of basic authentication: programs
	// that are configured with an address only take it from there.
	Basic bool
	// Shared marks calls that change what other submissions use: they are refused to
	// untrusted tokens.
	Shared bool

	Where Where
	Stale bool
	// Long marks calls that may wait or stream: a stopping node ends them.
	Long bool

	Body Body
	// MaxBody bounds the body, in bytes; 0 is the default of its kind.
	MaxBody int64
	// Query names the parameters that are understood.
	Query []string
	// Request and Response are the types of the JSON documents; nil if the body is
	// something else or empty.
	Request, Response reflect.Type
	// Produces is the answer's media type if it is not JSON.
	Produces string

	serve func(*call) error
	// failure gives a protocol call its own body for failures.
	failure func(*call, wire.Problem) (status int, body any)
}

// reads reports whether the call changes nothing, so that it may be repeated.
func (rt *Route) reads(method string) bool {
	return method == "GET" || method == "HEAD" || rt.Produces == mediaEvents
}

// ofRun reports whether the path names a run.
func (rt *Route) ofRun() bool { return strings.HasPrefix(rt.Pattern, "/api/v1/runs/{id}") }

func doc[T any]() reflect.Type { return reflect.TypeFor[T]() }
